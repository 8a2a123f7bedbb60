"""Embedding: a token id becomes one row of a table, as spikes or graded payloads.

.. math:: e_j[t] = E_{x[t], j}

Binarized where the model binarizes it (SpikeGPT does): 1 where the trained embedding is >= 0.
The table is an input encoder, read by token id on the host; it has no synapses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.neurons.program import (
    BINARY,
    Advance,
    Counts,
    EventFormat,
    IntArray,
    Program,
    State,
)


@dataclass(frozen=True, eq=False)
class Embedding(Program):
    """``table`` (V, n): uint8 of 0 and 1 (spikes), or int16 (graded payloads, 16 bits)."""

    kind: ClassVar[str] = "embedding"
    ports: ClassVar[tuple[str, ...]] = ("token",)

    table: NDArray[np.uint8] | NDArray[np.int16]

    @property
    def events(self) -> EventFormat:
        return BINARY if self.table.dtype == np.uint8 else EventFormat(16, signed=True)

    def advance(self, state: State, *inputs: IntArray) -> Advance:
        """``inputs`` is one (T, 1) array of token ids."""
        (tokens,) = inputs
        return Advance(state, self.table[tokens[:, 0]].astype(np.int32), Counts())

    def _array_problems(self, name: str, array: NDArray[np.integer], size: int) -> list[str]:
        if array.dtype not in (np.uint8, np.int16):
            return [f"{name} is {array.dtype}, expected uint8 or int16"]
        if array.ndim != 2 or array.shape[1] != size:
            return [f"{name} has shape {array.shape}, expected (V, {size})"]
        limit = self.events.high
        if array.size and max(int(array.max()), -int(array.min())) > limit:
            return [f"{name} exceeds +-{limit}"]
        return []
