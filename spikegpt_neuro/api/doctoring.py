"""What this environment has, and how to install what it lacks."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from spikegpt_neuro.descriptions import Diagnosis, backend_names, describe
from spikegpt_neuro.errors import MissingBackend
from spikegpt_neuro.hardware.profile import profile_names
from spikegpt_neuro.results import Result
from spikegpt_neuro.version import __version__

EXTRAS = {
    "torch": "pip install 'spikegpt-neuro[torch]'",
    "onnxruntime": "pip install 'spikegpt-neuro[onnx]'",
    "huggingface_hub": "pip install 'spikegpt-neuro[hub]'",
}


@dataclass(frozen=True, repr=False)
class Environment(Result):
    """What is there, and what is not.

    ``missing``       name -> how to install it.
    ``rarely_there``  backend that few machines have -> the same.
    """

    found: Mapping[str, Any]
    missing: Mapping[str, str]
    rarely_there: Mapping[str, Mapping[str, str]]

    def to_dict(self) -> dict[str, Any]:
        """What was found, ``missing``, and ``NAME_missing`` of each backend that is rare."""
        rare = {f"{name}_missing": dict(lines) for name, lines in self.rarely_there.items()}
        return {**self.found, "missing": dict(self.missing), **rare}

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
    missing = {name: line for name, line in EXTRAS.items() if _version(name) is None}
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
    return Environment(found, missing, rare)


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
