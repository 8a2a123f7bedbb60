"""Compilation of integer kernels: numba, and what makes a cached kernel valid.

numba's cache forgets a kernel when its own file changes, but not when something changes that it
uses from another file: it would go on computing the old integers. Here a cached kernel is valid
only for the very sources of every package that its code comes from: its own, and those of the
kernels and constants that it uses, directly or not.

The undecorated function stays reachable as ``kernel.py_func``: the tests run it on Python's
unbounded integers to show that nothing overflows. The first compilation of a process is
logged, since it makes the first run after an installation slow.
"""

from __future__ import annotations

import hashlib
import logging
import re
import sys
from collections.abc import Callable
from functools import cache, wraps
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

from llvmlite import binding
from numba import njit
from numba.core import config, event

from spikegpt_neuro.arithmetic.kernel_cache import NOT_KEPT, KernelCache
from spikegpt_neuro.errors import UsageError

Kernel = TypeVar("Kernel", bound=Callable[..., object])

numba_settings: Any = config
LOG = logging.getLogger(__name__)
TOPS = ("spikegpt_neuro", "backends", "converters")  # as they lie in the source tree
IMPORT = re.compile(r"^from (spikegpt_neuro[\w.]*) import (\([^)]*\)|.*)", re.MULTILINE)
DECORATED = re.compile(r"^@.*\n(?:[@) ].*\n)*def .*\n(?:(?:[) ].*)?\n)*", re.MULTILINE)
COMPILE_EVENT = "numba:compile"  # not sent for code that the cache on disk already has
UNCOMPILED = (
    "NUMBA_DISABLE_JIT is set, and kernels are exact only when compiled: unset it "
    "(kernel.py_func is the uncompiled function)"
)


def _import_without_scipy() -> None:
    """Have numba know numpy's functions before it asks whether scipy.linalg is there.

    It asks by importing it, 0.1 to 0.4 s and 14 MB of every process, for products of matrices that
    no kernel of ours has. Whoever compiles one in the same process has it imported then.
    """
    linalg = import_module("numba.np.linalg")
    ask = getattr(linalg, "ensure_blas", None)
    if ask is None or find_spec("scipy") is None:
        return
    linalg.ensure_blas = lambda: None  # type: ignore[attr-defined]
    try:
        import_module("numba.np.arraymath")
    finally:
        linalg.ensure_blas = ask  # type: ignore[attr-defined]


_import_without_scipy()


def kernel(function: Kernel) -> Kernel:
    """Compile ``function`` when it is first called; later processes load the cached code."""
    return compiled(function)


def kernel_of_equation(equation: Kernel) -> Callable[[Kernel], Kernel]:
    """Compile the decorated function, which says in another way what ``equation`` says.

    ``py_func`` is ``equation``: it is read, and its operations are counted; what is compiled
    avoids branches that a processor cannot foresee.
    """

    def compile_instead(function: Kernel) -> Kernel:
        made: Any = compiled(function)
        made.py_func = equation
        return cast(Kernel, made)

    return compile_instead


def compiled(function: Kernel, **options: Any) -> Kernel:
    """:func:`kernel` with options of numba's ``njit``.

    Where it cannot be compiled for this processor, it raises :class:`UsageError` when called.
    """
    problem = why_not()
    if problem is not None:
        return _refusing(function, problem)
    dispatcher: Any = njit(nogil=True, **options)(function)
    source = Path(function.__code__.co_filename)
    if source.is_file():  # else it was typed, not written down
        dispatcher._cache = KernelCache(cast(FunctionType, function), stamp_of(source))
    return cast(Kernel, dispatcher)


def why_not() -> str | None:
    """What numba was told that kernels cannot do with; None: nothing.

    Uncompiled, a kernel would run on numpy's scalars, whose integers overflow where those of
    compiled code do not. Compiled for a processor with more instructions, it would end the process.
    """
    if numba_settings.DISABLE_JIT:
        return UNCOMPILED
    if not numba_settings.CPU_FEATURES:
        return None
    asked = {name.strip() for name in numba_settings.CPU_FEATURES.split(",")}
    there = binding.get_host_cpu_features()
    lacking = sorted(name for name in there if not there[name] and f"+{name}" in asked)
    if lacking:
        return (
            f"NUMBA_CPU_FEATURES names {', '.join(lacking)}, which this processor lacks: unset it"
        )
    return None


def _refusing(function: Kernel, problem: str) -> Kernel:
    """What stands for a kernel where it cannot be compiled."""

    @wraps(function)
    def refuse(*_: object, **__: object) -> object:
        raise UsageError(problem)

    refuse.py_func = function  # type: ignore[attr-defined]
    return cast(Kernel, refuse)


@cache
def stamp_of(source: Path) -> str:
    """Checksum of all sources that the compiled code of a file's kernels comes from."""
    fingerprints = map(fingerprint, sorted(packages_of(source)))
    return hashlib.sha256("".join(fingerprints).encode()).hexdigest()


@cache
def packages_of(source: Path) -> frozenset[Path]:
    """The packages (directories) that the compiled code of a file's kernels comes from."""
    seen: set[Path] = set()
    waiting = {source}
    while waiting:
        seen |= waiting
        used = {sys.modules[name].__file__ for file in waiting for name in used_by_kernels(file)}
        waiting = {Path(file) for file in used if file} - seen
    return frozenset(map(package_of, seen))


@cache
def used_by_kernels(source: Path) -> frozenset[str]:
    """Modules of ours that a file's kernels take a function or a constant from.

    A kernel is a function with a decorator. Its words are compared with the names that the file
    imports, without parsing it: one too many does no harm, and this runs at every start.
    """
    text = source.read_text(encoding="utf-8")
    words = {word for body in DECORATED.findall(text) for word in re.findall(r"\w+", body)}
    found = set()
    for module, names in IMPORT.findall(text):
        for name, alias in re.findall(r"(\w+)(?: as (\w+))?", names):
            if (alias or name) in words:
                inner = f"{module}.{name}"
                found.add(inner if inner in sys.modules else module)
    return frozenset(found)


def package_of(source: Path) -> Path:
    """The directory right under one of our top folders; a stranger's own directory."""
    inside = [package for package in source.parents if package.parent.name in TOPS]
    return inside[0] if inside else source.parent


@cache
def fingerprint(package: Path) -> str:
    """Checksum of the Python sources in a directory and those below it."""
    digest = hashlib.sha256()
    for source in sorted(package.rglob("*.py")):
        digest.update(str(source.relative_to(package)).encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()


class _FirstCompilation(event.Listener):
    """Says once per process that kernels are being compiled."""

    def on_start(self, event: event.Event) -> None:
        name = str(event.data["dispatcher"].py_func.__module__)  # what is typed has none
        if name.startswith("spikegpt_neuro") and not (self.said or NOT_KEPT.said):
            LOG.info("compiling kernels for this machine; later runs load them from disk")
            self.said = True

    def on_end(self, event: event.Event) -> None:
        """Nothing to say."""

    said = False


event.register(COMPILE_EVENT, _FirstCompilation())  # type: ignore[no-untyped-call]
