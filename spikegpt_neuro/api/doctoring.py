"""What this environment has, and how to install what it lacks."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Any

from spikegpt_neuro.descriptions import Diagnosis, backend_names, describe
from spikegpt_neuro.errors import MissingBackend
from spikegpt_neuro.hardware.profile import profile_names
from spikegpt_neuro.results import Result
from spikegpt_neuro.version import __version__

PACKAGE = "spikegpt-neuro"
NEED = re.compile(r"(?P<package>[\w.-]+).*;.*extra == ['\"](?P<extra>[\w.-]+)['\"]")
"""A requirement of an extra, as package metadata spells it."""
LEAST = re.compile(r"python_version >= ['\"]3\.(\d+)")
EXTRAS = {
    "torch": "torch",
    "onnxruntime": "onnx",
    "huggingface_hub": "hub",
}
"""Package that a figure is of -> the extra that brings it."""
PURPOSES = {
    "torch": "finetune and bench",
    "lava": "simulate and generate on Lava",
    "onnx": "export --to onnx, and ONNX checkpoints",
    "hub": "checkpoints by hf:OWNER/NAME",
    "cluster": "evaluate and sweep with --workers, --scheduler, --cluster",
    "nir": "export --to nir",
    "netx": "export --to netx",
    "report": "report",
    "frame": "tables as pandas frames",
    "peers": "tests: other tools that exports are compared with",
    "sanafe": "tests: the simulator that ours is compared with",
    "notebook": "examples/walkthrough.ipynb",
    "docs": "make docs",
    "dev": "tests and types",
}
"""Extra -> what it is for."""


def install_line(extra: str) -> str:
    """How to install what ``extra`` brings."""
    return f"pip install '{PACKAGE}[{extra}]'"


@dataclass(frozen=True)
class Extra:
    """What can be installed beside the core.

    ``purpose``   what it is for; empty where nothing is known of it.
    ``install``   the line that installs it.
    ``lacking``   packages of it that are not there; none: it is installed.
    """

    purpose: str
    install: str
    lacking: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Environment(Result):
    """What is there, and what is not.

    ``missing``       name -> how to install it.
    ``rarely_there``  backend that few machines have -> the same.
    ``extras``        every extra of this package, in the order that it declares them.
    """

    found: Mapping[str, Any]
    missing: Mapping[str, str]
    rarely_there: Mapping[str, Mapping[str, str]]
    extras: Mapping[str, Extra] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """What was found, ``missing``, ``NAME_missing`` of each rare backend, and ``extras``."""
        rare = {f"{name}_missing": dict(lines) for name, lines in self.rarely_there.items()}
        extras = {name: asdict(extra) for name, extra in self.extras.items()}
        return {**self.found, "missing": dict(self.missing), **rare, "extras": extras}

    def rows(self) -> list[dict[str, Any]]:
        """One row."""
        return [dict(self.found)]

    def headline(self) -> Mapping[str, object]:
        """Versions."""
        return {n: self.found[n] for n in ("python", "spikegpt_neuro")} | {
            "missing": list(self.missing)
        }


def doctor() -> Environment:
    """Versions, backends, hardware profiles, and what is missing.

    Examples
    --------
    >>> sgn.doctor().found["backends"]
    ['cycle', 'lava', 'loihi', 'reference']
    """
    diagnoses = {name: _diagnosis(name) for name in backend_names()}
    missing = {n: install_line(extra) for n, extra in EXTRAS.items() if _version(n) is None}
    for diagnosis in diagnoses.values():
        missing |= {} if diagnosis.optional else diagnosis.missing
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "spikegpt_neuro": __version__,
        "numpy": _version("numpy"),
        "numba": _version("numba"),
        **_kernels(),
        "torch": _version("torch"),
        "onnxruntime": _version("onnxruntime"),
        "huggingface_hub": _version("huggingface_hub"),
    }
    for diagnosis in diagnoses.values():
        found.update(diagnosis.found)
    found |= {"profiles": profile_names(), "backends": backend_names()}
    rare = {name: d.missing for name, d in diagnoses.items() if d.optional}
    return Environment(found, missing, rare, _extras(missing))


def _extras(missing: Mapping[str, str]) -> dict[str, Extra]:
    """Every extra that the installed package declares; nothing where it is not installed.

    Where ``missing`` knows an extra, a backend has said how it goes in.
    """
    try:
        declared = metadata(PACKAGE).get_all("Provides-Extra") or []
    except PackageNotFoundError:
        return {}
    needs = [NEED.match(line) for line in requires(PACKAGE) or () if _is_for_this_python(line)]
    packages: dict[str, list[str]] = {name: [] for name in declared}
    for need in filter(None, needs):
        packages[need["extra"]].append(need["package"])
    return {
        name: Extra(
            PURPOSES.get(name, ""),
            missing.get(name) or install_line(name),
            tuple(package for package in packages[name] if _version(package) is None),
        )
        for name in declared
    }


def _is_for_this_python(requirement: str) -> bool:
    """False for what only newer Pythons get."""
    least = LEAST.search(requirement)
    return least is None or sys.version_info >= (3, int(least[1]))


def _kernels() -> dict[str, Any]:
    """What kernels are compiled for, and where they are kept."""
    from spikegpt_neuro.arithmetic import jit, kernel_cache

    shelf = kernel_cache.shelf_of(Path(jit.__file__).parent)
    return {
        "compiled_for": kernel_cache.processor(),
        "cache": str(shelf.places[0].shown),
        "cache_writable": shelf.place is not None,
        "cache_problem": shelf.problem,
    }


def _diagnosis(name: str) -> Diagnosis:
    try:
        diagnose = describe(name).resolve("diagnose")
    except MissingBackend as error:
        return Diagnosis({}, {name: str(error)})
    found: Diagnosis = Diagnosis({}, {}) if diagnose is None else diagnose()
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
