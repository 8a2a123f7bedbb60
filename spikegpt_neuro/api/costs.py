"""What a token costs, as a result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from spikegpt_neuro.api.inputs import PathLike
from spikegpt_neuro.energy.record import Estimate, to_json
from spikegpt_neuro.files import check_output_file, write_atomically
from spikegpt_neuro.results import Result

BITS = "weight_bits"
SETTING = ("backend", "hardware", "schedule", "timing", "accounting", "embedding", "head", BITS)


@dataclass(frozen=True, repr=False)
class TokenCost(Result):
    """Joules, seconds and synaptic operations of one more token in the steady state.

    ``figures``  all of them, under the names that ``docs/energy.md`` lists; the main ones are
                 properties here.
    ``record``   the record of the whole run that they were made from.
    """

    figures: Mapping[str, Any]
    record: Estimate

    UNITS: ClassVar[Mapping[str, str]] = {
        "joules_per_token": "J",
        "joules_per_token_low": "J",
        "joules_per_token_high": "J",
        "seconds_per_token": "s",
        "seconds_per_token_low": "s",
        "seconds_per_token_high": "s",
        "tokens_per_second": "token/s",
        "synops_per_token": "SynOp",
    }
    HEADLINE: ClassVar[tuple[str, ...]] = (
        "hardware",
        "schedule",
        "joules_per_token",
        "tokens_per_second",
        "chips",
    )

    def to_dict(self) -> dict[str, Any]:
        """All figures as JSON values."""
        return dict(self.figures)

    def of_width(self, bits: int) -> TokenCost:
        """The same, named after the bits of the weights."""
        return replace(self, figures={**self.figures, BITS: bits})

    @property
    def joules_per_token(self) -> float:
        """Energy of a token, static power included."""
        return float(self.figures["joules_per_token"])

    @property
    def joules(self) -> Mapping[str, float]:
        """Category -> joules per token."""
        return dict(self.figures["joules"])

    @property
    def seconds_per_token(self) -> float:
        """Time between two tokens."""
        return float(self.figures["seconds_per_token"])

    @property
    def tokens_per_second(self) -> float:
        """Throughput."""
        return float(self.figures["tokens_per_second"])

    @property
    def synops_per_token(self) -> float:
        """Synaptic operations of a token."""
        return float(self.figures["synops_per_token"])

    @property
    def first_mismatch(self) -> str | None:
        """Where measured integers differ from the reference's; None if nowhere."""
        found: str | None = self.figures.get("first_mismatch")
        return found

    @property
    def is_cut_short(self) -> bool:
        """True where an interrupt left out some probes of a measured run."""
        return bool(self.record.raw.get("not_run"))

    def save(self, path: PathLike, *, force: bool = False) -> Path:
        """Write the record as JSON; :func:`fit` reads it."""
        target = Path(path)
        check_output_file(target, force)
        write_atomically(target, json.dumps(to_json(self.record)) + "\n", force=force)
        return target


@dataclass(frozen=True, repr=False)
class NotFitting(Result):
    """A setting in which the model does not fit: ``setting`` by name, and ``error`` why."""

    setting: Mapping[str, str | int]
    error: str

    def of_width(self, bits: int) -> NotFitting:
        """The same, named after the bits of the weights."""
        return replace(self, setting={**self.setting, BITS: bits})

    def to_dict(self) -> dict[str, Any]:
        """The setting and the reason."""
        return {**self.setting, "error": self.error}

    def headline(self) -> Mapping[str, object]:
        """Hardware and reason."""
        return {"hardware": self.setting["hardware"], "error": self.error}


@dataclass(frozen=True, repr=False)
class Compared(Result):
    """Profiles side by side, one for each combination; where one does not fit, the reason."""

    profiles: tuple[TokenCost | NotFitting, ...]
    best: TokenCost | None = field(init=False, default=None)

    UNITS: ClassVar[Mapping[str, str]] = TokenCost.UNITS

    def __post_init__(self) -> None:
        fitting = [p for p in self.profiles if isinstance(p, TokenCost)]
        cheapest = min(fitting, key=lambda p: p.joules_per_token, default=None)
        object.__setattr__(self, "best", cheapest)

    def to_dict(self) -> dict[str, Any]:
        """``profiles``: all figures of each."""
        return {"profiles": [profile.to_dict() for profile in self.profiles]}

    def rows(self) -> list[dict[str, Any]]:
        """A row per profile: its setting and its main figures."""
        keys = (*SETTING, *self.UNITS, "chips", "cores", "share_assumed", "error")
        found = [profile.to_dict() for profile in self.profiles]
        return [{key: row[key] for key in keys if key in row} for row in found]

    def headline(self) -> Mapping[str, object]:
        """How many there are, and the one of the least energy."""
        return {"profiles": len(self.profiles), "best": self.best}
