"""What a token costs on hardware: joules, tokens/s and chips, for both schedules.

    python benchmarks/energy.py [--shapes 12x512x256] [--hw loihi2] [--timing bound] [--json FILE]
    python benchmarks/energy.py --timing cycle --tokens 64 --optimize energy

The example model, the sparse one that ``finetune`` made of it and, for each shape, a random model
with the sparsity of training run the built-in text (bytes, for the random ones) through ``profile``
with both schedules and its default timing model, as ``make demo`` and ``report`` do: for a model
the figures of all three are the same. With ``--optimize`` each is placed by ``map`` first, for the
schedule that is priced. ``--tokens`` is for timing models that take long. The
limits: categories add up to the total, and every figure lies in its range. Exit code 1 if one is
missed.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import spikegpt_neuro as sgn
from spikegpt_neuro.api.choices import DEFAULT_TIMING, SCHEDULES
from spikegpt_neuro.benchmark.machine import description
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.mapping.objectives import OBJECTIVES
from spikegpt_neuro.model.synthetic import random_model, random_tokens
from spikegpt_neuro.units import digits, scaled
from spikegpt_neuro.vocabulary import ByteVocabulary

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
CHECKPOINTS = {
    "example 4x128x96": EXAMPLES / "pydoc-4x128.pth",
    "sparse example": EXAMPLES / "pydoc-4x128-sparse",
}
HIDDEN_DENSITY = 0.18
KEYS = (
    "joules_per_token",
    "joules_per_token_low",
    "joules_per_token_high",
    "tokens_per_second",
    "tokens_per_second_low",
    "tokens_per_second_high",
    "joules",
    "chips",
    "cores",
    "share_assumed",
    "shares_by_kind",
    "share_spike_driven",
    "synops_per_token",
    "tokens",
    "timing",
    "schedule",
)


def artifacts(folder: Path, shapes: list[tuple[int, int, int]]) -> dict[str, Path]:
    """Name -> artifact: the examples, and a random model of each shape that reads bytes."""
    found = {}
    for name, checkpoint in CHECKPOINTS.items():
        found[name] = folder / f"{checkpoint.stem}.sgn"
        sgn.convert(str(checkpoint)).save(str(found[name]))
    for shape in shapes:
        name = "random " + "x".join(map(str, shape))
        model = random_model(*shape, hidden_density=HIDDEN_DENSITY)
        graph = lower(model, random_tokens(model, 256))
        found[name] = folder / f"{name.replace(' ', '-')}.sgn"
        replace(graph, vocabulary=ByteVocabulary()).save(str(found[name]))
    return found


def profiled(artifact: Path, options: argparse.Namespace, schedule: str) -> dict[str, Any]:
    """The figures of ``profile``, as a user gets them."""
    command = [sys.executable, "-m", "spikegpt_neuro", "profile", str(artifact), "--json"]
    command += ["--hw", options.hw, "--timing", options.timing]
    command += ["--schedule", schedule, "--tokens", str(options.tokens)]
    if options.optimize is not None:
        command += ["--placement", placed(artifact, options, schedule)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures = json.loads(done.stdout)
    return {key: figures[key] for key in KEYS}


def placed(artifact: Path, options: argparse.Namespace, schedule: str) -> str:
    """The file of a placement for the objective and the schedule."""
    file = f"{artifact}-{schedule}.json"
    command = [sys.executable, "-m", "spikegpt_neuro", "map", str(artifact), "-o", file, "-q"]
    command += ["--hw", options.hw, "--optimize", options.optimize, "--schedule", schedule]
    subprocess.run([*command, "--no-confirm"], check=True, stdout=subprocess.DEVNULL)
    return file


def missed(figures: dict[str, Any]) -> list[str]:
    """What these figures do not keep."""
    total = figures["joules_per_token"]
    kept = {
        "sum": math.isclose(sum(figures["joules"].values()), total, rel_tol=1e-9),
        "joules": figures["joules_per_token_low"] <= total <= figures["joules_per_token_high"],
        "tokens_per_second": figures["tokens_per_second_low"]
        <= figures["tokens_per_second"]
        <= figures["tokens_per_second_high"],
    }
    return [name for name, holds in kept.items() if not holds]


def row(figures: dict[str, Any]) -> str:
    """One line of the table."""
    joules = figures["joules_per_token"]
    low, high = (scaled(figures[f"joules_per_token_{end}"], "J") for end in ("low", "high"))
    return (
        f"{figures['model']:<20} {figures['schedule']:<13} {figures['timing']:<6} "
        f"{scaled(joules, 'J'):>8} ({low} to {high}) "
        f"{digits(figures['tokens_per_second'])} tokens/s {figures['chips']} chips "
        f"{figures['cores']} cores "
        f"{figures['joules']['static'] / joules:.0%} static {figures['share_assumed']:.0%} assumed"
    )


def main() -> int:
    """Profile every model and print a table, and one JSON object where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", default="12x512x256")
    parser.add_argument("--hw", default="loihi2")
    parser.add_argument("--timing", default=DEFAULT_TIMING)
    parser.add_argument("--tokens", default="256")
    parser.add_argument("--optimize", choices=OBJECTIVES)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    shapes = [tuple(map(int, text.split("x"))) for text in options.shapes.split(",")]
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name, artifact in artifacts(Path(folder), shapes).items():
            for schedule in SCHEDULES:
                figures = profiled(artifact, options, schedule)
                figures = {"model": name, "hardware": options.hw, **figures}
                results.append(figures | {"missed": missed(figures)})
                print(row(figures), flush=True)
    if options.json:
        report = {"machine": description(), "results": results}
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int(any(figures["missed"] for figures in results))


if __name__ == "__main__":
    sys.exit(main())
