"""The timing models by name, without loading any: the one place where a model is registered.

A package from outside adds one as an entry point of the group :data:`GROUP`, which names a class
as in :data:`MODELS`.
"""

from __future__ import annotations

from collections.abc import Mapping

from spikegpt_neuro import plugins
from spikegpt_neuro.errors import UsageError

Timing = str
"""A name that :func:`timing_names` gives."""

GROUP = "spikegpt_neuro.timing_models"
_HERE = "spikegpt_neuro.backends.cycle.timing"
MODELS: Mapping[str, str] = {
    "bound": f"{_HERE}.bound:BoundTiming",
    "simple": f"{_HERE}.simple:SimpleTiming",
    "detailed": f"{_HERE}.detailed:DetailedTiming",
    "cycle": f"{_HERE}.clocked:ClockedTiming",
}
"""Name -> ``module:Class``, from the coarsest to the finest."""

DEFAULT: Timing = "cycle"


def registered() -> dict[str, str]:
    """Every name and its ``module:Class``; a name of ours means our model."""
    outside = {name: entry.value for name, entry in plugins.registered(GROUP).items()}
    return {**MODELS, **{n: outside[n] for n in outside if n not in MODELS}}


def timing_names() -> tuple[Timing, ...]:
    """The names, ours first."""
    return tuple(registered())


def check_timing(name: str) -> Timing:
    """``name`` if a timing model has it; else :class:`UsageError`."""
    if name not in MODELS and name not in registered():
        raise UsageError(f"timing is {name!r}, expected one of {', '.join(timing_names())}")
    return name
