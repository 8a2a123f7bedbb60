"""What an accounting receives and gives: counts per token in, joules per token out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from spikegpt_neuro.energy.record import Category
from spikegpt_neuro.hardware.profile import Constant
from spikegpt_neuro.model.spikegpt import ModelShape


@dataclass(frozen=True)
class TokenCounts:
    """What a model did for one token, on average over a measured run.

    Dense projections (the Linear layers) alone are counted: the accountings here know no
    one-to-one connections. Names and definitions are NeuroBench's where it has them.

    ``context``              T: tokens that a transformer beside this model would look back on.
    ``firing_rate``          R: mean share of ones over the outputs of all LIF populations.
    ``effective_acs``        non-zero weights met by a binary spike.
    ``effective_macs``       non-zero weights met by a non-zero graded event.
    ``dense``                all weights: what a machine that skips nothing multiplies.
    ``synaptic_operations``  weights met by an event, those that are zero included.
    ``neuron_updates``       neurons of all populations but the embedding.
    """

    shape: ModelShape
    context: int
    firing_rate: float
    effective_acs: float
    effective_macs: float
    dense: float
    synaptic_operations: float
    neuron_updates: float


@dataclass(frozen=True)
class Row:
    """One line of an accounting: ``operations`` x constants = ``joules``, per token."""

    name: str
    category: Category
    operations: float
    joules: float


@dataclass(frozen=True)
class Priced:
    """What one variant of an accounting says about one token.

    ``rows``       the model's energy; they add up to ``joules``.
    ``against``    the rows of the dense model that the convention compares with, if it does.
    ``constants``  every constant that was used.
    ``notes``      what a reader must know before quoting the figure.
    """

    accounting: str
    variant: str
    rows: tuple[Row, ...]
    constants: tuple[Constant, ...]
    against: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def joules(self) -> float:
        """Joules per token."""
        return sum(row.joules for row in self.rows)

    @property
    def by_category(self) -> dict[Category, float]:
        """Category -> joules per token, for the categories that the accounting knows."""
        found: dict[Category, float] = {}
        for row in self.rows:
            found[row.category] = found.get(row.category, 0.0) + row.joules
        return found

    @property
    def ratio(self) -> float | None:
        """Joules of ``against`` for one joule of the model; None where nothing is compared."""
        if not self.against or not self.joules:
            return None
        return sum(row.joules for row in self.against) / self.joules


@dataclass(frozen=True)
class Accounting:
    """A convention: a formula, where it comes from, and its variants, the default first.

    ``variants``   name -> what sets it apart, in a few words.
    ``published``  figures of the source that its own formula gives or does not give.
    ``price``      ``price(counts, variant)``: a pure function.
    """

    name: str
    formula: str
    source: str
    leaves_out: tuple[str, ...]
    variants: Mapping[str, str]
    price: Callable[[TokenCounts, str], Priced]
    published: tuple[str, ...] = ()

    @property
    def default(self) -> str:
        return next(iter(self.variants))
