"""How much slower is Lava by block than the reference? Tokens/s of both, in turns.

    python benchmarks/lava.py [--frames 1,64,256] [--tokens 2048] [--rounds 5] [--output FILE]

Both run the example model over the same tokens and keep the logits. Lava by block carries a
frame of tokens per time step; every size of frame is compared with the reference's sequence mode
and with its token mode (a session, as in generation), and every logit with the reference's.
Start-up is not in the rates: it is listed beside them, for population granularity too. The best
run of each side counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import spikegpt_neuro as sgn
from spikegpt_neuro.backends.lava.backend import FRAME_TOKENS, LavaBackend
from spikegpt_neuro.backends.reference import ReferenceBackend
from spikegpt_neuro.benchmark.figures import Figure
from spikegpt_neuro.benchmark.machine import description
from spikegpt_neuro.errors import CheckFailed
from spikegpt_neuro.graph.graph import SpikingGraph

ROOT = Path(__file__).resolve().parent
RESULTS = ROOT / "results" / "lava.json"
EXAMPLE = ROOT.parent / "examples" / "pydoc-4x128.pth"
VOCAB = ROOT.parent / "examples" / "pydoc-vocab.json"
WANTED = 1 / 3
SEQUENCE, TOKEN = "reference, sequence mode", "reference, token by token"
POPULATION_TOKENS = 8

Tokens = NDArray[np.int64]
Side = Callable[[], float]
"""One run; returns its tokens/s, start-up excluded."""


def note(text: str) -> None:
    """Say on standard error what is going on."""
    print(text, file=sys.stderr, flush=True)


def reference_sides(graph: SpikingGraph, tokens: Tokens) -> dict[str, Side]:
    """Both modes of the reference backend."""
    backend = ReferenceBackend()

    def sequence() -> float:
        return len(tokens) / backend.run(graph, tokens, record="logits").seconds

    def token_by_token() -> float:
        with backend.session(graph) as session:
            begin = time.perf_counter()
            for token in tokens.tolist():
                session.step(token)
            return len(tokens) / (time.perf_counter() - begin)

    return {SEQUENCE: sequence, TOKEN: token_by_token}


def lava_side(
    graph: SpikingGraph,
    tokens: Tokens,
    backend: LavaBackend,
    expected: NDArray[np.int32],
    startup: list[float],
) -> Side:
    """A run on Lava whose logits are compared; its start-up goes into ``startup``."""

    def run() -> float:
        found = backend.run(graph, tokens, record="logits")
        if not np.array_equal(found.logits_int, expected):
            raise CheckFailed("Lava's logits differ from the reference's: rates mean nothing")
        startup.append(found.startup_seconds)
        return len(tokens) / found.seconds

    return run


def measure(artifact: str, tokens: int, frames: list[int], rounds: int) -> dict[str, Any]:
    """All sides in turns; a figure per size of frame and mode of the reference."""
    graph = sgn.load(artifact)
    text = np.random.default_rng(0).integers(0, graph.shape.vocab_size, tokens)
    expected = ReferenceBackend().run(graph, text, record="logits").logits_int
    startup: dict[str, list[float]] = {f"block, frame {frame}": [] for frame in frames}
    sides = reference_sides(graph, text)
    for frame, (name, times) in zip(frames, startup.items(), strict=True):
        backend = LavaBackend("block", artifact=artifact, frame=frame)
        sides[name] = lava_side(graph, text, backend, expected, times)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for index in range(rounds):
        note(f"round {index + 1} of {rounds}")
        for name, side in sides.items():
            rates[name].append(side())
    population: list[float] = []
    head = slice(POPULATION_TOKENS)
    backend = LavaBackend("population", artifact=artifact)
    lava_side(graph, text[head], backend, expected[head], population)()
    return {
        "tokens": tokens,
        "default_frame": FRAME_TOKENS,
        "wanted_ratio": WANTED,
        "figures": {
            f"{name}, against {against}": figure(name, against, rates).to_json()
            for name in startup
            for against in (SEQUENCE, TOKEN)
        },
        "startup_seconds": {name: min(times) for name, times in startup.items()}
        | {"population": min(population)},
    }


def figure(name: str, against: str, rates: Mapping[str, list[float]]) -> Figure:
    """Tokens/s of ``name`` beside those of ``against``."""
    ours, theirs = rates[name], rates[against]
    rounds = {"ours": ours, "theirs": theirs}
    return Figure(name, "tokens/s", max(ours), max(theirs), against, rounds=rounds)


def show(results: Mapping[str, Any]) -> None:
    """A line per figure."""
    print(f"{'Lava':20} {'tok/s':>8} {'reference':>10} {'ratio':>6}  wanted {WANTED:.2f}; against")
    for name, found in results["figures"].items():
        print(
            f"{name.partition(', against')[0]:20} {found['ours']:8,.0f} {found['theirs']:10,.0f} "
            f"{found['ratio']:6.2f}  {found['against']}"
        )
    for name, seconds in results["startup_seconds"].items():
        print(f"start-up {name}: {seconds:.1f} s")


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--frames",
        type=lambda s: [int(n) for n in s.split(",")],
        default=[1, 64, FRAME_TOKENS],
        help=f"tokens per time step [1,64,{FRAME_TOKENS}]",
    )
    parser.add_argument("--tokens", type=int, default=2048, help="length of the text [2048]")
    parser.add_argument("--rounds", type=int, default=5, help="runs of every side [5]")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON to write [results/]")
    return parser.parse_args()


def main() -> None:
    """Convert the example, measure, write the JSON file and print the table."""
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        artifact = str(Path(folder) / "example.sgn")
        sgn.convert(EXAMPLE, vocab=VOCAB).save(artifact)
        results = measure(artifact, arguments.tokens, arguments.frames, arguments.rounds)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": description(), "model": EXAMPLE.name, **results}
    arguments.output.write_text(json.dumps(content, indent=1) + "\n")
    show(results)


if __name__ == "__main__":
    main()
