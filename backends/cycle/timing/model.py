"""What a timing model is, and what it says of a step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.cycle.timing.names import Timing
from spikegpt_neuro.backends.cycle.traffic.messages import StepMessages


@dataclass(frozen=True)
class StepTiming:
    """How long a step takes, and what its parts did meanwhile; all times in seconds.

    Of many steps, each array has their number B in front, and ``seconds`` is (B,).

    ``seconds``        the whole step, barrier included.
    ``generating``     (C,) neuron and axon-out stages at work.
    ``processing``     (C,) axon-in and synapse stages at work.
    ``stalled``        (C,) a made message could not leave.
    ``link_messages``  (L,) messages over each link.
    ``link_stalled``   (L,) a message waited for room or for its turn; zeros where a model does
                       not know single links.
    ``core_queue``     (C,) most messages that waited at a core's axon-in.
    ``link_queue``     (L,) most messages in the buffer at a link's end.
    """

    seconds: float | NDArray[np.float64]
    generating: NDArray[np.float64]
    processing: NDArray[np.float64]
    stalled: NDArray[np.float64]
    link_messages: NDArray[np.int64]
    link_stalled: NDArray[np.float64]
    core_queue: NDArray[np.int32]
    link_queue: NDArray[np.int32]

    @cached_property
    def busy(self) -> NDArray[np.float64]:
        """(C,) the longer of ``generating`` and ``processing``."""
        found: NDArray[np.float64] = np.maximum(self.generating, self.processing)
        return found


class TimingModel(Protocol):
    """A timing model of one machine; ``name`` is what ``timing=`` calls it.

    A model with ``at_once = True`` is asked for several steps at the same time, by threads.
    """

    name: Timing

    def step(self, messages: StepMessages) -> StepTiming:
        """Time one step. Steps do not depend on each other: a barrier lies between them."""
