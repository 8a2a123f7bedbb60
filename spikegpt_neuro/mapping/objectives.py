"""What a placement is made for."""

from __future__ import annotations

from typing import Literal, get_args

from spikegpt_neuro.errors import UsageError

Objective = Literal["cores", "energy", "latency", "throughput"]
"""Fewest cores; least energy per token of a schedule; least time of a token that falls through all
stages; most tokens per second in the pipeline."""

OBJECTIVES: tuple[Objective, ...] = get_args(Objective)


def check_objective(objective: str) -> Objective:
    """Raise :class:`UsageError` for a name that is none."""
    for known in OBJECTIVES:
        if objective == known:
            return known
    raise UsageError(f"optimize is {objective!r}; expected {', '.join(OBJECTIVES)}")


Steps = Literal["shared", "separate"]
"""Whether populations that need no exchange of messages share a time step."""

STEPS: tuple[Steps, ...] = get_args(Steps)


def check_steps(steps: str) -> Steps:
    """Raise :class:`UsageError` for a value that is none."""
    for known in STEPS:
        if steps == known:
            return known
    raise UsageError(f"steps is {steps!r}; expected {' or '.join(STEPS)}")
