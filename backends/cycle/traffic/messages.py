"""What the cores send in one time step: the only thing that the timing models look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class StepMessages:
    r"""Messages of one step, core by core, each core's in the order in which it makes them.

    A core walks its neurons in order; their work adds up until one fires. Message m is made

    .. math:: generation_m = work_m + axon\_out

    seconds after the one before it, and its target is busy with it for

    .. math:: processing_m = axon\_in + synapses_m \cdot synaptic\_operation.

    A message between chips may have copies, which are made where it enters the chip of its target
    (:func:`~spikegpt_neuro.hardware.mesh.gate`) and go on from there; they take the core no time.

    ``first``      (C + 1,) messages of core c are ``first[c]:first[c + 1]``.
    ``target``     (M,) core that receives; HOST (of :mod:`spikegpt_neuro.hardware.mesh`) for what
                   leaves for the host: it takes its core's time, and no route.
    ``synapses``   (M,) synapses that the message meets there.
    ``begins``     (M,) whether it is made at the core; else it is a copy of the last one that is.
    ``work``       (M,) seconds of neuron work since the core's previous message.
    ``leftover``   (C,) seconds of neuron work after the core's last message.
    ``arrived``    (C,) messages from the host that wait at the core when the step begins, and
    ``arrived_synapses``  (C,) the synapses that they meet: they take processing time, no route.
    """

    first: NDArray[np.int64]
    target: NDArray[np.int32]
    synapses: NDArray[np.int32]
    work: NDArray[np.float64]
    leftover: NDArray[np.float64]
    arrived: NDArray[np.int32]
    arrived_synapses: NDArray[np.int64]
    begins: NDArray[np.bool_]

    @property
    def count(self) -> int:
        return len(self.target)

    @property
    def sent(self) -> NDArray[np.int64]:
        """(C,) messages that each core makes."""
        running = np.concatenate([[0], np.cumsum(self.begins, dtype=np.int64)])
        return np.diff(running[self.first])
