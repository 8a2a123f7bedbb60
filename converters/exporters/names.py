"""The export formats by name, without loading any: the one place where a format is registered.

A package from outside adds one as an entry point of the group :data:`GROUP`, which names a
:class:`~spikegpt_neuro.converters.exporters.exported.Format` as ``module:FORMAT``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from spikegpt_neuro import plugins

GROUP = "spikegpt_neuro.exporters"
_HERE = "spikegpt_neuro.converters.exporters"


class Registered(NamedTuple):
    """Where a format is described, as ``module:FORMAT``.

    ``package``  what it imports beyond this package's own dependencies,
    ``extra``    and the extra of ours that installs it; None: its own package sees to that.
    """

    target: str
    package: str | None = None
    extra: str | None = None


FORMATS: Mapping[str, Registered] = {
    "onnx": Registered(f"{_HERE}.onnx_integer:FORMAT", "onnx", "onnx"),
    "onnx-float": Registered(f"{_HERE}.onnx_float:FORMAT", "onnx", "onnx"),
    "nir": Registered(f"{_HERE}.nir_export:FORMAT", "nir", "nir"),
    "netx": Registered(f"{_HERE}.netx_export:FORMAT", "h5py", "netx"),
}


def registered() -> dict[str, Registered]:
    """Every format by name; a name of ours means our format."""
    outside = {name: Registered(e.value) for name, e in plugins.registered(GROUP).items()}
    return {**FORMATS, **{n: outside[n] for n in outside if n not in FORMATS}}


def format_names() -> tuple[str, ...]:
    """The names, ours first."""
    return tuple(registered())
