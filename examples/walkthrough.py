"""SpikeGPT on a chip, in Python: convert, write, score, place, price both schedules, plot."""

from __future__ import annotations

import sys
from pathlib import Path

import spikegpt_neuro as sgn

HERE = Path(__file__).resolve().parent
BUILD = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "build"


def main() -> None:
    """Every result shows itself in a line; ``to_dict()`` and ``to_frame()`` give all of it."""
    BUILD.mkdir(exist_ok=True)
    checkpoint, vocab = HERE / "pydoc-4x128.pth", HERE / "pydoc-vocab.json"

    graph = sgn.convert(checkpoint, vocab=vocab)  # a float checkpoint becomes integers
    sgn.save(graph, BUILD / "walkthrough.sgn", force=True)
    print(graph)

    print(sgn.generate(graph, "The return value", 60, temperature=0.8, seed=7).text)
    print(sgn.evaluate(graph, limit=4000, against=checkpoint))
    print(sgn.simulate(graph, "The return value is", verify=True))  # or backend="lava"

    placed = sgn.place(graph, "loihi2")
    print(placed, placed.draw(BUILD / "walkthrough.svg", "The example on Loihi 2"))

    schedules = {"schedule": ["pipelined", "fall-through"]}
    costs = sgn.compare(graph, schedules, hw="loihi2", placement=placed.placement)
    for cost in costs.profiles:
        print(cost)
    print(sgn.report(graph, BUILD / "walkthrough.html", against=checkpoint, force=True))


if __name__ == "__main__":
    main()
