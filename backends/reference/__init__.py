"""The reference backend: it defines what the integer graph means."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spikegpt_neuro.descriptions import Description, Option

if TYPE_CHECKING:
    from spikegpt_neuro.backends.reference.backend import ReferenceBackend
    from spikegpt_neuro.backends.reference.executor import Executor

__all__ = ["BACKEND", "Executor", "ReferenceBackend"]

BACKEND = Description(
    name="reference",
    factory="spikegpt_neuro.backends.reference.backend:ReferenceBackend",
    options=(
        Option("chunk", "Tokens per pass over a text.", "whole", uses=()),
        Option(
            "threads",
            "Reference: threads that share the larger products [default: as many as are quickest].",
            "whole",
            uses=("generate",),
            metavar="N",
        ),
    ),
    diagnose="spikegpt_neuro.backends.reference.instructions:diagnose",
    shares_integers=True,
    checked_with={"chunk": 1},  # one token after the other: its own other mode
)


def __getattr__(name: str) -> Any:
    """The executor and the backend load numba: only when they are asked for."""
    home = {"ReferenceBackend": "backend", "Executor": "executor"}.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
