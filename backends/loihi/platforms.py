"""The one thing in which a rehearsal and a run on hardware differ: the platform. Imports Lava."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lava.magma.core.run_configs import Loihi2HwCfg, Loihi2SimCfg

from spikegpt_neuro.backends.loihi.deployment import Crossing
from spikegpt_neuro.backends.loihi.processes import adapters as passing


class Platform(Protocol):
    """Makes the adapters and the run configuration."""

    def to_chip(self, size: int, bits: int) -> Any:
        """Adapter from the host to the chip: ``size`` neurons, ``bits`` per message."""

    def to_host(self, size: int, bits: int) -> Any:
        """Adapter from the chip to the host."""

    def run_configuration(self, callbacks: Sequence[Any] = ()) -> Any:
        """What Lava compiles with; ``callbacks`` are called around a run."""


@dataclass(frozen=True)
class Rehearsal:
    """Python models of everything, the stock ones in fixed point; adapters that pass on.

    Each adapter takes the time steps that ``crossing`` says.
    """

    crossing: Crossing

    def to_chip(self, size: int, bits: int) -> Any:
        return passing.PyToNxAdapter((size,), bits, self.crossing.to_chip)

    def to_host(self, size: int, bits: int) -> Any:
        return passing.NxToPyAdapter((size,), bits, self.crossing.to_host)

    def run_configuration(self, callbacks: Sequence[Any] = ()) -> Any:
        assert not callbacks
        return Loihi2SimCfg(select_tag="fixed_pt")


@dataclass(frozen=True)
class Hardware:
    """Loihi 2: Lava prefers a model for a neuro core where there is one."""

    def to_chip(self, size: int, bits: int) -> Any:
        from lava.proc.embedded_io.spike import PyToNxAdapter

        return PyToNxAdapter(shape=(size,), num_message_bits=bits)

    def to_host(self, size: int, bits: int) -> Any:
        from lava.proc.embedded_io.spike import NxToPyAdapter

        return NxToPyAdapter(shape=(size,), num_message_bits=bits)

    def run_configuration(self, callbacks: Sequence[Any] = ()) -> Any:
        return Loihi2HwCfg(callback_fxs=list(callbacks))
