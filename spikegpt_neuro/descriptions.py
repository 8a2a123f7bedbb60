"""What a backend says of itself before it is loaded: its options, and what it can do.

A backend is an entry point of the group :data:`GROUP` that names a :class:`Description`, or, in
its plainest form, a callable that makes a backend. Nothing here loads numpy, so that a command
line can list options at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from spikegpt_neuro.errors import MissingBackend, UsageError
from spikegpt_neuro.plugins import registered

GROUP = "spikegpt_neuro.backends"
REFERENCE = "reference"
"""The backend that defines what a graph means; every other one is compared with it."""

Kind = Literal["text", "path", "whole", "positive", "pair", "flag", "several"]
Use = Literal["run", "generate", "profile", "report"]


@dataclass(frozen=True)
class Option:
    """An option of a backend.

    ``kind``     of its value: a text, a path, a whole number from 1 on, a positive number, a pair
                 of whole numbers, a flag, or several texts. ``choices``: the texts there are.
    ``uses``     where it makes sense: a run, a closed loop (generate), profiles, reports.
    ``metavar``, ``flag``  how a command line shows its value, and calls it where not by ``name``.
    """

    name: str
    help: str
    kind: Kind = "text"
    choices: tuple[str, ...] = ()
    uses: tuple[Use, ...] = ("run",)
    metavar: str | None = None
    flag: str | None = None


@dataclass(frozen=True)
class Description:
    """What a backend is and can do.

    ``factory``         ``module:callable`` that makes it, called with its options.
    ``shares_integers`` True where it runs the reference's own integers: who only asks for
                        activity need not run it.
    ``timing``          the timing model by which it is priced; None: the default of profiles.
    ``counts_events``   True where its simulation counts what the hardware does.
    ``has_time``        True where a run comes with a simulation of time (``Run.simulation``).
    ``checked_with``    options of the reference that a verification compares it with.
    ``at_speed``        its own options for a verification that is to be quick.

    Functions by ``module:name``, None where it has no such thing:

    ``ready``      ``(options) -> None``: raises before long work where a run cannot be.
    ``is_measured`` ``(backend) -> bool``: what runs is real hardware, with probes.
    ``measure``    ``(backend, graph, tokens, profile, progress) -> MeasuredRun``.
    ``write_job``  ``(path, backend, graph, tokens, profile, force) -> figures``: everything that
                   a measured run needs, as a folder.
    ``diagnose``   ``() -> Diagnosis``: what is installed of it and what is missing.
    """

    name: str
    factory: str
    options: tuple[Option, ...] = ()
    shares_integers: bool = False
    timing: str | None = None
    counts_events: bool = False
    has_time: bool = False
    checked_with: Mapping[str, Any] = field(default_factory=dict)
    at_speed: Mapping[str, Any] = field(default_factory=dict)
    ready: str | None = None
    is_measured: str | None = None
    measure: str | None = None
    write_job: str | None = None
    diagnose: str | None = None

    def resolve(self, name: str) -> Any:
        """The function that the field ``name`` refers to; None where there is none."""
        reference: str | None = getattr(self, name)
        return None if reference is None else resolved(reference)


@dataclass(frozen=True)
class Diagnosis:
    """``found``: figure -> what is there. ``missing``: what is not -> how to get it.

    ``optional``  True where few machines have it, so that its absence is no fault.
    """

    found: Mapping[str, Any]
    missing: Mapping[str, str]
    optional: bool = False


def resolved(reference: str) -> Any:
    """The object that ``module:name`` refers to."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def backend_names() -> list[str]:
    """Names of the installed backends."""
    return list(registered(GROUP))


def describe(name: str) -> Description:
    """What the backend ``name`` says of itself; a plain callable says nothing but its name.

    Raises :class:`UsageError` for an unknown name, :class:`MissingBackend` where it cannot be
    imported.
    """
    installed = registered(GROUP)
    if name not in installed:
        raise UsageError(f"no backend named {name!r}; installed: {', '.join(installed)}")
    entry = installed[name]
    try:
        found = entry.load()
    except ImportError as error:
        raise MissingBackend(f"backend {name} cannot be imported: {error}") from error
    if isinstance(found, Description):
        return found
    if not callable(found):
        raise MissingBackend(
            f"backend {name} ({entry.value}): expected a Description or a callable, "
            f"found {type(found).__name__}"
        )
    return Description(name, entry.value)


def options_for(use: Use) -> tuple[Option, ...]:
    """The options of all installed backends that make sense for ``use``, each name once.

    A backend that cannot be imported has none: it says so when it is asked for.
    """
    found: dict[str, Option] = {}
    for name in backend_names():
        try:
            options = describe(name).options
        except MissingBackend:
            continue
        for option in options:
            if use in option.uses:
                found.setdefault(option.name, option)
    return tuple(found.values())
