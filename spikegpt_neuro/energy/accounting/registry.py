"""All named accountings, and how one is chosen: ``NAME`` or ``NAME:VARIANT``."""

from __future__ import annotations

from collections.abc import Mapping

from spikegpt_neuro.energy.accounting.conventions import HOROWITZ45, KERASSPIKING, NEUROBENCH
from spikegpt_neuro.energy.accounting.paper import PAPER_V1, PAPER_V5
from spikegpt_neuro.energy.accounting.record import Accounting, Priced, TokenCounts
from spikegpt_neuro.errors import UsageError

ACCOUNTINGS: Mapping[str, Accounting] = {
    accounting.name: accounting
    for accounting in (PAPER_V5, PAPER_V1, NEUROBENCH, KERASSPIKING, HOROWITZ45)
}


def choose(name: str) -> tuple[Accounting, str]:
    """The accounting and the variant that ``NAME`` (its default) or ``NAME:VARIANT`` means.

    Raises :class:`UsageError`, which lists what there is.
    """
    base, _, variant = name.partition(":")
    if base not in ACCOUNTINGS:
        raise UsageError(
            f"no accounting named {base!r}; there are as-arrives, {', '.join(ACCOUNTINGS)}"
        )
    accounting = ACCOUNTINGS[base]
    chosen = variant or accounting.default
    if chosen not in accounting.variants:
        raise UsageError(
            f"accounting {base} has no variant {chosen!r}; it has {', '.join(accounting.variants)}"
        )
    return accounting, chosen


def price(name: str, counts: TokenCounts) -> Priced:
    """Joules per token under a named accounting; see :func:`choose` for the name."""
    accounting, variant = choose(name)
    return accounting.price(counts, variant)
