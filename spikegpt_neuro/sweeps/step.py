"""A step of a sweep: one call of a verb, or a part that several calls share.

Its identity is a hash of what its result depends on: its kind, its parameters with files by their
content, the identities of the steps that it needs, and the version of this package.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from spikegpt_neuro.version import __version__

Kind = Literal["convert", "evaluate", "run", "place", "map", "profile", "simulate"]
"""The verbs, and what they share: a run of the integers, a placement for prices."""


@dataclass(frozen=True)
class Step:
    """What is to be computed.

    ``parameters``  of the function, as JSON has them.
    ``files``       parameter -> what its file holds (a hash), for those that name a file.
    ``needs``       role -> the step whose result it takes.
    """

    kind: Kind
    parameters: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, Step] = field(default_factory=dict)

    @cached_property
    def name(self) -> str:
        """Its identity: 64 hexadecimal digits."""
        content = {
            "kind": self.kind,
            "parameters": {**self.parameters, **self.files},
            "needs": {role: step.name for role, step in self.needs.items()},
            "version": __version__,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def all(self) -> Iterator[Step]:
        """What it needs, then itself."""
        for step in self.needs.values():
            yield from step.all
        yield self


@dataclass(frozen=True)
class Failure:
    """Why a step has no figures: ``kind``: a class of :mod:`spikegpt_neuro.errors`."""

    kind: str
    text: str


@dataclass(frozen=True)
class Outcome:
    """What a step gave, as its file keeps it.

    ``figures``   as the verb prints them with ``--json``, but none of this machine's time.
    ``files``     sha256 of what it wrote.
    ``seconds``   that it took.
    """

    figures: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    error: Failure | None = None
    seconds: float = 0.0
