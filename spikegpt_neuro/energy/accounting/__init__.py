"""Named accountings: other people's conventions for joules, beside ours and never as ours.

``docs/accountings.md`` gives every formula with its source; :data:`ACCOUNTINGS` holds them.
"""

from __future__ import annotations

from spikegpt_neuro.energy.accounting.measured import counts_of
from spikegpt_neuro.energy.accounting.record import Accounting, Priced, Row, TokenCounts
from spikegpt_neuro.energy.accounting.registry import ACCOUNTINGS, price

__all__ = ["ACCOUNTINGS", "Accounting", "Priced", "Row", "TokenCounts", "counts_of", "price"]
