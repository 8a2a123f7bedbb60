"""Messages and synapses by core, from events counted by segment: exact sums, no timing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.energy.hardware import sum_by
from spikegpt_neuro.hardware.mesh import HOST
from spikegpt_neuro.mapping.routes import Routes

Indices = NDArray[np.int64]


def by_core(routes: Routes, events: Indices) -> dict[str, Indices]:
    """(C,) each: messages ``sent`` and ``received``, and ``synaptic_operations`` met."""
    cores, each = routes.cores, events[routes.segment]
    hears = routes.target != HOST
    target = routes.target[hears]
    return {
        "sent": sum_by(routes.core, events * routes.messages, cores + 1)[:cores],
        "received": sum_by(target, each[hears], cores),
        "synaptic_operations": sum_by(target, (each * routes.synapses)[hears], cores),
    }
