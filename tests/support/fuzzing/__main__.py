"""``python -m fuzzing``: read damaged and changed files of every kind, and keep what fails.

::

    make fuzz                                   an hour, all targets
    make fuzz FUZZ="--inputs 200000 --workers 2"
    make fuzz FUZZ="--target pth --seed 7 --inputs 5000"
    make fuzz FUZZ="--replay tests/fuzz/seeds"  what was found before

A finding is kept as a file in ``build/fuzz``; ``--replay FILE`` reads it again, and in
``tests/fuzz/seeds`` a test does for ever. The exit code is 1 where there is one.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from pathlib import Path

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
HOUR = 3600.0


def main() -> int:
    """Run; see the module."""
    # Children are forked: nothing may have started a thread.
    os.environ |= dict.fromkeys(ONE_THREAD, "1") | {"TOKENIZERS_PARALLELISM": "false"}
    logging.getLogger("spikegpt_neuro").addHandler(logging.NullHandler())
    from fuzzing.running import Fuzzer
    from fuzzing.seeds import read_seed
    from fuzzing.targets import available, make

    options = _options(available())
    begin = time.monotonic()
    given = [read_seed(file) for place in options.replay for file in _files(place)]
    names = sorted({name for name, _ in given}) or options.target or available()
    fuzzer = Fuzzer(make(names), options.seed, options.keep)
    print(f"ready after {time.monotonic() - begin:.1f} s: {', '.join(names)}", flush=True)
    if options.replay:
        fuzzer.replay(given)
    else:
        seconds = options.seconds
        if seconds is None and options.inputs is None:
            seconds = HOUR
        fuzzer.draw(options.inputs, seconds, options.workers)
    return _report(fuzzer, time.monotonic() - begin)


def _options(targets: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzzing", description=__doc__)
    add = parser.add_argument
    add("--target", action="append", choices=targets, help="one or more [default: all]")
    add("--inputs", type=int, help="how many, dealt to the targets evenly")
    add("--seconds", type=float, help="how long, where no number is given [default: 3600]")
    add("--seed", type=int, default=0, help="other numbers give other inputs")
    add("--workers", type=int, default=1, help="processes at a time")
    add("--keep", type=Path, default=Path("build/fuzz"), help="where findings go")
    add("--replay", type=Path, action="append", default=[], help="a finding, or a folder of them")
    return parser.parse_args()


def _files(place: Path) -> list[Path]:
    return sorted(place.glob("*.json")) if place.is_dir() else [place]


def _report(fuzzer: object, seconds: float) -> int:
    from fuzzing.running import Fuzzer

    assert isinstance(fuzzer, Fuzzer)
    tallies = fuzzer.tallies
    print(
        f"{'target':12} {'inputs':>8} {'understood':>10} {'refused':>8} {'per s':>6} {'slowest':>8}"
    )
    for name, t in tallies.items():
        rate = t.inputs / t.seconds if t.seconds else 0.0
        print(
            f"{name:12} {t.inputs:8,} {t.understood:10,} {t.refused:8,} {rate:6,.0f} "
            f"{t.slowest:6.2f} s"
        )
    for name, tally in tallies.items():
        for found in tally.findings:
            print(found)
        for (kind, where), count in tally.causes.most_common():
            print(f"{name}: {count:,} x {kind}: {where}")
    total, causes = (
        sum(t.inputs for t in tallies.values()),
        sum(len(t.causes) for t in tallies.values()),
    )
    print(f"{total:,} inputs in {seconds:.0f} s, {causes} causes of findings")
    return 1 if causes else 0


if __name__ == "__main__":
    sys.exit(main())
