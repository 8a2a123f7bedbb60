"""``doctor``: what this environment has, and how to install what it lacks."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import click

from spikegpt_neuro.cli.common import Output, verb
from spikegpt_neuro.version import __version__

EXTRAS = {
    "torch": "pip install 'spikegpt-neuro[torch]'",
    "onnxruntime": "pip install 'spikegpt-neuro[onnx]'",
}


@click.command(short_help="Show what is installed and what is missing.")
@verb
def doctor(out: Output) -> None:
    """Show versions, backends, hardware profiles, and what is missing."""
    from spikegpt_neuro.hardware.profile import profile_names
    from spikegpt_neuro.running import backend_names

    missing = {name: line for name, line in EXTRAS.items() if _version(name) is None}
    lava, problem = _lava()
    if problem is not None:
        missing["lava"] = problem
    system, lacks = _loihi()
    found = {
        "python": platform.python_version(),
        "spikegpt_neuro": __version__,
        "numpy": _version("numpy"),
        "numba": _version("numba"),
        "torch": _version("torch"),
        "lava": lava,
        "onnxruntime": _version("onnxruntime"),
        "loihi": "loihi" not in lacks,
        "loihi_system": system,
        "profiles": profile_names(),
        "backends": backend_names(),
    }
    if out.as_json:
        out.result({**found, "missing": missing, "loihi_missing": lacks})
        return
    out.result(found)
    for name, line in (missing | lacks).items():
        click.echo(f"{name} is missing: {line}")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _lava() -> tuple[str | None, str | None]:
    """Lava's version if it can be imported, and otherwise how to install it."""
    from spikegpt_neuro.backends.lava.compat import install_line, load_lava
    from spikegpt_neuro.errors import MissingBackend

    try:
        load_lava()
    except MissingBackend:
        return None, install_line()
    return _version("lava-nc"), None


def _loihi() -> tuple[str | None, dict[str, str]]:
    """The Loihi 2 system that a run would use, and what is missing for one."""
    from spikegpt_neuro.backends.loihi.access import HOW_TO_GET_IT, is_installed
    from spikegpt_neuro.backends.loihi.connection import NO_SYSTEM, describe, find_connection
    from spikegpt_neuro.errors import SpikeGPTError

    missing = {} if is_installed() else {"loihi": HOW_TO_GET_IT}
    try:
        connection = find_connection({}, os.environ)
    except SpikeGPTError as error:  # a configuration that cannot be used is no system
        return None, missing | {"loihi_system": str(error)}
    if connection is None:
        return None, missing | {"loihi_system": NO_SYSTEM}
    return describe(connection), missing
