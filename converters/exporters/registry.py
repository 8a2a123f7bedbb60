"""Export formats from their names, and the one function that writes any of them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from spikegpt_neuro.converters.exporters.exported import Exported, Format, need
from spikegpt_neuro.converters.exporters.names import registered
from spikegpt_neuro.errors import MissingBackend, UnsupportedInput, UsageError
from spikegpt_neuro.files import check_output_directory, check_output_file
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.spikegpt import SpikeGPT

Source = SpikingGraph | SpikeGPT


def export_format(name: str) -> Format:
    """The format called ``name``; modules load when they are asked for.

    Raises
    ------
    UsageError
        No format has this name.
    MissingBackend
        It, or a package that it needs, cannot be imported.
    UnsupportedInput
        What is registered under this name is no :class:`Format`.
    """
    known = registered()
    if name not in known:
        raise UsageError(f"no export format {name!r}; known: {', '.join(known)}")
    target, package, extra = known[name]
    if package is not None and extra is not None:
        need(package, extra)
    module, _, attribute = target.partition(":")
    try:
        found = getattr(import_module(module), attribute, None)
    except ImportError as error:
        raise MissingBackend(f"export format {name} cannot be imported: {error}") from error
    if not isinstance(found, Format):
        raise UnsupportedInput(
            f"export format {name}: {target} is none; expected a {Format.__module__}.Format"
        )
    return found


def check_export(to: str, kind: type, path: Path, force: bool) -> Format:
    """Raise before any long work where an export cannot succeed; returns the format.

    Raises what :func:`export_format` does, :class:`UsageError` for a source that the format does
    not take, and :class:`CannotWrite` for the output.
    """
    form = export_format(to)
    if not issubclass(kind, form.sources):
        held = "an artifact" if issubclass(kind, SpikingGraph) else "a checkpoint"
        raise UsageError(f"to={to!r} cannot be made from {held}; give {form.instead}")
    if form.is_ours is None:
        check_output_file(path, force)
    else:
        check_output_directory(path, force, form.is_ours)
    return form


def export(source: Source, to: str, path: str | Path, *, force: bool = False) -> Exported:
    """Write ``source`` in the format ``to``; see :func:`check_export` for the errors."""
    target = Path(path)
    return check_export(to, type(source), target, force).export(source, target)
