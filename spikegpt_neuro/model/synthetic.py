"""Synthetic SpikeGPTs: random weights of any shape that behave like trained ones.

The weights are scaled so that the LIF neurons fire at 10 to 40 % as in trained models, and
the time constants follow RWKV's initialization. For benchmarks, capacity planning and tests:
a chip fills, and a kernel runs, alike for random and for trained weights.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.model.spikegpt import (
    FloatArray,
    LIFParameters,
    ModelShape,
    Provenance,
    SpikeGPT,
)

BEFORE_LIF = {"att.output.weight": 4.0, "ffn.value.weight": 4.5, "ffnPre.value.weight": 4.5}
KEY_DEVIATION = 0.9  # of the channel mix's k: mixing two tokens averages some variance away
MATRIX_GAIN = {"head.weight": 2.0, "att.value.weight": 2.0} | BEFORE_LIF


def random_model(
    layers: int = 3,
    width: int = 32,
    vocab_size: int = 96,
    *,
    seed: int = 0,
    ffn_pre: bool = False,
    spike_embedding: bool = True,
    spike_input: bool = False,
    lif: LIFParameters | None = None,
    hidden_density: float | None = None,
) -> SpikeGPT:
    """A float32 model with random weights, without a vocabulary.

    ``hidden_density``: share of the channel mixes' hidden neurons with k > 0, as training
    leaves 0.15 to 0.2 of them; None leaves it to chance, one half. The LIFs fire alike.
    Raises :class:`UsageError` outside 0..0.5 and, since LayerNorm must feed the mix
    directly, for ``spike_input``.
    """
    shape = ModelShape(
        layers=layers,
        width=width,
        vocab_size=vocab_size,
        ffn_pre=ffn_pre,
        spike_embedding=spike_embedding,
        spike_input=spike_input,
        lif=lif or LIFParameters(),
    )
    rng = np.random.default_rng(seed)
    tensors = {
        name: _random_tensor(name, size, shape, rng).astype(np.float32)
        for name, size in shape.tensor_shapes().items()
    }
    if hidden_density is not None:
        for layer in range(layers):
            _thin_out(tensors, f"blocks.{layer}", hidden_density, spike_input)
    return SpikeGPT(shape, tensors, Provenance(f"random-{seed}", "random", "0" * 64))


def random_tokens(model: SpikeGPT, count: int, seed: int = 1) -> NDArray[np.int64]:
    """Token ids (count,) drawn with the skew of a text: few ids make up most of it."""
    rng = np.random.default_rng(seed)
    return (model.shape.vocab_size * rng.random(count) ** 3).astype(np.int64)


def _random_tensor(
    name: str, size: tuple[int, ...], shape: ModelShape, rng: np.random.Generator
) -> FloatArray:
    """Tensor ``name`` of the given size."""
    parts = name.split(".")
    layer = int(parts[1]) if parts[0] == "blocks" else 0
    kind = ".".join(parts[2:]) if parts[0] == "blocks" else name
    noise: FloatArray = rng.standard_normal(size)
    if ".ln" in f".{kind}":
        level = _norm_weight(kind, shape) if kind.endswith("weight") else 0.0
        return level + 0.1 * noise
    if parts[-1].startswith("time_"):
        return _time_constant(parts[-1], layer, shape, noise)
    gain = MATRIX_GAIN.get(kind, 1.0)
    if kind in BEFORE_LIF and not shape.spike_input:
        # LIF variants that scale their input or threshold are driven correspondingly.
        gain *= shape.lif.threshold / (2 * shape.lif.gain)
    fan_in = 1 if kind == "emb.weight" else size[-1]
    return noise * float(gain / np.sqrt(fan_in))


def _norm_weight(kind: str, shape: ModelShape) -> float:
    """LayerNorm feeds the LIF directly where spikes are the input, so it drives it there."""
    if shape.spike_input and kind in ("ln1.weight", "ln2.weight"):
        return 0.8 * shape.lif.threshold / shape.lif.gain
    return 1.0


def _thin_out(
    tensors: dict[str, FloatArray], block: str, density: float, spike_input: bool
) -> None:
    r"""Shift the channel mix's k so that the share ``density`` of its neurons is positive.

    Every eighth channel of LN2 becomes the constant 1, which any token mix leaves at 1. Its
    columns of the key matrix together are a bias: -s standard deviations of k, which
    exceeds s of them with probability ``density``. Spread over so many columns, the bias does
    not widen the range of the weights. The value matrix makes up for the lost energy of

    .. math:: E[relu(k - s)^4] = (s^4 + 6 s^2 + 3) Q(s) - (s^3 + 5 s) \varphi(s)

    (Q: the normal distribution's tail, phi: its density; 3/2 at s = 0).
    """
    if spike_input or not 0 < density <= 0.5:
        raise UsageError(f"hidden_density {density}: 0 to 0.5, and not with spike_input")
    constant = slice(None, None, 8)
    normal = NormalDist()
    s = normal.inv_cdf(1 - density)
    tensors[f"{block}.ln2.weight"][constant] = 0
    tensors[f"{block}.ln2.bias"][constant] = 1
    key = tensors[f"{block}.ffn.key.weight"]
    key[:, constant] -= KEY_DEVIATION * s / key[:, constant].shape[1]
    energy = (s**4 + 6 * s**2 + 3) * density - (s**3 + 5 * s) * normal.pdf(s)
    tensors[f"{block}.ffn.value.weight"] *= np.float32(np.sqrt(1.5 / energy))


def _time_constant(leaf: str, layer: int, shape: ModelShape, noise: FloatArray) -> FloatArray:
    """RWKV's initial time constants with a little noise."""
    d = shape.width
    depth = layer / max(1, shape.layers - 1)
    position: FloatArray = np.arange(d) / d
    if leaf == "time_decay":
        share: FloatArray = np.arange(d) / max(1, d - 1)
        return -5 + 8 * share ** (0.7 + 1.3 * depth) + 0.1 * noise
    if leaf == "time_first":
        zigzag: FloatArray = 0.5 * ((np.arange(d) + 1) % 3 - 1)
        return float(np.log(0.3)) + zigzag + 0.1 * noise
    power = (1 - layer / shape.layers) * (0.5 if leaf == "time_mix_r" else 1.0)
    shift = 0.3 * depth if leaf == "time_mix_v" else 0.0
    mix: FloatArray = position**power + shift + 0.02 * noise
    return mix
