"""What can be chosen, and what is chosen by default; loads nothing heavy."""

from __future__ import annotations

from typing import Literal

from spikegpt_neuro.backends.cycle.timing.names import Timing, timing_names
from spikegpt_neuro.descriptions import REFERENCE, Option, Use, backend_names, options_for
from spikegpt_neuro.schedules import SCHEDULES, Schedule

DEFAULT_BACKEND = REFERENCE
DEFAULT_PROFILE = "loihi2"
DEFAULT_SHAPE = "12x512x256"
"""Layers, width and token ids of a benchmark's random model."""
DEFAULT_TIMING: Timing = "bound"
"""The timing model of a backend that does not ask for another one."""

Place = Literal["chip", "host"]
PLACES: tuple[Place, ...] = ("chip", "host")

__all__ = [
    "DEFAULT_BACKEND",
    "DEFAULT_PROFILE",
    "DEFAULT_SHAPE",
    "DEFAULT_TIMING",
    "PLACES",
    "SCHEDULES",
    "Option",
    "Place",
    "Schedule",
    "Timing",
    "Use",
    "backend_names",
    "options_for",
    "timing_names",
]
