"""Start-up time and peak memory, in processes of their own.

Both sides of a pair are started in turn, several times; the quickest start counts. The
first start of each command is not counted: it fills the file cache and the kernel cache.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from spikegpt_neuro.benchmark.figures import Figure
from spikegpt_neuro.benchmark.machine import thread_environment
from spikegpt_neuro.errors import WorkerFailed
from spikegpt_neuro.sealing import SEAL, sealed, sealed_environment

BARE = ("-c", "pass")
HELP = (*sealed("spikegpt_neuro.cli"), "--help")
IMPORT = ("-c", f"{SEAL}import spikegpt_neuro")
CHILD = sealed("spikegpt_neuro.benchmark.child")


class Start(NamedTuple):
    """Wall time of one process, and the figures that it printed."""

    seconds: float
    output: str

    @property
    def values(self) -> dict[str, float]:
        *_, last = self.output.splitlines()  # others may print before
        found: dict[str, float] = json.loads(last)
        return found


def start_figures(
    directory: str, shape: str, *, threads: int, starts: int, torch: bool
) -> list[Figure]:
    """Help, import, load, first token and peak memory for the artifact ``directory``."""
    plain = _best({"bare": BARE, "help": HELP, "import": IMPORT}, threads, starts)
    heavy = {"ours": (*CHILD, "reference", directory, str(threads))}
    if torch:
        heavy["theirs"] = (*CHILD, "torch", shape, str(threads))
    first = _best(heavy, threads, min(starts, 2))
    ours, theirs = first["ours"], first.get("theirs")
    figures = [
        _seconds("help", plain["help"].seconds, plain["bare"].seconds, "python -c pass"),
        _seconds("import", plain["import"].seconds, plain["bare"].seconds, "python -c pass"),
        _seconds(
            "load",
            ours.values["load_seconds"],
            ours.values["read_seconds"],
            "reading the files once",
        ),
        _seconds(
            "first_token",
            ours.seconds,
            theirs.seconds if theirs else None,
            "float32 torch step, its weights filled in",
        ),
    ]
    peak = theirs.values["peak_rss_bytes"] if theirs else None
    return [
        *figures,
        Figure(
            "peak_memory",
            "bytes",
            ours.values["peak_rss_bytes"],
            peak,
            "float32 torch step",
            higher_is_better=False,
        ),
    ]


def _seconds(name: str, ours: float, theirs: float | None, against: str) -> Figure:
    return Figure(name, "s", ours, theirs, against, higher_is_better=False)


def _best(commands: Mapping[str, Sequence[str]], threads: int, starts: int) -> dict[str, Start]:
    """The quickest of ``starts`` starts of each command, after one that is not counted."""
    rounds = [
        {name: _start(command, threads) for name, command in commands.items()}
        for _ in range(starts + 1)
    ]
    return {name: min(found[name] for found in rounds[1:]) for name in commands}


def _start(command: Sequence[str], threads: int) -> Start:
    environment = sealed_environment(thread_environment(threads))
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True
    )
    seconds = time.perf_counter() - begin
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["nothing"]
        raise WorkerFailed(f"python {' '.join(command)} ended with {done.returncode}: {said[0]}")
    return Start(seconds, done.stdout)
