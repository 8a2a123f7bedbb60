"""Some steps further: from who had events to what each part did, in one of two ways.

A model that asks only for sums (:class:`~spikegpt_neuro.backends.cycle.timing.loads.FromLoads`) is
given those of many steps at once; every other one the messages of a step, one by one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.cycle.timing.event_loads import EventLoads
from spikegpt_neuro.backends.cycle.timing.loads import FromLoads
from spikegpt_neuro.backends.cycle.timing.model import StepTiming, TimingModel
from spikegpt_neuro.backends.cycle.traffic.masks import Masks
from spikegpt_neuro.backends.cycle.traffic.messages import Reach
from spikegpt_neuro.backends.cycle.traffic.step_messages import NeuronWork, messages_of, reach_of
from spikegpt_neuro.hardware.machine import Machine
from spikegpt_neuro.mapping.routes import Routes

Indices = NDArray[np.int64]

BLOCK_STEPS, BLOCK_BYTES = 256, 1 << 22
"""Steps that are summed at once: no more, and in no more memory."""


class TimedSteps(NamedTuple):
    """B consecutive steps: ``events`` (B, S) of each segment, and ``timing`` with B in front."""

    events: Indices
    timing: StepTiming


class Timer(Protocol):
    """Times ``most`` steps at once or fewer; ``at_once``: and that in several threads."""

    @property
    def most(self) -> int: ...

    @property
    def at_once(self) -> bool: ...

    def time(self, masks: Masks, tokens: Indices) -> TimedSteps:
        """Steps in which source p works on ``tokens[b, p]``."""


def timer(routes: Routes, work: NeuronWork, model: TimingModel, machine: Machine) -> Timer:
    """The quicker way that the model allows."""
    if isinstance(model, FromLoads) and model.loads_are_enough:
        return BySums(EventLoads.of(routes, work, machine), model)
    return ByMessages(routes, reach_of(routes), work, model)


@dataclass(frozen=True)
class BySums:
    """Many steps in one pass."""

    loads: EventLoads
    model: FromLoads
    at_once = True

    @property
    def most(self) -> int:
        return max(1, min(BLOCK_STEPS, BLOCK_BYTES // self.loads.step_bytes))

    def time(self, masks: Masks, tokens: Indices) -> TimedSteps:
        found, events = self.loads.of_steps(masks, tokens)
        return TimedSteps(events, self.model.of_loads(found))


@dataclass(frozen=True)
class ByMessages:
    """Each step by its messages."""

    routes: Routes
    reach: Reach
    work: NeuronWork
    model: TimingModel
    most = 1

    @property
    def at_once(self) -> bool:
        return bool(getattr(self.model, "at_once", False))

    def time(self, masks: Masks, tokens: Indices) -> TimedSteps:
        (at,) = tokens
        messages, events = messages_of(self.routes, self.reach, self.work, masks, at)
        return TimedSteps(events[None], _one(self.model.step(messages)))


def _one(timing: StepTiming) -> StepTiming:
    """A step as a block of one."""
    return StepTiming(**{f.name: np.asarray(getattr(timing, f.name))[None] for f in fields(timing)})
