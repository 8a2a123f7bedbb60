"""What is asked of a sparsification."""

from __future__ import annotations

from dataclasses import dataclass

from spikegpt_neuro.errors import UsageError


@dataclass(frozen=True)
class SparsityRequest:
    """Shares and limits; None (or a share of 0): not asked for.

    ``sparsity``  share of the dense synaptic operations that shall not happen, in [0, 1).
    ``budget``    largest loss in bits per token, against the same graph unsparsified, above 0.
    ``prune``     share of the weights that go, in [0, 1).

    Raises :class:`UsageError` for values outside.
    """

    sparsity: float | None = None
    budget: float | None = None
    prune: float | None = None

    def __post_init__(self) -> None:
        for name in ("sparsity", "prune"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise UsageError(
                    f"{name}={value:g}: expected a share of at least 0 and less than 1"
                )
        if self.budget is not None and not 0 < self.budget < float("inf"):
            raise UsageError(
                f"sparsity_budget={self.budget:g}: expected a loss above 0, in bits per token"
            )

    @property
    def is_empty(self) -> bool:
        """True where nothing is to change."""
        return not self.sparsity and self.budget is None and not self.prune

    @property
    def operations(self) -> float:
        """Operations over dense that are asked for; 0 where only the budget limits them."""
        if self.sparsity is not None:
            return 1 - self.sparsity
        return 1.0 if self.budget is None else 0.0

    @property
    def kept(self) -> float:
        """Share of the weights that stay."""
        return 1 - (self.prune or 0.0)
