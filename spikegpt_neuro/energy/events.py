"""What the parts of the chips did: the counts that energy is made of."""

from __future__ import annotations

from dataclasses import Field, fields, make_dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from spikegpt_neuro.hardware.events import EVENTS

if TYPE_CHECKING:

    class _Counts:
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

        def __init__(self, **counts: int) -> None: ...
        def __getattr__(self, name: str) -> int: ...

else:
    _Counts = make_dataclass("_Counts", [(e.name, int, 0) for e in EVENTS], frozen=True)


class HardwareEvents(_Counts):
    """Counts over a run: a frozen dataclass with a field for each row of :data:`EVENTS`.

    Each is named as the profile's constant that prices it, and is 0 unless given;
    :class:`~spikegpt_neuro.hardware.events.EnergyEvent` says what is counted.
    """

    def __add__(self, other: HardwareEvents) -> HardwareEvents:
        names = [field.name for field in fields(self)]
        return HardwareEvents(**{n: getattr(self, n) + getattr(other, n) for n in names})
