"""The boards that published runs were measured on, laid over any profile of the chip.

A board's profile builds on :data:`CHIP` and says what differs: static power, smallest step. To
predict a run with another profile of the chip, the board's differences go on top of that one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import NamedTuple

from spikegpt_neuro.hardware.profile import Constant, Profile, load_profile
from spikegpt_neuro.hardware.schema import SPECS

CHIP = "loihi2"
PARTS = ("energy.", "latency.", "power.", "voltage.")


class Free(NamedTuple):
    """A constant that a fit may move: one of the chip, or of one board alone."""

    key: str
    board: str = CHIP


Values = Mapping[Free, float]
"""Constants in base units."""


@dataclass(frozen=True)
class Boards:
    """A profile of the chip under every board; ``values`` replace its constants."""

    chip: Profile
    values: Values

    @cached_property
    def _made(self) -> dict[str, Profile]:
        return {}

    def __getitem__(self, board: str) -> Profile:
        """The profile of a board; raises :class:`UsageError` if none has this name."""
        if board not in self._made:
            constants = {**self.chip.constants, **differences(board)}
            for free, value in self.values.items():
                if free.board == board or (free.board == CHIP and self._is_of_chip(free, board)):
                    constants[free.key] = with_value(constants, free.key, value)
            self._made[board] = replace(self.chip, name=board, constants=constants)
        return self._made[board]

    def _is_of_chip(self, free: Free, board: str) -> bool:
        """The board says nothing of its own about this constant."""
        return free.key not in differences(board) and Free(free.key, board) not in self.values


@cache
def differences(board: str) -> Mapping[str, Constant]:
    """Constants of energy, time and power that a board's profile changes or adds."""
    if board == CHIP:
        return {}
    own, chip = load_profile(board).constants, load_profile(CHIP).constants
    return {k: c for k, c in own.items() if k.startswith(PARTS) and c != chip.get(k)}


def with_value(constants: Mapping[str, Constant], key: str, value: float) -> Constant:
    """A constant with another value, in base units; it need not have been there."""
    unit = next(u for u, factor in SPECS[key].dimension.units.items() if factor == 1)
    if key in constants:
        return replace(constants[key], value=float(value), unit=unit, low=None, high=None)
    return Constant(key, float(value), unit, "fitted", "a fit")
