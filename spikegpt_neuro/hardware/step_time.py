r"""How long a core and a step take: the equations that every estimate of time shares.

.. math::
    processing &= messages \cdot axon\_in + synapses \cdot synaptic\_operation \\
    core &= \begin{cases}
        \max(generating, processing, reading) & \text{neurons and synapses at once} \\
        generating + \max(processing, reading) & \text{one after the other}
    \end{cases} \\
    step &= \max(busiest + barrier, \; step\_minimum)

The maximum is that of Timcheck, Pierro and Shrestha (arXiv 2601.10035), whose second version has
the barrier inside of it: a smallest step, which ``step_minimum`` is. Numbers and arrays alike;
all times in seconds.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Times = TypeVar("Times", float, NDArray[np.float64])


def processing_seconds(
    messages: Times, synapses: Times, axon_in: float, synaptic_operation: float
) -> Times:
    """What a core takes for the messages that arrive and the synapses that they meet."""
    return messages * axon_in + synapses * synaptic_operation


def core_seconds(generating: Times, processing: Times, *, adds: bool) -> Times:
    """What a core takes for a step; ``adds``: its parts work one after the other.

    ``processing``  the slower of synapses and of reading their memory.
    """
    if adds:
        return generating + processing
    found: Times = np.maximum(generating, processing)
    return found


def step_seconds(busiest: Times, barrier: float, minimum: float) -> Times:
    """A step of which the busiest part takes ``busiest``."""
    found = np.maximum(busiest + barrier, minimum)
    return found if isinstance(busiest, np.ndarray) else float(found)
