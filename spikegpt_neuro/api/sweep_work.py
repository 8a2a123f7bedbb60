"""What one step of a sweep computes: here, or on a worker that reads and writes the same folder.

Every step calls what its verb calls, so that its figures are the verb's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from spikegpt_neuro.api.choices import DEFAULT_BACKEND
from spikegpt_neuro.api.evaluating import evaluate
from spikegpt_neuro.api.inputs import tokens_of
from spikegpt_neuro.api.measuring import Measured, mapped_of, measure
from spikegpt_neuro.api.models import conversion_figures, convert, load, save
from spikegpt_neuro.api.placing import activity_tokens, checksum_of, place_measured
from spikegpt_neuro.api.profiling import profile
from spikegpt_neuro.api.running import simulate
from spikegpt_neuro.api.sweep_files import (
    artifact_content,
    content_of,
    load_measured,
    save_measured,
)
from spikegpt_neuro.api.variants import Bench, Variant
from spikegpt_neuro.cluster.task import carried_out
from spikegpt_neuro.errors import MissingBackend, SpikeGPTError, UnsupportedInput
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import load_profile
from spikegpt_neuro.mapping.goal import Goal
from spikegpt_neuro.mapping.placement import load_placement
from spikegpt_neuro.remarks import REMARKS
from spikegpt_neuro.running import Progress
from spikegpt_neuro.sweeps.step import Failure, Outcome

KEPT = 2
"""Graphs and runs that a process keeps open."""
OF_THIS_MACHINE = ("seconds", "startup_seconds")
"""Figures of a simulation that say how fast it was here."""


@dataclass(frozen=True)
class Work:
    """A step as it travels.

    ``output``  where it writes what others take, if it does.
    ``needs``   role -> the path of what another step wrote, and its sha256.
    """

    kind: str
    parameters: dict[str, Any]
    files: dict[str, str]
    needs: dict[str, tuple[str, str]]
    output: str | None = None

    def path(self, role: str) -> Path:
        """Where a step that it needs has written."""
        return Path(self.needs[role][0])

    def value(self, name: str, default: Any = None) -> Any:
        """A parameter."""
        return self.parameters.get(name, default)

    def text(self, name: str = "text") -> Path | None:
        """The file of a parameter; None: the built-in text."""
        return Path(self.parameters[name]) if name in self.parameters else None

    def options(self, *without: str) -> dict[str, Any]:
        """Parameters that go to a function as they are."""
        return {k: v for k, v in self.parameters.items() if k not in without}


def carry_out(text: str, payload: bytes) -> str:
    """On a worker: see :mod:`spikegpt_neuro.cluster.task`."""
    return carried_out(text, payload, lambda argument, _: asdict(_checked(argument)))


def _checked(argument: Mapping[str, Any]) -> Outcome:
    """Carry out what came from elsewhere.

    A worker without what a backend needs says so by name: other workers may have it.
    """
    work = Work(**argument)
    found = carry_out_here(work)
    if found.error is not None and found.error.kind == MissingBackend.__name__:
        raise MissingBackend(found.error.text)
    return found


def carry_out_here(work: Work, progress: Progress | None = None) -> Outcome:
    """Compute a step; whatever goes wrong with it is its outcome."""
    begin, told = time.perf_counter(), list[str]()
    try:
        with _remarks(told):
            _check_files(work)
            figures, files = _WORKS[work.kind](work, progress)
    except SpikeGPTError as error:
        return _failed(type(error).__name__, str(error), begin)
    except Exception as error:  # the other points go on
        return _failed("InternalError", f"{type(error).__name__}: {error}", begin)
    own = figures.pop("remarks", ())
    remarks = tuple(dict.fromkeys([*own, *told]))
    return Outcome(figures, remarks, files, seconds=time.perf_counter() - begin)


def _failed(kind: str, text: str, begin: float) -> Outcome:
    return Outcome(error=Failure(kind, text), seconds=time.perf_counter() - begin)


@contextmanager
def _remarks(told: list[str]) -> Iterator[None]:
    """Keep the remarks of a step; they come once, with its results."""

    def keep(record: logging.LogRecord) -> bool:
        told.append(record.getMessage())
        return False

    REMARKS.addFilter(keep)
    try:
        yield
    finally:
        REMARKS.removeFilter(keep)


def _check_files(work: Work) -> None:
    """Raise unless every file is what it was where the sweep was planned."""
    for name, held in work.files.items():
        path = work.value(name)
        kind = {"against": "checkpoint"}.get(name, name)
        vocab = work.value("vocab") if name == "checkpoint" else None
        if name == "against":
            continue  # its step converted it
        if content_of(kind, path, vocab) != held:
            what = path or "the built-in text (Python's own documentation)"
            raise UnsupportedInput(
                f"{what} is another one than where the sweep was planned; "
                "put the same one where every worker sees it"
            )


Found = tuple[dict[str, Any], dict[str, str]]
"""Figures, and sha256 of what was written."""


def _convert(work: Work, progress: Progress | None) -> Found:
    assert work.output is not None
    graph = convert(**work.options(), progress=progress)
    save(graph, work.output, force=True)
    return conversion_figures(graph, work.output), {"graph": artifact_content(Path(work.output))}


def _evaluate(work: Work, progress: Progress | None) -> Found:
    options = work.options("text")
    found = evaluate(_graph(work), work.text(), **options, progress=progress)
    return found.to_dict(), {}


def _run(work: Work, progress: Progress | None) -> Found:
    assert work.output is not None
    graph, unknown = _graph(work), work.value("unknown", "error")
    if "seed" in work.parameters:
        tokens = activity_tokens(graph, work.text(), unknown, work.value("seed"))
    else:
        tokens = tokens_of(graph, work.text(), unknown=unknown, count=work.value("tokens"))
    save_measured(measure(graph, tokens, progress=progress), Path(work.output))
    return {"tokens": len(tokens)}, {"run": content_of("run", work.output)}


def _place(work: Work, _: Progress | None) -> Found:
    assert work.output is not None
    graph, hardware = _graph(work), load_profile(work.value("hw"))
    mapped = mapped_of(
        graph,
        lambda: _measured(work),
        hardware,
        Goal(),
        work.value("embedding", "host"),
        work.value("head", "chip"),
        work.value("seed", 0),
        checksum_of(work.path("graph")),
    )
    mapped.placement.save(work.output)
    return {"cores": mapped.cores}, {"placement": content_of("placement", work.output)}


def _map(work: Work, _: Progress | None) -> Found:
    assert work.output is not None
    found = place_measured(
        _graph(work),
        measured=lambda: _measured(work),
        artifact=work.path("graph"),
        **work.options(),
    )
    found.save(work.output)
    return found.to_dict(), {"placement": content_of("placement", work.output)}


def _profile(work: Work, progress: Progress | None) -> Found:
    if "run" not in work.needs:
        placed = str(work.path("placement")) if "placement" in work.needs else None
        found = profile(
            _graph(work),
            work.text(),
            placement=placed,
            artifact=work.path("graph"),
            **work.options("text"),
            progress=progress,
        )
        return found.to_dict(), {}
    measured, placement = _measured(work), load_placement(work.path("placement"))
    bench = Bench(
        measured.graph, _no_tokens(), placement=placement, context=work.value("context", 1024)
    )
    bench.know(work.value("backend", DEFAULT_BACKEND), measured)
    return bench.cost(Variant(**work.options("context")), progress).to_dict(), {}


def _no_tokens() -> Any:
    import numpy as np

    return np.zeros(0, np.int64)  # they ran before


def _simulate(work: Work, progress: Progress | None) -> Found:
    options = work.options("text")
    found = simulate(_graph(work), work.text(), **options, progress=progress).to_dict()
    return {name: value for name, value in found.items() if name not in OF_THIS_MACHINE}, {}


def _graph(work: Work) -> SpikingGraph:
    return _opened(*work.needs["graph"])


@lru_cache(KEPT)
def _opened(artifact: str, checksum: str) -> SpikingGraph:
    """The artifact, memory-mapped."""
    if not Path(artifact).is_dir():
        raise UnsupportedInput(f"{artifact} is not there; put it where every worker sees it")
    if artifact_content(Path(artifact)) != checksum:
        raise UnsupportedInput(f"{artifact} is another artifact there; put the same one there")
    return load(artifact)


def _measured(work: Work) -> Measured:
    return _remembered(*work.needs["graph"], *work.needs["run"])


@lru_cache(KEPT)
def _remembered(artifact: str, graph: str, run: str, checksum: str) -> Measured:
    return load_measured(_opened(artifact, graph), Path(run), checksum)


_WORKS: Mapping[str, Callable[[Work, Progress | None], Found]] = {
    "convert": _convert,
    "evaluate": _evaluate,
    "run": _run,
    "place": _place,
    "map": _map,
    "profile": _profile,
    "simulate": _simulate,
}
