"""Messages and synapses by core, from events counted by segment: exact sums, no timing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.energy.hardware import sum_by
from spikegpt_neuro.hardware.mesh import HOST
from spikegpt_neuro.mapping.routes import Routes

Indices = NDArray[np.int64]


def sent_by_core(routes: Routes, events: Indices) -> Indices:
    """(..., C) messages sent, by ``events`` (..., S)."""
    running = np.zeros((*events.shape[:-1], events.shape[-1] + 1), np.int64)
    np.cumsum(events * routes.messages, axis=-1, out=running[..., 1:])
    found: Indices = np.diff(running[..., routes.first[:-1]], axis=-1)
    return found


def by_core(routes: Routes, events: Indices) -> dict[str, Indices]:
    """(C,) each: messages ``sent`` and ``received``, and ``synaptic_operations`` met."""
    cores, each = routes.cores, events[routes.segment]
    hears = routes.target != HOST
    target = routes.target[hears]
    return {
        "sent": sent_by_core(routes, events),
        "received": sum_by(target, each[hears], cores),
        "synaptic_operations": sum_by(target, (each * routes.synapses)[hears], cores),
    }
