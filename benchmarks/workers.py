"""How much faster ``evaluate`` is with two workers, and what one worker costs over none.

    python benchmarks/workers.py [--layers 12] [--width 512] [--tokens 4096] [--json FILE]

A random model of that size is scored on random tokens: in this process, by one worker, by two.
Seconds are of the whole call, the start of the workers included; the figures must be equal.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import spikegpt_neuro as sgn
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.files import write_atomically
from spikegpt_neuro.model.synthetic import random_model, random_tokens

PLACES = (None, 1, 2)


def main() -> None:
    """Measure, print, and write where asked."""
    """Measure, print, and write where asked."""
    options = _options()
    model = random_model(layers=options.layers, width=options.width, vocab_size=256, seed=1)
    tokens = random_tokens(model, options.tokens + 1, seed=2)
    with tempfile.TemporaryDirectory() as folder:
        artifact = Path(folder) / "model.sgn"
        sgn.save(lower(model, random_tokens(model, 256, seed=3)), artifact)
        sgn.evaluate(artifact, tokens[:300])  # compiles what is not compiled yet
        seconds, found = [], []
        for workers in PLACES:
            begin = time.perf_counter()
            found.append(sgn.evaluate(artifact, tokens, workers=workers, piece=options.piece))
            seconds.append(time.perf_counter() - begin)
    assert found[0] == found[1] == found[2], found
    alone, one, two = seconds
    result = {
        "model": f"{options.layers} x {options.width}",
        "tokens": options.tokens,
        "cpus": os.cpu_count(),
        "seconds_without_dask": round(alone, 2),
        "seconds_one_worker": round(one, 2),
        "seconds_two_workers": round(two, 2),
        "two_over_one": round(one / two, 3),
        "overhead_of_one_seconds": round(one - alone, 2),
        "overhead_of_one_percent": round(100 * (one / alone - 1), 1),
    }
    print(json.dumps(result, indent=1))
    if options.json:
        write_atomically(options.json, json.dumps(result, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--piece", type=int, default=2)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
