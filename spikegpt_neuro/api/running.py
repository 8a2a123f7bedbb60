"""Runs on any backend, plain or verified against the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from spikegpt_neuro.api.inputs import Text, tokens_of
from spikegpt_neuro.api.models import GraphLike, graph_of
from spikegpt_neuro.descriptions import REFERENCE, describe
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.results import Result
from spikegpt_neuro.running import Progress, Record, Run, first_mismatch, get_backend
from spikegpt_neuro.vocabulary import Unknown


def run(
    graph: GraphLike,
    text: Text,
    backend: str = REFERENCE,
    *,
    record: Record = "spikes",
    unknown: Unknown = "error",
    progress: Progress | None = None,
    **options: Any,
) -> Run:
    """Run a text or token ids (T,) from the initial state; ``options`` go to the backend.

    ``graph`` is a graph or the path of its artifact, here and in every function that takes one.
    ``record`` chooses what the run keeps: ``"logits"``, also ``"spikes"`` (every binary
    population), or also every population's ``"events"``. A backend that simulates time leaves it
    in ``Run.simulation``.

    Raises
    ------
    UsageError
        No backend has this name, or it does not have such an option.
    MissingBackend
        Its packages are not installed; the text names the install line.
    UnsupportedInput
        A token id is out of range, or the backend cannot run this graph.

    Examples
    --------
    >>> sgn.run(graph, "The return value").logits.shape
    (17, 96)
    >>> sgn.run(graph, "The return", "cycle", hw="loihi2").simulation.chips
    1
    """
    runner = get_backend(backend, **options)
    graph = graph_of(graph)
    tokens = tokens_of(graph, text, unknown=unknown)
    return runner.run(graph, tokens, record=record, progress=progress)


@dataclass(frozen=True, repr=False)
class Simulated(Result):
    """A run on a backend, and whether it gave the reference's integers.

    ``matches_reference``  None where nothing was compared; ``first_mismatch``: where in words.
    ``simulation``         figures of simulated time, where the backend has it.
    ``run``                the run itself.
    """

    backend: str
    granularity: str | None
    frame: int | None
    tokens: int
    seconds: float
    startup_seconds: float
    matches_reference: bool | None
    first_mismatch: str | None
    simulation: dict[str, Any] | None = None
    run: Run | None = field(default=None, repr=False)

    UNITS: ClassVar[Mapping[str, str]] = {"seconds": "s", "startup_seconds": "s"}
    HEADLINE: ClassVar[tuple[str, ...]] = ("backend", "tokens", "seconds", "matches_reference")

    def to_dict(self) -> dict[str, Any]:
        """The figures; ``simulation`` only where there is one."""
        found = super().to_dict()
        return {k: v for k, v in found.items() if k != "simulation" or v is not None}


def simulate(
    graph: GraphLike,
    text: Text | None = None,
    backend: str = REFERENCE,
    *,
    tokens: int | None = 256,
    verify: bool = False,
    unknown: Unknown = "error",
    progress: Progress | None = None,
    **options: Any,
) -> Simulated:
    """Run the first ``tokens`` of a text on a backend; ``verify`` compares every integer.

    The reference itself is compared with its other mode, one token after the other. What differs
    is told by the result, not raised. Raises what :func:`run` raises.

    Examples
    --------
    >>> sgn.simulate(graph, "The return value", verify=True).matches_reference
    True
    """
    runner = get_backend(backend, **options)
    graph = graph_of(graph)
    ids = tokens_of(graph, text, unknown=unknown, count=tokens)
    record: Record = "events" if verify else "logits"
    done = runner.run(graph, ids, record=record, progress=progress)
    mismatch = _mismatch(graph, backend, done) if verify else None
    return Simulated(
        backend=backend,
        granularity=getattr(runner, "granularity", None),
        frame=getattr(runner, "tokens_per_step", None),
        tokens=len(done.tokens),
        seconds=done.seconds,
        startup_seconds=done.startup_seconds,
        matches_reference=mismatch is None if verify else None,
        first_mismatch=mismatch,
        simulation=None if done.simulation is None else done.simulation.to_json(),
        run=done,
    )


def _mismatch(graph: SpikingGraph, backend: str, done: Run) -> str | None:
    reference = get_backend(REFERENCE, **describe(backend).checked_with)
    return first_mismatch(graph, done, reference.run(graph, done.tokens, record="events"))
