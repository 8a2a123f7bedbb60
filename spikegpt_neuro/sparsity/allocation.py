r"""How much each population is silenced, so that the loss is least for what is saved.

The loss that silencing population p causes is to first order proportional to the squared error of
what arrives, :math:`c_p e_p(l)`, at any level l of silence: c_p is measured on the running graph,
e_p follows from the values. With d_p(l) the share of its events that is left and s_p its share of
the dense operations,

.. math:: \min_{l} \sum_p c_p e_p(l_p) \quad \text{with} \quad \sum_p s_p d_p(l_p) = target

is solved by the level of each population that is least in :math:`c_p e_p + \lambda s_p d_p`, and
the lambda that meets the target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spikegpt_neuro.neurons.program import IntArray

HALVINGS = 60
SMALLEST, LARGEST = -15.0, 6.0  # decades of lambda


@dataclass(frozen=True)
class Level:
    """``zones`` (n,), the share of events that they leave, and the squared error they cause.

    ``error``  relative to the mean square of what arrives.
    """

    zones: IntArray
    density: float
    error: float


@dataclass(frozen=True)
class Curve:
    """The levels of one population, from nothing silenced to nearly all.

    ``share``  of all dense operations. ``cost``  bits per token for an error of 1.
    """

    share: float
    cost: float
    levels: Sequence[Level]

    def best(self, price: float) -> Level:
        """The level to choose where the dense operations are worth ``price`` bits in all."""
        return min(self.levels, key=lambda x: self.cost * x.error + price * self.share * x.density)


@dataclass(frozen=True)
class Allocation:
    """A level for each population; ``operations`` over dense and ``bits`` are predictions."""

    levels: Mapping[str, Level]
    operations: float
    bits: float

    @property
    def zones(self) -> dict[str, IntArray]:
        """Dead zones of the populations that have any."""
        return {name: level.zones for name, level in self.levels.items() if level.zones.any()}


def allocate(
    curves: Mapping[str, Curve], operations: float, bits: float = float("inf")
) -> Allocation:
    """The most silence with at least ``operations`` over dense and at most ``bits`` predicted."""
    low, high = SMALLEST, LARGEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        found = _at(curves, 10.0**middle)
        if found.operations >= operations and found.bits <= bits:
            low = middle
        else:
            high = middle
    return _at(curves, 10.0**low)


def _at(curves: Mapping[str, Curve], price: float) -> Allocation:
    levels = {name: curve.best(price) for name, curve in curves.items()}
    return Allocation(
        levels,
        sum(curves[name].share * level.density for name, level in levels.items()),
        sum(curves[name].cost * level.error for name, level in levels.items()),
    )
