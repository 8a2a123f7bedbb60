"""Names of the schedules: in which order tokens pass through the stages of a graph.

What each of them means step by step is told in
:mod:`spikegpt_neuro.backends.cycle.traffic.schedule`.
"""

from __future__ import annotations

from typing import Literal, get_args

from spikegpt_neuro.errors import UsageError

Schedule = Literal["pipelined", "fall-through"]
"""A token at every time step, or one token through all stages before the next one enters."""

SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)


def check_schedule(name: str) -> Schedule:
    """``name`` if it is a schedule; else :class:`UsageError`."""
    if name not in SCHEDULES:
        raise UsageError(f"schedule is {name!r}, expected {' or '.join(SCHEDULES)}")
    return name
