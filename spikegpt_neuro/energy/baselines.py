r"""Multiply-accumulates per token of other language models, in L, d, T and V.

L layers of width d, a context of T tokens, a vocabulary of V. All counts are for one token, with
every earlier token's work kept (a key-value cache, a recurrent state); where the work grows with
the position t, the mean over t = 1 .. T. Counted are products with weights (``projections`` and
``head``) and products between activations (``mixing``). Left out everywhere: embedding (a look-up),
normalization, softmax and other functions of one value, O(L d).

Every model but the LSTMs has the transformer's feed-forward part, d -> 4d -> d, 8 d^2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log, log2
from typing import NamedTuple

import numpy as np

from spikegpt_neuro.model.spikegpt import ModelShape

HEAD_WIDTH = 64
FEED_FORWARD = 8  # d^2
HASHES, CHUNK = 4, 64  # Reformer: rounds of hashing, keys per chunk; usual, not published
WKV = 7  # d: the paper's count of one WKV step


@dataclass(frozen=True)
class Operations:
    """Multiply-accumulates of one token.

    ``projections``  products with weights of the layers.
    ``mixing``       products between activations: attention, recurrent state.
    ``head``         products with the head, V d.
    """

    projections: float
    mixing: float
    head: float

    @property
    def total(self) -> float:
        return self.projections + self.mixing + self.head


class Sizes(NamedTuple):
    """What a count depends on: layers, width, context and vocabulary."""

    L: int
    d: int
    T: int
    V: int


Count = Callable[[Sizes], Operations]


def transformer(sizes: Sizes) -> Operations:
    r"""GPT: query, key, value and output 4 d^2; scores and values at position t, 2 t d.

    .. math:: L (12 d^2 + \overline{2 t d}) + V d, \quad \overline{2 t d} = (T + 1) d
    """
    L, d, T, V = sizes
    return Operations(L * (4 + FEED_FORWARD) * d * d, L * (T + 1) * d, V * d)


def transformer_at(sizes: Sizes, t: int) -> Operations:
    """GPT at position t alone, which looks at t tokens (itself included)."""
    L, d, _, V = sizes
    return Operations(L * (4 + FEED_FORWARD) * d * d, L * 2 * t * d, V * d)


def reformer(sizes: Sizes) -> Operations:
    r"""Shared query and key: 3 d^2; attention within hashed chunks.

    Each of n = 4 rounds hashes with one bit of the bucket's number per log2(T / m) directions and
    compares with the keys of two chunks of m = 64 tokens:

    .. math:: L (11 d^2 + n d (\log_2(T / m) + 4 m)) + V d
    """
    L, d, T, V = sizes
    attended = min(2 * CHUNK, T)
    hashing = log2(max(T / CHUNK, 1.0))
    mixing = HASHES * d * (hashing + 2 * attended)
    return Operations(L * (3 + FEED_FORWARD) * d * d, L * mixing, V * d)


def synthesizer(sizes: Sizes) -> Operations:
    r"""Dense synthesizer: the scores of all T tokens come from two layers, d^2 and T d.

    Value and output are 2 d^2; the scores are applied to the t values there are.

    .. math:: L (11 d^2 + T d + (T + 1) d / 2) + V d
    """
    L, d, T, V = sizes
    projections = L * ((3 + FEED_FORWARD) * d * d + T * d)
    return Operations(projections, L * (T + 1) * d / 2, V * d)


def linear_transformer(sizes: Sizes) -> Operations:
    r"""State of d_h x d_h per head of d_h = 64: one product to write, one to read, one to divide.

    .. math:: L (12 d^2 + 2 d d_h + d) + V d
    """
    L, d, _, V = sizes
    return Operations(L * (4 + FEED_FORWARD) * d * d, L * (2 * d * min(HEAD_WIDTH, d) + d), V * d)


def performer(sizes: Sizes) -> Operations:
    r"""Random features of query and key, m = d_h ln d_h; then written and read as a state.

    .. math:: L (12 d^2 + 4 d m + h m) + V d, \quad h = d / d_h
    """
    L, d, _, V = sizes
    head = min(HEAD_WIDTH, d)
    features = int(head * log(head))
    mixing = 4 * d * features + (d // head) * features
    return Operations(L * (4 + FEED_FORWARD) * d * d, L * mixing, V * d)


def stacked_lstm(sizes: Sizes) -> Operations:
    r"""Four gates of 2 d inputs each; the first layer's input is a look-up in the same d.

    .. math:: 8 L d^2 + 3 L d + V d
    """
    L, d, _, V = sizes
    return Operations(L * 8 * d * d, L * 3 * d, V * d)


def sha_lstm(sizes: Sizes) -> Operations:
    r"""An LSTM and a "boom" layer d -> 4d, whose quarters are summed; no attention head.

    .. math:: 12 L d^2 + 3 L d + V d
    """
    L, d, _, V = sizes
    return Operations(L * (8 + 4) * d * d, L * 3 * d, V * d)


def spikegpt(sizes: Sizes) -> Operations:
    r"""SpikeGPT with every product done, as a machine without events does it.

    Time mix 4 d^2, channel mix 9 d^2, and 7 d for a step of WKV (the paper's count):

    .. math:: L (13 d^2 + 7 d) + V d
    """
    L, d, _, V = sizes
    return Operations(L * 13 * d * d, L * WKV * d, V * d)


def sizes_of(shape: ModelShape, context: int) -> Sizes:
    """The sizes of another model of this depth, width and vocabulary."""
    return Sizes(shape.layers, shape.width, context, shape.vocab_size)


def spikegpt_of(shape: ModelShape) -> Operations:
    """SpikeGPT of exactly this shape, variants included (``ffnPre`` has other matrices)."""
    matrices = {
        name: int(np.prod(size)) for name, size in shape.tensor_shapes().items() if len(size) == 2
    }
    head = matrices.pop("head.weight")
    matrices.pop("emb.weight")
    wkv_layers = shape.layers - shape.ffn_pre
    return Operations(sum(matrices.values()), wkv_layers * WKV * shape.width, head)


@dataclass(frozen=True)
class CacheTraffic:
    """Bytes of a transformer's key-value cache.

    ``size``     the cache of T tokens.
    ``per_token``  read and written for one token, mean over t = 1 .. T: 2 d values written and
                   those of the t - 1 earlier tokens read, in each layer; L d (T + 1) values.
    """

    size: float
    per_token: float


def cache_traffic(sizes: Sizes, bytes_per_value: float = 2.0) -> CacheTraffic:
    """Key-value traffic of a transformer, values of 2 bytes (float16) unless told."""
    L, d, T, _ = sizes
    return CacheTraffic(2.0 * L * T * d * bytes_per_value, L * d * (T + 1) * bytes_per_value)


BYTES = 205  # distinct byte values in enwik8
CHARACTERS = 5500  # about: distinct characters, SpikeGPT's vocabulary
COMMON = Sizes(12, 512, 1024, BYTES)  # of most models of the table


@dataclass(frozen=True)
class Published:
    """A row of the enwik8 comparison: bits as published, operations as counted here.

    ``train``, ``test``  bits per ``unit``: a byte, or a character of the text; None where the
                         source gives none.
    ``source``   of the architecture; ``figures`` of the bits.
    ``sizes``    of the model that the bits are of.
    """

    model: str
    count: Count
    train: float | None
    test: float
    source: str
    sizes: Sizes = COMMON
    unit: str = "byte"
    figures: str = "Zhai et al., arXiv 2105.14103, as quoted by Zhu et al., arXiv 2302.13939"

    @property
    def operations(self) -> Operations:
        """Of one token."""
        return self.count(self.sizes)


ENWIK8: tuple[Published, ...] = (
    Published("Transformer", transformer, 0.977, 1.137, "Vaswani et al., arXiv 1706.03762"),
    Published("Reformer", reformer, 1.040, 1.195, "Kitaev et al., arXiv 2001.04451"),
    Published("Synthesizer", synthesizer, 0.994, 1.298, "Tay et al., arXiv 2005.00743"),
    Published(
        *("Linear Transformer", linear_transformer, 0.981, 1.207),
        "Katharopoulos et al., arXiv 2006.16236",
    ),
    Published("Performer", performer, 1.002, 1.199, "Choromanski et al., arXiv 2009.14794"),
    Published(
        *("Stacked LSTM", stacked_lstm, 1.420, 1.670),
        "Graves, arXiv 1308.0850; its skip connections are not counted",
        Sizes(7, 700, 1024, BYTES),
        figures="Graves, arXiv 1308.0850",
    ),
    Published(
        *("SHA-LSTM", sha_lstm, None, 1.330),
        "Merity, arXiv 1911.11423, without attention",
        Sizes(4, 1024, 1024, BYTES),
        figures="Merity, arXiv 1911.11423",
    ),
    Published(
        *("SpikeGPT 46M", spikegpt, 1.113, 1.283),
        "Zhu et al., arXiv 2302.13939",
        Sizes(12, 512, 1024, CHARACTERS),
        unit="character",
        figures="Zhu et al., arXiv 2302.13939",
    ),
)
"""The paper's table. Evaluation protocols differ between its sources: compare with care."""
