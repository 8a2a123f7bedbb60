"""Compile what verbs run, before anybody waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np

from spikegpt_neuro.api.models import load
from spikegpt_neuro.api.placing import place
from spikegpt_neuro.api.profiling import compare
from spikegpt_neuro.api.running import run
from spikegpt_neuro.arithmetic.threads import most_threads
from spikegpt_neuro.backends.reference.backend import ReferenceBackend
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.converters.reader import read_checkpoint
from spikegpt_neuro.converters.writer import write_checkpoint
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.synthetic import random_model, random_tokens
from spikegpt_neuro.results import Result

SIZE = (2, 128, 96)
"""Layers, width and vocabulary of the model that runs once, on several cores: kernels are the same
for any."""


TOKENS = 128


@dataclass(frozen=True, repr=False)
class Warmed(Result):
    """``seconds`` that each part took: next to nothing where it was compiled before."""

    seconds: Mapping[str, float]

    UNITS: ClassVar[Mapping[str, str]] = {"seconds": "s"}


def warm_up(on_part: Callable[[str], object] | None = None) -> Warmed:
    """Run a tiny model through conversion, the reference, mapping, simulation and pricing.

    The first run of each verb after an installation compiles its kernels, and keeps them in the
    package's folder or the user's cache (``NUMBA_CACHE_DIR``).

    Parameters
    ----------
    on_part
        Is told what begins.

    Raises
    ------
    UnsupportedInput
        Kernels cannot be compiled here: ``NUMBA_DISABLE_JIT`` is set.

    Examples
    --------
    >>> list(sgn.warm_up().seconds)
    ['conversion', 'writing', 'reading', 'mapping and simulation', 'pricing']
    """
    model = random_model(*SIZE)
    tokens, graphs = random_tokens(model, TOKENS), list[SpikingGraph]()

    def convert() -> None:
        """Kernels are compiled for the weights of a file, which nobody may write."""
        with TemporaryDirectory() as folder:
            write_checkpoint(model, Path(folder, "checkpoint"))
            read = read_checkpoint(Path(folder, "checkpoint"))
            for bits in (8, 4):
                lower(read, tokens, weight_bits=bits).save(f"{folder}/{bits}")
                graphs.append(load(f"{folder}/{bits}"))

    def write() -> None:
        """A team's kernels too: whether a session takes one depends on who else works."""
        for graph in graphs:
            for threads in (1, min(2, most_threads())):
                with ReferenceBackend(threads=threads).session(graph) as session:
                    session.step(0)

    parts: dict[str, Callable[[], object]] = {
        "conversion": convert,
        "writing": write,
        "reading": lambda: [
            run(graph, np.asarray(tokens)[:count]) for graph in graphs for count in (1, TOKENS)
        ],
        "mapping and simulation": lambda: [
            place(graphs[0], "loihi2", optimize=objective) for objective in ("cores", "latency")
        ],
        "pricing": lambda: compare(
            graphs[0], {"schedule": ["pipelined", "fall-through"]}, text=np.asarray(tokens)
        ),
    }
    seconds = {}
    for name, part in parts.items():
        if on_part is not None:
            on_part(name)
        begin = time.perf_counter()
        part()
        seconds[name] = time.perf_counter() - begin
    return Warmed(seconds)
