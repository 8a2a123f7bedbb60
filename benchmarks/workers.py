"""How much faster ``evaluate`` is with two workers, and what one worker costs over none.

    python benchmarks/workers.py [--layers 12] [--width 512] [--tokens 4096] [--json FILE]
    python benchmarks/workers.py --memory [--text-bytes 100000000] [--seconds 60]

A random model of that size is scored on random tokens: in this process, by one worker, by two.
Seconds are of the whole call, the start of the workers included; the figures must be equal. A
worker has one thread: so has this process, which starts itself anew for that.
With ``--memory``: the peak of a worker's and of this process's memory in the first seconds of a
long text, of which a worker has a few pieces at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import spikegpt_neuro as sgn
from spikegpt_neuro.benchmark.machine import description
from spikegpt_neuro.cluster.crew import THREADS
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.files import write_atomically
from spikegpt_neuro.model.synthetic import random_model, random_tokens
from spikegpt_neuro.vocabulary import ByteVocabulary

PLACES = (None, 1, 2)


def main() -> None:
    """Measure, print, and write where asked."""
    options = _options()
    if any(os.environ.get(name) != "1" for name in THREADS):  # read when libraries load
        os.execve(
            sys.executable, [sys.executable, *sys.argv], os.environ | dict.fromkeys(THREADS, "1")
        )
    result = _memory(options) if options.memory else _speed(options)
    print(json.dumps(result, indent=1))
    if options.json:
        write_atomically(options.json, json.dumps(result, indent=1) + "\n")


def _speed(options: argparse.Namespace) -> dict[str, Any]:
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
    return {
        "machine": description(),
        "model": f"{options.layers} x {options.width}",
        "tokens": options.tokens,
        "seconds_without_dask": round(alone, 2),
        "seconds_one_worker": round(one, 2),
        "seconds_two_workers": round(two, 2),
        "two_over_one": round(one / two, 3),
        "overhead_of_one_seconds": round(one - alone, 2),
        "overhead_of_one_percent": round(100 * (one / alone - 1), 1),
    }


class Enough(Exception):
    """The text need not be finished."""


def _memory(options: argparse.Namespace) -> dict[str, Any]:
    model = random_model(layers=options.layers, width=options.width, vocab_size=256, seed=1)
    peaks, begin = dict[str, int](), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        artifact, text = Path(folder) / "model.sgn", Path(folder) / "text.txt"
        graph = lower(model, random_tokens(model, 256, seed=3))
        sgn.save(replace(graph, vocabulary=ByteVocabulary()), artifact)
        line = b"A line of the text, whose bytes are the tokens of this model.\n"
        text.write_bytes(line * (options.text_bytes // len(line)))

        def watch(done: int, _: int) -> None:
            for name, peak in _peaks().items():
                peaks[name] = max(peak, peaks.get(name, 0))
            peaks["tokens"] = done
            if time.monotonic() - begin > options.seconds:
                raise Enough

        with suppress(Enough):
            sgn.evaluate(artifact, text, workers=2, piece=options.piece, progress=watch)
        size = text.stat().st_size
    return {
        "machine": description(),
        "model": f"{options.layers} x {options.width}",
        "text_bytes": size,
        "tokens_scored": peaks["tokens"],
        "peak_rss_bytes_of_a_worker": peaks["worker"],
        "peak_rss_bytes_of_the_command": peaks["command"],
    }


def _peaks() -> dict[str, int]:
    """Peak memory of the largest worker and of this process, bytes."""
    found = {"worker": 0, "command": _peak(os.getpid())}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"dask_worker" in (entry / "cmdline").read_bytes():
                found["worker"] = max(found["worker"], _peak(int(entry.name)))
    return found


def _peak(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--piece", type=int, default=2)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--text-bytes", type=int, default=100_000_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
