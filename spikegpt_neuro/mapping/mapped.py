"""What placing a model found: where everything stands, or why it cannot."""

from __future__ import annotations

from dataclasses import dataclass, field

from spikegpt_neuro.errors import DoesNotFit
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.hardware.topology import Topology
from spikegpt_neuro.mapping.cost import Prediction
from spikegpt_neuro.mapping.placement import Placement
from spikegpt_neuro.mapping.requirements import Violation, Workload
from spikegpt_neuro.mapping.traffic import Traffic, Usage


@dataclass(frozen=True)
class Hops:
    """Hop-weighted traffic, messages x hops per token: as placed, with cores numbered through
    in the order data flows, and dealt at random over the same chips (a mean of 8).
    """  # noqa: D205

    placed: float
    plain_order: float
    random_order: float


@dataclass(frozen=True)
class Mapped:
    """A model on a chip, without a violation.

    ``prediction``  what it is expected to take; None where the profile lacks a constant for it.
    """

    placement: Placement
    load: Workload = field(repr=False)
    usage: Usage = field(repr=False)
    traffic: Traffic = field(repr=False)
    topology: Topology = field(repr=False)
    hops: Hops
    prediction: Prediction | None = field(default=None, repr=False)

    @property
    def cores(self) -> int:
        return len(self.placement.sites)


@dataclass(frozen=True)
class Refused:
    """Why there is no placement; ``cores`` and ``chips`` where only chips are missing."""

    violations: tuple[Violation, ...]
    load: Workload
    cores: int | None = None
    chips: int | None = None

    def error(self, profile: Profile) -> DoesNotFit:
        """The same as an error; its text is the first violation."""
        first, *more = self.violations
        figures = {
            "hardware": profile.name,
            "chips": self.chips,
            "cores": self.cores,
            "neurons": self.load.neurons,
            "synapses": self.load.dense_synapses,
            "synaptic_memory_used": None,
            "utilization": None,
        }
        others = f" (and {len(more)} more, see violations)" if more else ""
        return DoesNotFit(f"{first}{others}", self.violations, figures)
