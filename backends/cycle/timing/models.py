"""Timing models from their names."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from spikegpt_neuro.backends.cycle.timing.model import TimingModel
from spikegpt_neuro.backends.cycle.timing.names import check_timing, registered
from spikegpt_neuro.errors import MissingBackend, UnsupportedInput
from spikegpt_neuro.hardware.machine import Machine


def timing_model(name: str, machine: Machine) -> TimingModel:
    """The timing model called ``name`` for a machine; modules load when they are asked for.

    Raises
    ------
    UsageError
        No timing model has this name.
    MissingBackend
        It comes from another package, and that cannot be imported.
    UnsupportedInput
        What is registered under this name is no timing model.
    """
    target = registered()[check_timing(name)]
    module, _, attribute = target.partition(":")
    try:
        model = getattr(import_module(module), attribute, None)
    except ImportError as error:
        raise MissingBackend(f"timing model {name} cannot be imported: {error}") from error
    if getattr(model, "name", None) != name or not callable(getattr(model, "step", None)):
        raise UnsupportedInput(
            f"timing model {name}: {target} is none; expected a class with name = {name!r} and "
            "step(messages)"
        )
    return cast(TimingModel, cast(type, model)(machine))
