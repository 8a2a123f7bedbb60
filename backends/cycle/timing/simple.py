r"""The timing model ``simple``: cores without a network between them.

.. math:: t = \max\left( \max_c \sum_m generation_m, \; \max_c \sum_m processing_m \right) + barrier

but no less than ``step_minimum``, with the times of
:class:`~spikegpt_neuro.backends.cycle.traffic.messages.StepMessages`; a core's leftover work counts
as generation, and the two add up where the profile says so. It is the model of the same name in
SANA-FE 2.2.9 (Boyle et al., IEEE TCAD 2025), learned from its documentation and by running it.
"""

from __future__ import annotations

from spikegpt_neuro.backends.cycle.timing.loads import FromLoads, Loads
from spikegpt_neuro.backends.cycle.timing.model import StepTiming
from spikegpt_neuro.backends.cycle.timing.names import Timing
from spikegpt_neuro.hardware.step_time import core_seconds


class SimpleTiming(FromLoads):
    """The busiest core, either making or taking messages."""

    name: Timing = "simple"

    def of_loads(self, found: Loads) -> StepTiming:
        """Time steps; no core ever waits."""
        cores = core_seconds(found.generating, found.processing, adds=self.machine.adds)
        return self.undisturbed(found, cores.max(axis=-1, initial=0.0), found.processing)
