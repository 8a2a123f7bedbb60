r"""The timing model ``bound``: a step takes as long as the busiest part of the chips.

.. math::
    t = \max\Big( \max_c \big( \sum_m generation_m, \; \sum_m processing_m, \;
        memory\_word \sum_m \lceil synapses_m / synapses\_per\_word \rceil \big)
        \vee \max_p \, interval_p \sum_{l \in p} messages_l + barrier, \; step\_minimum \Big)

The affine maximum model of Timcheck, Pierro and Shrestha (arXiv 2601.10035), which correlates with
Loihi 2 silicon at 0.97 and above: no part waits for another one. Its terms are neuron and
axon-out work, synaptic operations, reads of synaptic memory, and the heaviest link; links between
chips share the ports p of their chip, every other link is its own. Where the profile says so, a
core's generation is added to the rest instead (:mod:`~spikegpt_neuro.hardware.step_time`).
"""

from __future__ import annotations

import numpy as np

from spikegpt_neuro.backends.cycle.timing.loads import FromLoads, Loads
from spikegpt_neuro.backends.cycle.timing.model import StepTiming
from spikegpt_neuro.backends.cycle.timing.names import Timing
from spikegpt_neuro.hardware.step_time import core_seconds


class BoundTiming(FromLoads):
    """What no arrangement of the same work can beat."""

    name: Timing = "bound"

    def of_loads(self, found: Loads) -> StepTiming:
        """Time steps; ``processing`` is the slower of synapses and memory, core by core."""
        reading = found.memory_words * self.machine.latencies.memory_word
        processing = np.maximum(found.processing, reading)
        links = self.machine.link_seconds(found.link_messages)
        cores = core_seconds(found.generating, processing, adds=self.machine.adds)
        busiest = np.maximum(cores.max(axis=-1, initial=0.0), links.max(axis=-1, initial=0.0))
        return self.undisturbed(found, busiest, processing)
