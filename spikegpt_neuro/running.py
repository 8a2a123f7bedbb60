"""What a run of the graph gives back, whatever backend ran it, and how backends are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.descriptions import Description, describe, resolved
from spikegpt_neuro.errors import MissingBackend, UsageError
from spikegpt_neuro.graph.graph import Projection, SpikingGraph
from spikegpt_neuro.neurons.program import Counts, IntArray
from spikegpt_neuro.vocabulary import check_token_ids

Record = Literal["logits", "spikes", "events"]
Progress = Callable[[int, int], None]
"""Called with (tokens done, tokens in all)."""


@dataclass(frozen=True)
class ProjectionActivity:
    """What arrived at the synapses of one projection over a whole run.

    ``events``            non-zero events sent into the projection.
    ``synaptic_operations``  events x fan-out: synapses that really had something to do.
    ``dense_operations``  what a machine would do that reads every synapse for every token, those
                          too that a sparse projection does not have.
    """

    events: int = 0
    synaptic_operations: int = 0
    dense_operations: int = 0

    @classmethod
    def of(
        cls, projection: Projection, events: NDArray[np.integer], tokens: int
    ) -> ProjectionActivity:
        """``events`` (n,) non-zero ones that each source neuron sent in ``tokens`` tokens."""
        possible = tokens * len(events)
        return cls(
            events=int(events.sum()),
            synaptic_operations=projection.operations(events),
            dense_operations=possible * projection.dense_fan_out,
        )

    def __add__(self, other: ProjectionActivity) -> ProjectionActivity:
        return ProjectionActivity(
            self.events + other.events,
            self.synaptic_operations + other.synaptic_operations,
            self.dense_operations + other.dense_operations,
        )


class HardwareTime(Protocol):
    """Simulated time on hardware."""

    @property
    def tokens_per_second(self) -> float | None:
        """Throughput in the steady state; None before the first token is through."""

    @property
    def seconds_per_token(self) -> float | None:
        """Time between two tokens in the steady state."""

    @property
    def interrupted(self) -> bool:
        """True where it ended early."""

    def to_json(self) -> dict[str, Any]:
        """All its figures."""


@dataclass(frozen=True)
class Run:
    """Integers of one run over ``tokens`` (T,).

    ``logits_int``  (T, V) int32, in units of ``logit_scale``.
    ``events``      population -> (T, n): every population where recorded, else those that
                    spike, else none (see ``record`` of :meth:`Backend.run`).
    ``counts``      population -> saturations and clipped payloads (backends that cannot
                    count leave it empty).
    ``simulation``  what a backend that simulates time found; None elsewhere.
    """

    tokens: NDArray[np.int64]
    logits_int: IntArray
    logit_scale: float
    events: Mapping[str, NDArray[np.integer]]
    activity: Mapping[str, ProjectionActivity] = field(default_factory=dict)
    counts: Mapping[str, Counts] = field(default_factory=dict)
    seconds: float = 0.0
    startup_seconds: float = 0.0
    simulation: HardwareTime | None = None

    def __repr__(self) -> str:
        tokens, vocab_size = self.logits_int.shape
        timed = "" if self.simulation is None else f", {self.simulation!r}"
        return (
            f"Run({tokens} token{'s' * (tokens != 1)}, {vocab_size} token ids, "
            f"{len(self.events)} populations recorded, {self.seconds:.3g} s{timed})"
        )

    @property
    def logits(self) -> NDArray[np.float32]:
        """Logits in real units, (T, V) float32."""
        return (self.logits_int * np.float32(self.logit_scale)).astype(np.float32)

    @property
    def spikes(self) -> dict[str, NDArray[np.uint8]]:
        """Recorded binary populations: name -> (T, n) of 0 and 1."""
        return {
            name: cast(NDArray[np.uint8], events)
            for name, events in self.events.items()
            if events.dtype == np.uint8
        }

    @property
    def saturations(self) -> int:
        return sum(count.saturations for count in self.counts.values())


class Session(Protocol):
    """A closed loop: one token in, its logits out, state carried."""

    def step(self, token: int) -> IntArray:
        """Feed one token id; returns the integer logits (V,)."""


class Backend(Protocol):
    """Something that runs a spiking graph and gives the integers of the contract."""

    name: str

    def run(
        self,
        graph: SpikingGraph,
        tokens: NDArray[np.int64],
        *,
        record: Record = "spikes",
        progress: Progress | None = None,
    ) -> Run:
        """Run ``tokens`` from the initial state."""

    def session(self, graph: SpikingGraph) -> AbstractContextManager[Session]:
        """Open a closed loop for generation."""


def get_backend(name: str, **options: Any) -> Backend:
    """The backend registered under ``name``, made with its own ``options``.

    See :mod:`spikegpt_neuro.descriptions` for how backends are found. Raises
    :class:`UsageError` for an unknown name or an option that the backend does not have,
    :class:`MissingBackend` where its packages are not installed.
    """
    description = describe(name)
    try:
        factory = resolved(description.factory)
    except ImportError as error:
        raise MissingBackend(f"backend {name} cannot be imported: {error}") from error
    known = _options_of(description, factory)
    if known is not None and (strange := sorted(options.keys() - known)):
        raise UsageError(
            f"backend {name} has no option {', '.join(strange)}; "
            f"it has {', '.join(sorted(known)) or 'none'}"
        )
    return cast(Backend, factory(**options))


def _options_of(description: Description, factory: Callable[..., Any]) -> set[str] | None:
    """Names of the options; those of a plain callable are its parameters (None: any)."""
    if description.options:
        return {option.name for option in description.options}
    parameters = signature(factory).parameters.values()
    if any(p.kind is Parameter.VAR_KEYWORD for p in parameters):
        return None
    return {p.name for p in parameters}


def check_tokens(graph: SpikingGraph, tokens: object) -> NDArray[np.int64]:
    """``tokens`` as a 1-D int64 array, or an error naming what is wrong with them."""
    return check_token_ids(tokens, graph.shape.vocab_size)


def recorded_populations(graph: SpikingGraph, record: Record) -> list[str]:
    """Names of the populations whose events ``record`` asks for, in the order data flows.

    The output's events are the logits and are always kept, as ``Run.logits_int``.
    """
    if record == "logits":
        return []
    if record == "spikes":
        return [p.name for p in graph.spiking()]
    if record == "events":
        return [p.name for p in graph.populations if p is not graph.output]
    raise UsageError(f"record is {record!r}, expected 'logits', 'spikes' or 'events'")


def synops_over_dense(graph: SpikingGraph, activity: Mapping[str, ProjectionActivity]) -> float:
    """Synaptic operations that happened over those of a machine that reads every synapse."""
    counted = [activity[q.name] for q in graph.projections if q.is_dense]
    dense = sum(each.dense_operations for each in counted)
    return sum(each.synaptic_operations for each in counted) / dense if dense else 0.0


def first_mismatch(graph: SpikingGraph, run: Run, reference: Run) -> str | None:
    """Where ``run`` first differs from ``reference``, in the order data flows; None if nowhere.

    Compares every population that both recorded and the logits, by exact equality; the
    earliest token is named, and for it the first population upstream that differs.
    """
    order = {p.name: index for index, p in enumerate(graph.populations)}
    pairs = [
        (name, run.events[name], reference.events[name])
        for name in sorted(run.events.keys() & reference.events.keys(), key=order.__getitem__)
    ] + [(graph.output.name, run.logits_int, reference.logits_int)]
    found: list[tuple[int, int, str]] = []
    for rank, (name, ours, theirs) in enumerate(pairs):
        if ours.shape != theirs.shape:
            return f"{name}: shape {ours.shape} against {theirs.shape}"
        if differing := np.argwhere(ours != theirs).tolist():
            token, neuron = differing[0]
            text = (
                f"{name}, token {token}, neuron {neuron}: "
                f"{ours[token, neuron]} against {theirs[token, neuron]} "
                f"({len(differing)} of {ours.size} differ)"
            )
            found.append((token, rank, text))
    return min(found)[2] if found else None
