"""The neuron programs, one module each, and their registry by kind.

Another package adds a program by an entry point of the group ``spikegpt_neuro.programs``: its
name is the kind, its value the class, a :class:`Program` of that kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikegpt_neuro import plugins
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.neurons.embedding import Embedding
from spikegpt_neuro.neurons.gate import Gate
from spikegpt_neuro.neurons.layer_norm import LayerNorm
from spikegpt_neuro.neurons.lif import LIF
from spikegpt_neuro.neurons.program import Program, declared
from spikegpt_neuro.neurons.requantize import Requantize
from spikegpt_neuro.neurons.residual import Residual
from spikegpt_neuro.neurons.squared_relu import SquaredReLU
from spikegpt_neuro.neurons.token_mix import TokenMix
from spikegpt_neuro.neurons.wkv import WKV

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "spikegpt_neuro.programs"

PROGRAMS: dict[str, type[Program]] = {
    program.kind: program
    for program in (
        Embedding,
        LayerNorm,
        TokenMix,
        WKV,
        Requantize,
        LIF,
        Residual,
        SquaredReLU,
        Gate,
    )
}


def program_class(kind: str) -> type[Program] | None:
    """The program of this kind, built in or registered by another package; None if unknown.

    Raises :class:`UnsupportedInput` where what is registered is no program of that kind.
    """
    if kind in PROGRAMS:
        return PROGRAMS[kind]
    entry = plugins.registered(ENTRY_POINT_GROUP).get(kind)
    return None if entry is None else _loaded(entry)


def _loaded(entry: EntryPoint) -> type[Program]:
    where = f"program {entry.name}: entry point {entry.value}"
    try:
        program = entry.load()
    except (ImportError, AttributeError) as error:
        raise UnsupportedInput(f"{where} cannot be loaded: {error}") from error
    if not (isinstance(program, type) and issubclass(program, Program)):
        raise UnsupportedInput(f"{where} is no subclass of Program; correct its registration")
    if getattr(program, "kind", None) != entry.name:
        raise UnsupportedInput(f"{where} is of another kind; its class must say {entry.name!r}")
    try:
        declared(program)
    except TypeError as error:
        raise UnsupportedInput(f"{where}: {error}") from error
    return program


__all__ = [
    "ENTRY_POINT_GROUP",
    "LIF",
    "PROGRAMS",
    "WKV",
    "Embedding",
    "Gate",
    "LayerNorm",
    "Program",
    "Requantize",
    "Residual",
    "SquaredReLU",
    "TokenMix",
    "program_class",
]
