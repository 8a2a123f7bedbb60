"""SpikeGPT as data: its shape and its float tensors, whatever file they came from.

The equations are those of the training forward (Zhu, Zhao, Li, Eshraghian,
arXiv 2302.13939); see :mod:`spikegpt_neuro.model.float_forward`.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.vocabulary import Vocabulary

FloatArray = NDArray[np.floating]
Compat = Literal["training", "upstream-run"]

DEAD_ZONE = ".dead_zone"
"""Ends the name of a tensor of thresholds; the name of its population stands before it."""
HEAD_INPUT = "head.input"
TIME_MIX_READERS = {"mix_k": "key", "mix_v": "value", "mix_r": "receptance", "wkv": "output"}
CHANNEL_MIX_READERS = {"mix_k": "key", "squared_relu": "value", "mix_r": "receptance"}
UPSTREAM_RESCALE_EVERY = 6
UPSTREAM_BINARIZED_VOCABULARY = 77


@dataclass(frozen=True)
class LIFParameters:
    r"""The LIF neuron of a checkpoint, in real units.

    .. math::
        h[t] = (1 - 1/\tau) v[t-1] + g z[t], \quad
        s[t] = [h[t] \ge \theta], \quad
        v[t] = h[t] (1 - s[t]) + v_{reset} s[t]

    with gain :math:`g = 1/\tau` where ``decay_input`` (SpikingJelly's
    ``MultiStepLIFNode``, used by upstream) and :math:`g = 1` otherwise (myelin).
    """

    tau: float = 2.0
    threshold: float = 1.0
    reset: float = 0.0
    decay_input: bool = True

    @property
    def decay(self) -> float:
        """Factor by which the membrane decays per token."""
        return 1.0 - 1.0 / self.tau

    @property
    def gain(self) -> float:
        """Factor on the input current."""
        return 1.0 / self.tau if self.decay_input else 1.0


@dataclass(frozen=True)
class LIFOrigin:
    """Where each setting of the LIF was stated; None: nowhere, upstream's value is assumed."""

    tau: str | None = None
    threshold: str | None = None
    reset: str | None = None
    decay_input: str | None = None


@dataclass(frozen=True)
class ModelShape:
    """Everything about a SpikeGPT that is not a tensor.

    ``ffn_pre``          block 0 has a channel mix (``ffnPre``) in place of its time mix.
    ``spike_embedding``  the embedding is binarized (``>= 0`` gives 1) before LN0.
    ``spike_input``      the LIF stands before the mixing (LIF(LN(x)) feeds it) instead of after it.
    ``rescale_every``    N > 0: x is halved after every N-th layer, and ``att.output`` and
                         ``ffn.value`` of layer i are divided by 2**(i // N); 0: never.
    """

    layers: int
    width: int
    vocab_size: int
    ffn_pre: bool = False
    spike_embedding: bool = True
    spike_input: bool = False
    rescale_every: int = 0
    lif: LIFParameters = field(default_factory=LIFParameters)

    @property
    def hidden(self) -> int:
        """Width of the channel mix's hidden layer."""
        return 4 * self.width

    def with_compat(self, compat: Compat) -> ModelShape:
        """The same shape under ``"training"`` or ``"upstream-run"`` semantics.

        ``upstream-run`` reproduces upstream's ``model_run.py``: x is halved every six
        layers in spite of the LIF thresholds, and the embedding is binarized only where
        the vocabulary has exactly 77 entries.
        """
        if compat == "training":
            return self
        return replace(
            self,
            rescale_every=UPSTREAM_RESCALE_EVERY,
            spike_embedding=self.vocab_size == UPSTREAM_BINARIZED_VOCABULARY,
        )

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor that a checkpoint of this shape holds."""
        d, hidden, vocab = self.width, self.hidden, self.vocab_size
        shapes: dict[str, tuple[int, ...]] = {"emb.weight": (vocab, d)}
        for layer in range(self.layers):
            block = f"blocks.{layer}"
            norms = ("ln0", "ln1", "ln2") if layer == 0 else ("ln1", "ln2")
            for norm in norms:
                shapes[f"{block}.{norm}.weight"] = shapes[f"{block}.{norm}.bias"] = (d,)
            if layer == 0 and self.ffn_pre:
                shapes |= _channel_mix_shapes(f"{block}.ffnPre", d, hidden)
            else:
                shapes |= _time_mix_shapes(f"{block}.att", d)
            shapes |= _channel_mix_shapes(f"{block}.ffn", d, hidden)
        shapes["ln_out.weight"] = shapes["ln_out.bias"] = (d,)
        shapes["head.weight"] = (vocab, d)
        return shapes

    @property
    def matrices(self) -> tuple[str, ...]:
        """Names of the tensors whose entries are synapses: all matrices but the embedding."""
        shapes = self.tensor_shapes()
        return tuple(name for name in shapes if len(shapes[name]) == 2 and name != "emb.weight")

    def readers(self) -> dict[str, str]:
        """Population -> the matrix that reads what it sends, in the order data flows.

        These are the populations that may have a dead zone.
        """
        found: dict[str, str] = {}
        for layer in range(self.layers):
            block = f"blocks.{layer}"
            if layer == 0 and self.ffn_pre:
                found |= _readers(f"{block}.ffnPre", CHANNEL_MIX_READERS)
            else:
                found |= _readers(f"{block}.att", TIME_MIX_READERS)
            found |= _readers(f"{block}.ffn", CHANNEL_MIX_READERS)
        return found | {HEAD_INPUT: "head.weight"}

    def dead_zone_sizes(self) -> dict[str, int]:
        """Population -> neurons of every one that may have a dead zone, in the order data flows."""
        shapes = self.tensor_shapes()
        return {population: shapes[matrix][1] for population, matrix in self.readers().items()}

    @property
    def parameters(self) -> int:
        """Number of trained parameters, 2 V d + L (13 d^2 + 11 d) + 4 d for the plain variant."""
        return sum(int(np.prod(shape)) for shape in self.tensor_shapes().values())


def _time_mix_shapes(prefix: str, d: int) -> dict[str, tuple[int, ...]]:
    vectors = ("time_decay", "time_first", "time_mix_k", "time_mix_v", "time_mix_r")
    matrices = ("key", "value", "receptance", "output")
    return {f"{prefix}.{name}": (d,) for name in vectors} | {
        f"{prefix}.{name}.weight": (d, d) for name in matrices
    }


def _channel_mix_shapes(prefix: str, d: int, hidden: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{prefix}.time_mix_k": (d,),
        f"{prefix}.time_mix_r": (d,),
        f"{prefix}.key.weight": (hidden, d),
        f"{prefix}.receptance.weight": (d, d),
        f"{prefix}.value.weight": (d, hidden),
    }


def _readers(prefix: str, parts: Mapping[str, str]) -> dict[str, str]:
    return {f"{prefix}.{part}": f"{prefix}.{matrix}.weight" for part, matrix in parts.items()}


@dataclass(frozen=True)
class Provenance:
    """Where a model came from: file name, file format, sha256 of the weights file.

    ``vocabulary_file``: the name of the file that its vocabulary was read from; None for none,
    and for bytes that were assumed.
    """

    file: str
    format: str
    sha256: str
    vocabulary_file: str | None = None


@dataclass(frozen=True)
class SpikeGPT:
    """A float checkpoint: shape, tensors under upstream's names, vocabulary if it has one.

    ``tensors`` may be lazy: indexing gives a float array of the shape listed by
    :meth:`ModelShape.tensor_shapes` (``time_mix_*`` flattened to ``(d,)``).
    ``remarks``: what a person should know of how it was read.
    ``refused_vocabularies``: vocabulary files beside it that do not fit, and why.
    ``lif_origin``: what of ``shape.lif`` its files state.
    ``dead_zones``: population of :meth:`ModelShape.dead_zone_sizes` -> thresholds (n,) of at least
    0; a value whose magnitude does not exceed its neuron's is not sent: it is 0. Others have none.
    ``pruned``: weights that are 0 in the matrices are synapses that do not exist.
    """

    shape: ModelShape
    tensors: Mapping[str, FloatArray]
    provenance: Provenance
    vocabulary: Vocabulary | None = None
    remarks: tuple[str, ...] = ()
    refused_vocabularies: tuple[str, ...] = ()
    lif_origin: LIFOrigin = field(default_factory=LIFOrigin)
    dead_zones: Mapping[str, FloatArray] = field(default_factory=dict)
    pruned: bool = False

    def __repr__(self) -> str:
        shape = self.shape
        return (
            f"SpikeGPT({shape.layers} layer{'s' * (shape.layers != 1)}, width {shape.width}, "
            f"{shape.vocab_size} token ids, from {self.provenance.file})"
        )

    @property
    def stored(self) -> Mapping[str, FloatArray]:
        """All that a file holds of it, by name: the tensors, and the dead zones."""
        zones = {population + DEAD_ZONE: zone for population, zone in self.dead_zones.items()}
        return ChainMap(zones, self.tensors)  # type: ignore[arg-type]  # which is only read

    @property
    def sparsities(self) -> tuple[str, ...]:
        """What makes it sparse already, in words; nothing where it is not."""
        return tuple(self._sparsities())

    def _sparsities(self) -> Iterator[str]:
        if any(zone.any() for zone in self.dead_zones.values()):
            yield "dead zones"
        if self.pruned:
            yield "pruned weights"

    @property
    def weight_density(self) -> float:
        """Share of the weights in the matrices that are not 0."""
        names, shapes = self.shape.matrices, self.shape.tensor_shapes()
        left = sum(int(np.count_nonzero(self.tensors[name])) for name in names)
        return left / sum(math.prod(shapes[name]) for name in names)

    def with_compat(self, compat: Compat) -> SpikeGPT:
        """The same checkpoint read under other inference semantics."""
        return replace(self, shape=self.shape.with_compat(compat))
