r"""A published run predicted from its activity, by the equations of pricing and of ``bound``.

.. math::
    seconds &= busy \cdot step(busiest\ core) + (steps - busy) \cdot step(0) \\
    joules &= \sum_k n_k e_k + P \, chips\_on \cdot seconds

with the step of :mod:`spikegpt_neuro.hardware.step_time` and the joules of
:func:`spikegpt_neuro.energy.pricing.price`. What nobody published is not in it: hops, payload bits,
traffic between chips. Where the time cannot be predicted, power is drawn for the time measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from spikegpt_neuro.energy.events import HardwareEvents
from spikegpt_neuro.energy.pricing import EMBEDDED, STATIC, Time, price
from spikegpt_neuro.energy.record import Range
from spikegpt_neuro.evidence.runs import PublishedRun, Quantity
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.hardware.step_time import core_seconds, processing_seconds, step_seconds
from spikegpt_neuro.hardware.voltage import scales_of

CORES_PER_ROUTER = "chip.cores_per_tile"


@dataclass(frozen=True)
class Prediction:
    """``seconds`` of one of what the run counts in, and its joules, static and dynamic."""

    seconds: float
    joules_static: float
    joules_dynamic: float

    @property
    def joules(self) -> float:
        return self.joules_static + self.joules_dynamic

    def of(self, quantity: Quantity) -> float:
        """The prediction of a quantity by its name."""
        found: float = getattr(self, quantity)
        return found


def predict(run: PublishedRun, profile: Profile, *, measured_time: bool = False) -> Prediction:
    """What a run should take on ``profile``, the board that it ran on.

    ``measured_time``  static power is drawn for the time measured, even where it can be predicted.

    Raises :class:`UnsupportedInput` naming the first constant that is missing.
    """
    profile = as_measured(profile, run)
    given = measured_time or "seconds" in run.unpredicted or run.busiest is None
    seconds = run.value("seconds") if given else predicted_seconds(run, profile)
    time = Time(Range.exactly(seconds))
    found = price({run.name: events_of(run)}, time, int(run.value("chips_on")), profile)
    joules = {category: found.joules[category].value for category in found.joules}
    return Prediction(seconds, joules.pop("static"), sum(joules.values()))


def as_measured(profile: Profile, run: PublishedRun) -> Profile:
    """A profile with the power of the embedded processors only where it was measured, too."""
    key = f"power.{EMBEDDED}"
    if run.counts_embedded or key not in profile:
        return profile
    constants = {name: c for name, c in profile.constants.items() if name != key}
    return replace(profile, constants=constants)


def static_watts(profile: Profile, run: PublishedRun) -> float:
    """Power of all chips of the run's board that do nothing."""
    measured = as_measured(profile, run)
    keys = (f"power.{name}" for name in (STATIC, EMBEDDED))
    return sum(measured[key].base for key in keys if key in measured) * run.value("chips_on")


def events_of(run: PublishedRun) -> HardwareEvents:
    """What the chips did, as far as it is published; every message is sent once and heard once."""
    messages, steps = round(run.value("messages")), run.value("steps")
    return HardwareEvents(
        neuron_access=round(run.value("neuron_passes")),
        synaptic_operation=round(run.value("synaptic_operations")),
        axon_out=messages,
        axon_in=messages,
        core_step=round(run.value("cores") * steps),
        chip_step=round(run.value("chips_on") * steps),
    )


def predicted_seconds(run: PublishedRun, profile: Profile) -> float:
    """The time of one of what the run counts in; all its steps but the busy ones do nothing."""
    steps = run.value("steps")
    busy = run.value("busy_steps") or steps
    busiest, nothing = step_of(run, profile), step_of(run, profile, idle=True)
    return busy * busiest + (steps - busy) * nothing


def step_of(run: PublishedRun, profile: Profile, *, idle: bool = False) -> float:
    """The time of a step with the load of the run's busiest core, or with none."""
    latency = _latencies(profile)
    loads = ("neuron_passes", "messages", "synaptic_operations")
    passes, messages, synapses = (0.0 if idle else run.on_busiest(name) for name in loads)
    core = core_seconds(
        passes * latency["neuron_access"],
        processing_seconds(messages, synapses, latency["axon_in"], latency["synaptic_operation"]),
        adds="latency.core_terms" in profile and profile["latency.core_terms"].value == "sum",
    )
    slower = scales_of(profile).time
    return slower * step_seconds(
        float(core), _barrier(run, profile), latency.get("step_minimum", 0.0)
    )


def _latencies(profile: Profile) -> Mapping[str, float]:
    needed = ("neuron_access", "axon_in", "synaptic_operation")
    found = {name: profile[f"latency.{name}"].base for name in needed}
    if "latency.step_minimum" in profile:
        found["step_minimum"] = profile["latency.step_minimum"].base
    return found


def _barrier(run: PublishedRun, profile: Profile) -> float:
    """The slower of the barriers over the tiles and over the chips in use."""
    chips = int(run.value("chips_on"))
    tiles = -(-int(run.value("cores")) // (profile.count(CORES_PER_ROUTER) * chips))
    found = profile["latency.barrier"].at(tiles)
    if chips > 1 and "latency.barrier_chips" in profile:
        found = max(found, profile["latency.barrier_chips"].at(chips))
    return found
