"""The export formats by name, and the one function that writes any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from spikegpt_neuro.converters.exporters.exported import Exported, need
from spikegpt_neuro.converters.exporters.netx_export import is_export
from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.files import check_output_directory, check_output_file
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.spikegpt import SpikeGPT

Source = SpikingGraph | SpikeGPT


@dataclass(frozen=True)
class Format:
    """An export format: its module under this package, what it needs, and what it takes.

    ``instead`` tells how to get a source of the right kind; ``directory``: it writes several files.
    """

    module: str
    package: str
    extra: str
    sources: tuple[type, ...]
    instead: str = ""
    directory: bool = False


FORMATS = {
    "onnx": Format(
        "onnx_integer",
        "onnx",
        "onnx",
        (SpikingGraph,),
        "an artifact (convert writes it), or --to onnx-float",
    ),
    "onnx-float": Format("onnx_float", "onnx", "onnx", (SpikeGPT,), "the checkpoint, or --to onnx"),
    "nir": Format("nir_export", "nir", "nir", (SpikingGraph, SpikeGPT)),
    "netx": Format(
        "netx_export",
        "h5py",
        "netx",
        (SpikingGraph,),
        "an artifact (convert writes it)",
        directory=True,
    ),
}


def check_export(to: str, kind: type, path: Path, force: bool) -> Format:
    """Raise before any long work where an export cannot succeed; returns the format.

    Raises :class:`UsageError` for an unknown format or a source it does not take,
    :class:`MissingBackend` for a missing package, :class:`CannotWrite` for the output.
    """
    if to not in FORMATS:
        raise UsageError(f"no export format {to!r}; known: {', '.join(FORMATS)}")
    form = FORMATS[to]
    if not issubclass(kind, form.sources):
        held = "an artifact" if issubclass(kind, SpikingGraph) else "a checkpoint"
        raise UsageError(f"--to {to} cannot be made from {held}; give {form.instead}")
    need(form.package, form.extra)
    if form.directory:
        check_output_directory(path, force, is_export)
    else:
        check_output_file(path, force)
    return form


def export(source: Source, to: str, path: str | Path, *, force: bool = False) -> Exported:
    """Write ``source`` in the format ``to``; see :func:`check_export` for the errors."""
    target = Path(path)
    form = check_export(to, type(source), target, force)
    module = import_module(f"{__package__}.{form.module}")
    return cast(Callable[[Source, Path], Exported], module.export)(source, target)
