"""How many synapses of a sparse projection each source has on a core, and the bytes they take."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.graph.weights import SparseWeights
from spikegpt_neuro.hardware.profile import Encoding

GROUP = 64  # targets of which running sums are kept: whole bytes of bits
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SparseLists:
    """The synapses of sources ``first`` to ``last`` (exclusive)."""

    weights: SparseWeights
    first: int
    last: int
    _bytes: dict[tuple[int, int, int, Encoding], int] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, weights: SparseWeights) -> SparseLists:
        """Those of all sources."""
        return cls(weights, 0, weights.shape[1])

    @property
    def sources(self) -> int:
        return self.last - self.first

    @cached_property
    def synapses(self) -> int:
        """Synapses that exist."""
        return int(self.counts(0, self.weights.shape[0]).sum())

    @cached_property
    def fan_in(self) -> int:
        """Most synapses into one neuron."""
        if self.sources == self.weights.shape[1]:
            return int(self.weights.fan_in.max())
        return max(int(self.counts(j, j + 1).sum()) for j in range(self.weights.shape[0]))

    def counts(self, start: int, stop: int) -> Counts:
        """(sources,) synapses onto targets ``start`` to ``stop`` (exclusive)."""
        low, high = -(-start // GROUP), stop // GROUP
        if low > high:
            return self._single(start, stop)[self.first : self.last]
        found: Counts = self._running[high] - self._running[low]
        found = found + self._single(start, low * GROUP) + self._single(high * GROUP, stop)
        return found[self.first : self.last]

    @cached_property
    def _running(self) -> NDArray[np.int32]:
        """(groups + 1, sources) synapses onto the groups before."""
        targets, sources = self.weights.shape
        running = np.zeros((targets // GROUP + 1, sources), np.int32)
        for group in range(targets // GROUP):
            counts = self._single(group * GROUP, (group + 1) * GROUP)
            running[group + 1] = running[group] + counts
        return running

    def _single(self, start: int, stop: int) -> Counts:
        """(all sources,) synapses onto a few targets."""
        bits = self.weights.existing
        if not self.weights.by_source:
            width = self.weights.columns
            some = np.unpackbits(bits[start:stop], axis=1, count=width, bitorder="little")
            return cast(Counts, some.sum(axis=0, dtype=np.int64))
        first = start // 8
        some = np.unpackbits(bits[:, first : -(-stop // 8)], axis=1, bitorder="little")
        part = some[:, start - 8 * first : stop - 8 * first]
        return cast(Counts, part.sum(axis=1, dtype=np.int64))

    def bytes(self, start: int, neurons: int, bits: int, encoding: Encoding) -> int:
        """Memory for the lists on the core of these targets, each in the smaller form."""
        key = (start, neurons, bits, encoding)
        if key not in self._bytes:
            counts = self.counts(start, start + neurons)
            self._bytes[key] = int(smallest_bytes(counts, neurons, bits, encoding).sum())
        return self._bytes[key]


def smallest_bytes(counts: Counts, neurons: int, bits: int, encoding: Encoding) -> Counts:
    """Bytes of lists that have ``counts`` synapses onto ``neurons``.

    Dense, with a weight for every neuron, or sparse, with an index at every weight, where the
    chip has such; nothing where there is no synapse.
    """
    content = np.full(len(counts), neurons * bits, np.int64)
    if encoding.list_index is not None:
        content = np.minimum(content, counts * (bits + encoding.list_index))
    words = -(-(encoding.list_header + -(-content // 8)) // encoding.list_word)
    return np.where(counts > 0, words * encoding.list_word, 0)
