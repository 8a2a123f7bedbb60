"""How many cores and chips real sizes fill, how long placing takes, and how short the ways are.

    python benchmarks/mapping.py [--shapes 12x512x256,18x768x50277] [--hw loihi2] [--json FILE]

For each shape a random model is converted to an artifact in a process of its own; then another
one places it on the hardware, with activity measured by running the model on 128 tokens.
Seconds and peak memory are those of the whole placing: loading and measuring included.
The limits it is held to: cores within 1.15 of the weights' own bytes, 60 s, 4 GB, and hop-weighted
traffic half of a random placement's and no more than plain order's. Exit code 1 if one is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SHAPES = "12x512x256,18x768x50277"
CORE_BOUND, SECONDS, BYTES, SHORTER = 1.15, 60.0, 4e9, 2.0

CONVERT = """
import sys
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.model.synthetic import random_model, random_tokens
model = random_model(*map(int, sys.argv[2:]))
lower(model, random_tokens(model, 512)).save(sys.argv[1])
"""

MAP = """
import json, sys, time
from spikegpt_neuro.memory import peak_rss_bytes
import spikegpt_neuro as sgn
begin = time.perf_counter()
placed = sgn.place(
    sgn.load(sys.argv[1]), sys.argv[2], optimize="cores", artifact=sys.argv[1]
)
placed.save(sys.argv[1] + ".json")
seconds = time.perf_counter() - begin
cost = {"seconds": seconds, "peak_rss_bytes": peak_rss_bytes()}
print(json.dumps(placed.to_dict() | cost))
"""


def measure(folder: Path, shape: tuple[int, int, int], hardware: str) -> dict[str, Any]:
    """Convert and place one shape; returns its figures with time, memory and ratios."""
    artifact = str(folder / "model.sgn")
    subprocess.run([sys.executable, "-c", CONVERT, artifact, *map(str, shape)], check=True)
    done = subprocess.run(
        [sys.executable, "-c", MAP, artifact, hardware], check=True, capture_output=True, text=True
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    placed = figures["message_hops_per_token"]
    figures["cores_over_lower_bound"] = figures["cores"] / figures["lower_bound_cores"]
    figures["random_order_over_placed"] = figures["message_hops_random_order"] / placed
    figures["plain_order_over_placed"] = figures["message_hops_plain_order"] / placed
    return {"shape": list(shape), **figures}


def missed(figures: dict[str, Any]) -> list[str]:
    """The limits that these figures do not keep."""
    kept = {
        "violations": not figures["violations"],
        "cores_over_lower_bound": figures["cores_over_lower_bound"] <= CORE_BOUND,
        "seconds": figures["seconds"] <= SECONDS,
        "peak_rss_bytes": figures["peak_rss_bytes"] <= BYTES,
        "random_order_over_placed": figures["random_order_over_placed"] >= SHORTER,
        "plain_order_over_placed": figures["plain_order_over_placed"] >= 1,
    }
    return [name for name, holds in kept.items() if not holds]


def main() -> int:
    """Measure every shape and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", default=SHAPES)
    parser.add_argument("--hw", default="loihi2")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    results = []
    for text in options.shapes.split(","):
        layers, width, vocab_size = map(int, text.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(Path(folder), (layers, width, vocab_size), options.hw)
        results.append(figures | {"missed": missed(figures)})
    report = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "results": results,
    }
    text = json.dumps(report, indent=1)
    print(text)
    if options.json:
        Path(options.json).write_text(text + "\n", encoding="utf-8")
    return int(any(figures["missed"] for figures in results))


if __name__ == "__main__":
    sys.exit(main())
