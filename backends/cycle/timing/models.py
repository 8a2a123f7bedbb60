"""The timing models by name."""

from __future__ import annotations

from importlib import import_module
from typing import cast, get_args

from spikegpt_neuro.backends.cycle.machine import Machine
from spikegpt_neuro.backends.cycle.timing.model import Timing, TimingModel
from spikegpt_neuro.errors import UsageError

ROOM = "spikegpt_neuro.backends.cycle.timing"
MODELS = {
    "bound": (f"{ROOM}.bound", "BoundTiming"),
    "simple": (f"{ROOM}.simple", "SimpleTiming"),
    "detailed": (f"{ROOM}.detailed", "DetailedTiming"),
    "cycle": (f"{ROOM}.clocked", "ClockedTiming"),
}
DEFAULT: Timing = "cycle"
TIMINGS: tuple[Timing, ...] = get_args(Timing)


def check_timing(name: str) -> Timing:
    """``name`` if a timing model has it; else :class:`UsageError`."""
    if name not in TIMINGS:
        raise UsageError(f"timing is {name!r}, expected one of {', '.join(TIMINGS)}")
    return name


def timing_model(name: str, machine: Machine) -> TimingModel:
    """The timing model called ``name`` for a machine; modules load when they are asked for."""
    module, model = MODELS[check_timing(name)]
    return cast(TimingModel, getattr(import_module(module), model)(machine))
