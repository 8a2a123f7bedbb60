r"""Bits lost against synaptic operations: a curve's points, and which of them are worth having.

A point is on the **front** where no other is at least as good in both and better in one:

.. math::
    \nexists\, q:\; x_q \le x_p,\; y_q \le y_p,\; (x_q, y_q) \ne (x_p, y_p)

with x the synaptic operations over dense and y the bits lost per token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

from spikegpt_neuro.documents import MEGABYTE, Kind, read_json
from spikegpt_neuro.errors import UnsupportedInput, UsageError
from spikegpt_neuro.results import Result

FORMAT, SCHEMA_VERSION = "spikegpt-neuro-tradeoff", 1
TABLE = "tradeoff.json"
TABLE_LIMIT = 16 * MEGABYTE
AGAIN = "run tradeoff again"


@dataclass(frozen=True, order=True)
class Setting:
    """What one point is converted with: shares of operations and of weights to go, weight bits."""

    sparsity: float
    prune: float
    weight_bits: int

    def __post_init__(self) -> None:
        for name in ("sparsity", "prune"):
            share = getattr(self, name)
            if not 0 <= share < 1:
                raise UsageError(f"{name} is {share:g}, expected 0 <= {name} < 1")

    @property
    def name(self) -> str:
        """What its files are called: ``s0.5-p0-w8``."""
        return f"s{self.sparsity:g}-p{self.prune:g}-w{self.weight_bits}"

    def __str__(self) -> str:
        return f"sparsity {self.sparsity:g}, prune {self.prune:g}, {self.weight_bits} bits"


def grid(
    sparsities: Sequence[float], prunes: Sequence[float], weight_bits: Sequence[int]
) -> tuple[Setting, ...]:
    """Every combination, each once, in order."""
    for name, values in (
        ("sparsity", sparsities),
        ("prune", prunes),
        ("weight_bits", weight_bits),
    ):
        if not values:
            raise UsageError(f"{name} is empty, expected at least one value")
    return tuple(
        dict.fromkeys(Setting(*values) for values in product(sparsities, prunes, weight_bits))
    )


@dataclass(frozen=True, repr=False)
class Point(Result):
    """One conversion, measured on text that it was not calibrated on.

    ``sparsity, prune, weight_bits``  what was asked for.
    ``synops_over_dense``      synaptic operations over those of a dense machine without pruning.
    ``weight_density``         share of the weights that are synapses still.
    ``delta_bits_per_token``   bits lost against the float checkpoint.
    ``generation_tokens_per_second``  of the reference engine, one thread, here.
    ``generation_speedup``     the same over that of the graph as it is without any of it, measured
                               in turns.
    ``joules_per_token, hardware_tokens_per_second``  on the hardware that was named; else None.
    ``on_front``               no other point has fewer operations and loses fewer bits.
    ``artifact``               where it lies, where it was kept.
    """

    sparsity: float
    prune: float
    weight_bits: int
    synops_over_dense: float
    weight_density: float
    bits_per_token: float
    float_bits_per_token: float
    delta_bits_per_token: float
    generation_tokens_per_second: float
    generation_speedup: float
    joules_per_token: float | None = None
    hardware_tokens_per_second: float | None = None
    on_front: bool = False
    artifact: str | None = None

    UNITS: ClassVar[Mapping[str, str]] = {
        "bits_per_token": "bit",
        "float_bits_per_token": "bit",
        "delta_bits_per_token": "bit",
        "generation_tokens_per_second": "token/s",
        "joules_per_token": "J",
        "hardware_tokens_per_second": "token/s",
    }
    HEADLINE: ClassVar[tuple[str, ...]] = (
        "sparsity",
        "prune",
        "weight_bits",
        "synops_over_dense",
        "delta_bits_per_token",
        "on_front",
    )

    @property
    def setting(self) -> Setting:
        """What it was converted with."""
        return Setting(self.sparsity, self.prune, self.weight_bits)


@dataclass(frozen=True, repr=False)
class Tradeoff(Result):
    """The curve: its points in order of operations, most first.

    ``float_bits_per_token``  of the checkpoint, over the same windows of the same text.
    ``tokens``                positions that each point was scored on.
    ``hardware``              the profile that joules and hardware tokens/s are of, if any.
    """

    points: tuple[Point, ...]
    float_bits_per_token: float
    tokens: int
    hardware: str | None = None

    UNITS: ClassVar[Mapping[str, str]] = Point.UNITS

    @property
    def front(self) -> tuple[Point, ...]:
        """The points that are worth having."""
        return tuple(point for point in self.points if point.on_front)

    def rows(self) -> list[dict[str, Any]]:
        """A row per point."""
        return [point.to_dict() for point in self.points]

    def headline(self) -> Mapping[str, object]:
        """How many points, and where the front begins and ends."""
        ends = (self.front[0], self.front[-1])
        return {
            "points": len(self.points),
            "on_front": len(self.front),
            "synops_over_dense": tuple(round(p.synops_over_dense, 4) for p in ends),
            "delta_bits_per_token": tuple(round(p.delta_bits_per_token, 4) for p in ends),
        }


def load_tradeoff(directory: str | Path) -> Tradeoff:
    """The curve that ``tradeoff`` wrote to ``directory``.

    Raises :class:`UnsupportedInput` naming the file and what is wrong with it.
    """
    path = Path(directory) / TABLE
    kind = read_json(path, Kind, limit=TABLE_LIMIT, remedy=AGAIN)
    if (kind.format, kind.schema_version) != (FORMAT, SCHEMA_VERSION):
        raise UnsupportedInput(
            f"{path}: format {kind.format!r}, schema version {kind.schema_version!r}; expected "
            f"{FORMAT!r}, {SCHEMA_VERSION}; {AGAIN}"
        )
    found = read_json(path, Tradeoff, limit=TABLE_LIMIT, remedy=AGAIN)
    if not found.front:
        raise UnsupportedInput(f"{path}: no point is on the front; {AGAIN}")
    return found
