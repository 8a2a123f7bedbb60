"""How many cores and chips a model fills, and where each neuron stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.api.inputs import PathLike, Text, tokens_of
from spikegpt_neuro.api.measuring import Measured, confirm, joules_of, mapped_of, measure
from spikegpt_neuro.api.models import GraphLike, artifact_of, graph_of
from spikegpt_neuro.files import sha256_of, write_atomically
from spikegpt_neuro.graph.artifact import CONFIG
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import Profile, load_profile
from spikegpt_neuro.mapping.cost import Prediction
from spikegpt_neuro.mapping.goal import Goal, check_chips
from spikegpt_neuro.mapping.mapper import Mapped, lower_bound_cores
from spikegpt_neuro.mapping.objectives import Objective, Steps, check_objective, check_steps
from spikegpt_neuro.mapping.picture import chip_contents, draw
from spikegpt_neuro.mapping.placement import Placement
from spikegpt_neuro.mapping.requirements import Where
from spikegpt_neuro.results import Result
from spikegpt_neuro.running import Progress
from spikegpt_neuro.schedules import Schedule, check_schedule
from spikegpt_neuro.vocabulary import Unknown

ACTIVITY_TOKENS = 128


@dataclass(frozen=True, repr=False)
class Placed(Result):
    """A model on a chip, without a violation.

    ``synaptic_memory_used``  bytes. ``utilization``: its share of the cores in use, 0 to 1.
    ``lower_bound_cores``     cores that the dense weights alone would fill.
    ``message_hops_*``        messages x hops per token: as placed, with cores numbered through in
                              the order data flows, and at random over the same chips.
    ``objective``, ``schedule``, ``steps``  what it was placed for.
    ``seconds_per_token``, ``joules_per_token``  predicted from measured rates, by schedule; None
                              where the profile lacks a constant for it.
    ``confirmed_seconds_per_token``  what the clocked simulation of ``schedule`` says, on the same
                              activity; None where it was not asked for, or cannot be.
    ``interchip_messages_per_token``  that cross a border between chips.
    ``busiest_core``          the core that works longest per token: its name and its seconds.
    ``mapped``, ``profile``   everything that is known of the placement, and its hardware.
    """

    hardware: str
    chips: int
    cores: int
    neurons: int
    synapses: int
    synaptic_memory_used: int
    utilization: float
    violations: tuple[str, ...]
    lower_bound_cores: int
    message_hops_per_token: float
    message_hops_plain_order: float
    message_hops_random_order: float
    host_messages_per_token: float
    embedding: Where
    head: Where
    objective: Objective
    schedule: Schedule
    steps: Steps
    seconds_per_token: Mapping[str, float] | None
    joules_per_token: Mapping[str, float] | None
    confirmed_seconds_per_token: float | None
    interchip_messages_per_token: float | None
    busiest_core: Mapping[str, Any] | None
    mapped: Mapped = field(repr=False)
    profile: Profile = field(repr=False)

    UNITS: ClassVar[Mapping[str, str]] = {
        "synaptic_memory_used": "byte",
        "seconds_per_token": "s",
        "joules_per_token": "J",
        "confirmed_seconds_per_token": "s",
    }
    HEADLINE: ClassVar[tuple[str, ...]] = ("hardware", "chips", "cores", "utilization")

    @property
    def placement(self) -> Placement:
        """Where every neuron stands; profiles and the cycle-level simulator take it."""
        return self.mapped.placement

    def save(self, path: PathLike) -> Path:
        """Write the placement as a file (JSON)."""
        self.placement.save(path)
        return Path(path)

    def draw(self, path: PathLike, title: str = "") -> Path:
        """Write a picture of core fill and traffic (SVG)."""
        write_atomically(Path(path), draw(self.mapped, self.profile, title or self.hardware))
        return Path(path)

    def by_chip(self) -> list[dict[str, Any]]:
        """A row per chip: cores in use, neurons, bytes of synaptic memory, and what it holds."""
        mapped, usage = self.mapped, self.mapped.usage
        chip_of = np.array([chip for chip, _ in self.placement.sites])
        rows = []
        for chip in range(mapped.topology.chips):
            here = chip_of == chip
            cores, memory = int(here.sum()), int(usage.synaptic_memory[here].sum())
            rows.append(
                {
                    "chip": chip,
                    "cores": cores,
                    "usable_cores": mapped.topology.usable,
                    "neurons": int(usage.neurons[here].sum()),
                    "synaptic_memory_used": memory,
                    "utilization": memory / max(1, cores * self.profile.limits.synaptic_memory),
                    "holds": chip_contents(self.placement, chip),
                }
            )
        return rows


def place(
    graph: GraphLike,
    hw: PathLike | Profile,
    *,
    activity: Text | None = None,
    optimize: Objective | None = None,
    schedule: Schedule = "pipelined",
    chips: int | None = None,
    steps: Steps | None = None,
    confirmed: bool = True,
    embedding: Where = "host",
    head: Where = "chip",
    seed: int = 0,
    artifact: PathLike | None = None,
    unknown: Unknown = "error",
    progress: Progress | None = None,
) -> Placed:
    """Place ``graph`` on the cores and chips of ``hw``; the same arguments, the same placement.

    Parameters
    ----------
    hw
        A hardware profile: its name, the path of a file, or the profile itself.
    activity
        A text or token ids whose first 128 tokens' activity weighs the traffic; None: the built-in
        text, or random ids where the graph has no vocabulary.
    optimize
        ``"cores"``: as few as hold the model; ``"energy"``: least joules per token of
        ``schedule``; ``"latency"``: least time of a token that falls through; ``"throughput"``:
        most tokens per second in the pipeline. None: energy, or cores where the profile cannot
        price a token.
    chips
        The most chips that may be used; None: all of the system.
    steps
        ``"shared"``: populations that need no exchange of messages answer in one time step, on the
        same cores; ``"separate"``: every population takes its own. None: separate on the fewest
        cores, else shared.
    confirmed
        Simulate the schedule that counts, clock by clock, beside the prediction.
    embedding, head
        ``"chip"`` or ``"host"``.
    artifact
        The directory that a graph in memory was loaded from: the placement keeps its checksum.

    Raises
    ------
    DoesNotFit
        With every limit that does not hold in ``violations``.
    UnsupportedInput
        The profile lacks a constant that the objective needs.

    Examples
    --------
    >>> placed = sgn.place(graph, "loihi2", activity="The return value")
    >>> placed.chips, placed.neurons
    (1, 9696)
    """
    model = graph_of(graph)

    @cache
    def measured() -> Measured:
        return measure(model, activity_tokens(model, activity, unknown, seed), progress=progress)

    return place_measured(
        model,
        hw,
        measured,
        optimize=optimize,
        schedule=schedule,
        chips=chips,
        steps=steps,
        confirmed=confirmed,
        embedding=embedding,
        head=head,
        seed=seed,
        artifact=artifact_of(graph, artifact),
    )


def place_measured(
    graph: SpikingGraph,
    hw: PathLike | Profile,
    measured: Callable[[], Measured],
    *,
    optimize: Objective | None = None,
    schedule: Schedule = "pipelined",
    chips: int | None = None,
    steps: Steps | None = None,
    confirmed: bool = True,
    embedding: Where = "host",
    head: Where = "chip",
    seed: int = 0,
    artifact: PathLike | None = None,
) -> Placed:
    """:func:`place` by a run's activity, which is asked for where the graph can be placed."""
    profile = hw if isinstance(hw, Profile) else load_profile(hw)
    objective = None if optimize is None else check_objective(optimize)
    goal = Goal(objective, check_schedule(schedule), chips=check_chips(chips)).on(profile)
    chosen = check_steps(steps or ("separate" if goal.objective == "cores" else "shared"))
    goal = replace(goal, steps=chosen)
    sha256 = checksum_of(artifact)
    found = mapped_of(graph, measured, profile, goal, embedding, head, seed, sha256)
    return placed(found, profile, measured(), confirmed)


def checksum_of(artifact: PathLike | None) -> str | None:
    """What a placement keeps of the artifact it was made from."""
    return None if artifact is None else sha256_of(Path(artifact) / CONFIG)


def activity_tokens(
    graph: SpikingGraph, text: Text | None, unknown: Unknown, seed: int
) -> NDArray[np.int64]:
    """The tokens whose activity weighs a placement, see :func:`place`."""
    if graph.vocabulary is None and text is None:
        rng = np.random.default_rng(seed)
        return rng.integers(0, graph.shape.vocab_size, ACTIVITY_TOKENS)
    return tokens_of(graph, text, unknown=unknown, count=ACTIVITY_TOKENS)


def placed(found: Mapped, profile: Profile, measured: Measured, confirmed: bool = False) -> Placed:
    """The figures of a placement."""
    used = int(found.usage.synaptic_memory.sum())
    prediction, placement = found.prediction, found.placement
    return Placed(
        hardware=profile.name,
        chips=found.topology.chips,
        cores=found.cores,
        neurons=found.load.neurons,
        synapses=found.load.dense_synapses,
        synaptic_memory_used=used,
        utilization=used / (found.cores * profile.limits.synaptic_memory),
        violations=(),
        lower_bound_cores=lower_bound_cores(found.load, profile),
        message_hops_per_token=found.hops.placed,
        message_hops_plain_order=found.hops.plain_order,
        message_hops_random_order=found.hops.random_order,
        host_messages_per_token=found.traffic.from_host + found.traffic.to_host,
        embedding=placement.embedding,
        head=placement.head,
        objective=placement.objective,
        schedule=Goal(placement.objective, placement.schedule).timed,
        steps=placement.steps,
        seconds_per_token=_by_name(prediction),
        joules_per_token=joules_of(measured, profile, found),
        confirmed_seconds_per_token=confirm(measured, profile, found) if confirmed else None,
        interchip_messages_per_token=None if prediction is None else prediction.interchip_messages,
        busiest_core=None if prediction is None else _busiest(prediction, placement),
        mapped=found,
        profile=profile,
    )


def _by_name(prediction: Prediction | None) -> dict[str, float] | None:
    return None if prediction is None else {str(s): t for s, t in prediction.seconds.items()}


def _busiest(prediction: Prediction, placement: Placement) -> dict[str, Any]:
    core = int(prediction.busy.argmax())
    chip, number = placement.sites[core]
    return {"name": f"chip {chip} core {number}", "seconds": float(prediction.busy[core])}
