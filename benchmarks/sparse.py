"""Does it pay to leave synapses out? A graph with pruned weights, sparse beside dense.

    python benchmarks/sparse.py [--shape LxDxV] [--bits 8,4] [--densities ...] [--output FILE]

Of a random model's weights a random share is kept, in every projection the same. The same weights
are then run twice, in turns on one thread: with all synapses, and without those that weigh 0. The
logits of both must be equal. Beside tokens/s stand the bytes of the weights on disk and in a
session's memory.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from spikegpt_neuro.benchmark.machine import description, thread_environment

RESULTS = Path(__file__).resolve().parent / "results" / "sparse.json"
DENSITIES = "0.02,0.05,0.1,0.15,0.2,0.3,0.5,0.7,0.9"
CALIBRATION_TOKENS = 512
WANTED = {0.1: 1.8, 0.5: 1.0}
"""Density -> ratio to reach, at 12 x 512 on one thread."""


def pruned(graph: Any, density: float) -> Any:
    """``graph`` with a random share of the weights, the others 0; all synapses exist."""
    import numpy as np

    rng = np.random.default_rng(0)

    def thinned(projection: Any) -> Any:
        weights = projection.weights
        if weights is None:
            return projection
        kept = rng.random(weights.shape, np.float32) < density
        order = "F" if projection.by_source else "C"
        return replace(projection, weights=np.array(weights * kept, order=order))

    return replace(graph, projections=tuple(map(thinned, graph.projections)))


def measure(graph: Any, density: float, tokens: Any, rounds: int, seconds: float) -> dict[str, Any]:
    """Both sides at one density."""
    import numpy as np

    from spikegpt_neuro.backends.reference.stepper import Stepper
    from spikegpt_neuro.benchmark.memory import weight_bytes
    from spikegpt_neuro.benchmark.rounds import take_turns

    full = pruned(graph, density)
    graphs = {"dense": full, "sparse": full.with_sparse_weights()}
    steppers = {name: Stepper(each) for name, each in graphs.items()}
    for token in tokens:
        first, second = (stepper.step(int(token)) for stepper in steppers.values())
        if not np.array_equal(first, second):
            raise SystemExit(f"density {density}: the logits differ")

    def side(stepper: Stepper) -> Any:
        def work() -> float:
            for token in tokens:
                stepper.step(int(token))
            return float(len(tokens))

        return work

    sides = {name: side(stepper) for name, stepper in steppers.items()}
    rates = take_turns(sides, rounds=rounds, seconds=seconds)
    possible = sum(q.possible_synapses for q in full.projections)
    return {
        "density": density,
        "wanted_ratio": WANTED.get(density),
        "weight_density": sum(np.count_nonzero(q.weights) for q in full.projections if q.is_dense)
        / possible,
        "tokens_per_second": {name: rate.best for name, rate in rates.items()},
        "rounds": {name: list(rate.rounds) for name, rate in rates.items()},
        "ratio": rates["sparse"].best / rates["dense"].best,
        "stored_bytes": {name: weight_bytes(each) for name, each in graphs.items()},
        "session_bytes": {name: stepper.weight_bytes for name, stepper in steppers.items()},
    }


def show(results: list[dict[str, Any]]) -> None:
    """A line per density."""
    print(
        f"{'bits':>4} {'density':>7} {'dense':>7} {'sparse':>7} {'ratio':>6} {'wanted':>6}"
        f" {'disk':>6} {'memory':>6}"
    )
    for result in results:
        for found in result["points"]:
            rates, wanted = found["tokens_per_second"], found["wanted_ratio"]
            disk, memory = (
                found[key]["sparse"] / found[key]["dense"]
                for key in ("stored_bytes", "session_bytes")
            )
            print(
                f"{result['weight_bits']:4} {found['density']:7.2f} {rates['dense']:7.1f}"
                f" {rates['sparse']:7.1f} {found['ratio']:6.2f} {wanted or '-':>6}"
                f" {disk:6.2f} {memory:6.2f}"
            )


def numbers(kind: type) -> Any:
    """A reader of numbers with commas between them."""
    return lambda text: [kind(part) for part in text.split(",")]


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", default="12x512x256", help="[12x512x256]")
    parser.add_argument("--bits", type=numbers(int), default=[8, 4], help="[8,4]")
    parser.add_argument(
        "--densities", type=numbers(float), default=numbers(float)(DENSITIES), help=f"[{DENSITIES}]"
    )
    parser.add_argument("--tokens", type=int, default=16, help="length of the text [16]")
    parser.add_argument("--rounds", type=int, default=8, help="turns of both sides [8]")
    parser.add_argument("--seconds", type=float, default=0.3, help="per side and round [0.3]")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON to write [results/]")
    return parser.parse_args()


def main() -> None:
    """Measure, write the JSON file and print the table."""
    arguments = parse()
    os.environ |= thread_environment(1)  # before any of the libraries is loaded
    from spikegpt_neuro.converters.lowering import lower
    from spikegpt_neuro.model.synthetic import random_model, random_tokens

    model = random_model(*map(int, arguments.shape.split("x")))
    text = random_tokens(model, arguments.tokens, seed=2)
    results = []
    for bits in arguments.bits:
        graph = lower(model, random_tokens(model, CALIBRATION_TOKENS), weight_bits=bits)
        points = []
        for density in arguments.densities:
            print(f"{bits} bits, density {density}", file=sys.stderr, flush=True)
            points.append(measure(graph, density, text, arguments.rounds, arguments.seconds))
        results.append({"shape": arguments.shape, "weight_bits": bits, "points": points})
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": description(), "threads": 1, "results": results}
    arguments.output.write_text(json.dumps(content, indent=1) + "\n")
    show(results)


if __name__ == "__main__":
    main()
