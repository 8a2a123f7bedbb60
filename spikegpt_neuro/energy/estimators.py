"""The record of a run: activity priced on placed hardware, over a time found elsewhere.

An estimator is a source of events and of time: ``reference`` and ``lava`` give the activity of
their own run, and :func:`~spikegpt_neuro.energy.hardware.hardware_events` follows it over the
placement; ``cycle`` gives both events and time from its simulation; ``loihi`` measures. All of them
write an :class:`~spikegpt_neuro.energy.record.Estimate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from spikegpt_neuro.energy.accounting import ACCOUNTINGS, Priced
from spikegpt_neuro.energy.activity import Activity
from spikegpt_neuro.energy.counts import arrivals_of
from spikegpt_neuro.energy.events import HardwareEvents
from spikegpt_neuro.energy.hardware import hardware_events
from spikegpt_neuro.energy.pricing import Time, price, weakest
from spikegpt_neuro.energy.record import Estimate, Range, added
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.events import EVENTS
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.mapping.placement import Placement
from spikegpt_neuro.schedules import Schedule

AS_ARRIVES = "as-arrives"
"""The accounting of this tool: every operation is priced by what arrived at the synapse."""


@dataclass(frozen=True)
class Timed:
    """How long a run takes on the placed hardware, and who says so.

    ``steps``, ``seconds``  of the run's tokens in the steady state.
    ``filling_steps``, ``filling_seconds``  what the pipeline takes to fill, once per text.
    ``is_steady``  False where the run is too short to fill the pipeline: the whole run counts.
    ``assumed``    share of the time that rests on assumed constants, 0 to 1; None: not known.
    ``left_out``   constants that the profile is silent on, so that they take no time.
    """

    schedule: Schedule
    timing: str
    steps: int
    seconds: Range
    constants: tuple[str, ...]
    filling_steps: int = 0
    filling_seconds: Range = field(default_factory=Range)
    is_steady: bool = True
    assumed: float | None = None
    left_out: tuple[str, ...] = ()


def estimate(
    estimator: str,
    graph: SpikingGraph,
    activity: Activity,
    profile: Profile,
    placement: Placement,
    timed: Timed,
    events: Mapping[str, HardwareEvents] | None = None,
) -> Estimate:
    """Price a run; ``events`` are those that a simulation counted, else they are worked out.

    What happens in every step is that of ``timed.steps`` steps, wherever events were counted.
    Raises :class:`UnsupportedInput` where the placement is not one of this graph on this hardware.
    """
    if events is None:
        events = hardware_events(graph, activity, profile, placement, timed.steps)
    else:
        placement.check(graph, profile)
        events = _stepped(events, timed)
    time = Time(timed.seconds, timed.constants, timed.assumed)
    found = price(events, time, placement.chips, profile)
    idle = {name: HardwareEvents(**_of_steps(own)) for name, own in events.items()}
    idling = price(idle, Time(Range()), placement.chips, profile)
    static = price({}, Time(timed.filling_seconds), placement.chips, profile)
    return Estimate(
        estimator=estimator,
        accounting=AS_ARRIVES,
        hardware=profile.name,
        tokens=activity.tokens,
        joules=found.joules,
        seconds=timed.seconds,
        chips=placement.chips,
        cores=len(placement.sites),
        schedule=timed.schedule,
        timing=timed.timing,
        steps=timed.steps,
        is_steady=timed.is_steady,
        by_population=found.by_population,
        by_operation=found.by_operation,
        by_kind=found.by_kind,
        constants=found.constants,
        not_modelled=(
            *found.not_modelled,
            *(f"{key}: takes no time, {profile.name} gives no constant" for key in timed.left_out),
            *_on_host(graph, activity, placement),
        ),
        time_assumed=timed.assumed,
        filling_steps=timed.filling_steps,
        filling_seconds=timed.filling_seconds,
        filling_joules=static.joules["static"]
        + added(idling.joules.values()) * (timed.filling_steps / timed.steps),
    )


def _stepped(events: Mapping[str, HardwareEvents], timed: Timed) -> dict[str, HardwareEvents]:
    """The events of a simulated run, with those of every step for ``timed.steps`` steps."""
    whole = timed.steps + timed.filling_steps
    return {
        name: replace(own, **{k: n // whole * timed.steps for k, n in _of_steps(own).items()})
        for name, own in events.items()
    }


def _of_steps(own: HardwareEvents) -> dict[str, int]:
    """Counts of what happens in every step, work or none."""
    return {event.name: getattr(own, event.name) for event in EVENTS if event.is_of_steps}


def _on_host(graph: SpikingGraph, activity: Activity, placement: Placement) -> tuple[str, ...]:
    """What the host computes, for which no profile has a constant."""
    work = []
    if placement.embedding == "host":
        work.append(f"{graph.input.size:,} table entries of the embedding")
    if placement.head == "host":
        head = sum(
            arrived.synaptic_operations
            for arrived in arrivals_of(graph, activity)
            if arrived.target == graph.output.name
        )
        work.append(f"{head / activity.tokens:,.0f} synaptic operations of the head")
    work.append("the choice of the next token")
    return (f"the host's own work, per token: {', '.join(work)}",)


def under_accounting(record: Estimate, priced: Priced) -> Estimate:
    """The same run, its joules as a named accounting has them: a figure without a range.

    Time, chips and cores stay; what the accounting knows nothing of is gone.
    """
    tokens = record.tokens
    by_operation: dict[str, Range] = {}
    for row in priced.rows:
        joules = by_operation.get(row.name, Range()) + Range.exactly(row.joules * tokens)
        by_operation[row.name] = joules
    kind = weakest(constant.kind for constant in priced.constants)
    return replace(
        record,
        accounting=f"{priced.accounting}:{priced.variant}",
        joules={c: Range.exactly(j * tokens) for c, j in priced.by_category.items()},
        by_population={},
        by_operation=by_operation,
        by_kind={kind: priced.joules * tokens},
        constants=tuple(constant.key for constant in priced.constants),
        not_modelled=ACCOUNTINGS[priced.accounting].leaves_out,
        filling_joules=Range(),
    )
