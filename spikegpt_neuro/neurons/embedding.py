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
    lookup_table,
)

GRADED = EventFormat(16, signed=True)
PAYLOAD_LIMIT = GRADED.high


@dataclass(frozen=True, eq=False)
class Embedding(Program):
    """``table`` (V, n): uint8 of 0 and 1 (spikes), or int16 (graded payloads, 16 bits)."""

    kind: ClassVar[str] = "embedding"
    ports: ClassVar[tuple[str, ...]] = ("token",)

    table: NDArray[np.uint8] | NDArray[np.int16] = lookup_table(
        uint8=(0, 1), int16=(-PAYLOAD_LIMIT, PAYLOAD_LIMIT)
    )

    @property
    def events(self) -> EventFormat:
        return BINARY if self.table.dtype == np.uint8 else GRADED

    def advance(self, state: State, *inputs: IntArray) -> Advance:
        """``inputs`` is one (T, 1) array of token ids."""
        (tokens,) = inputs
        return Advance(state, self.table[tokens[:, 0]].astype(np.int32), Counts())
