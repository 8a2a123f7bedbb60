r"""The timing model ``simple``: cores without a network between them.

.. math:: t = \max\left( \max_c \sum_m generation_m, \; \max_c \sum_m processing_m \right) + barrier

but no less than ``step_minimum``, with the times of
:class:`~spikegpt_neuro.backends.cycle.traffic.messages.StepMessages`; a core's leftover work counts
as generation, and the two add up where the profile says so. It is the model of the same name in
SANA-FE 2.2.9 (Boyle et al., IEEE TCAD 2025), learned from its documentation and by running it.
"""

from __future__ import annotations

import numpy as np

from spikegpt_neuro.backends.cycle.timing.loads import loads
from spikegpt_neuro.backends.cycle.timing.model import StepTiming
from spikegpt_neuro.backends.cycle.timing.names import Timing
from spikegpt_neuro.backends.cycle.traffic.messages import StepMessages
from spikegpt_neuro.hardware.machine import Machine
from spikegpt_neuro.hardware.step_time import core_seconds, step_seconds


class SimpleTiming:
    """The busiest core, either making or taking messages."""

    name: Timing = "simple"
    at_once = True

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def step(self, messages: StepMessages) -> StepTiming:
        """Time one step; no core ever waits."""
        found, latencies = loads(self.machine, messages), self.machine.latencies
        each = core_seconds(found.generating, found.processing, adds=self.machine.adds)
        busiest = float(each.max(initial=0.0))
        cores, links = len(found.generating), len(found.link_messages)
        return StepTiming(
            seconds=step_seconds(busiest, latencies.barrier, latencies.step_minimum),
            generating=found.generating,
            processing=found.processing,
            stalled=np.zeros(cores),
            link_messages=found.link_messages,
            link_stalled=np.zeros(links),
            core_queue=np.zeros(cores, np.int32),
            link_queue=np.zeros(links, np.int32),
        )
