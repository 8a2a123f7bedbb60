r"""The float reference: SpikeGPT's training forward, without torch.

For token ids :math:`x[t]`, with :math:`H(y) = [y \ge 0]`:

.. math::
    x_0 &= LN_0(H(E_{x[t]})) \\
    x' &= x + LIF_1(TimeMix(LN_1(x))), \quad
    x'' = x' + LIF_2(ChannelMix(LN_2(x'))) \\
    logits &= W_{head} LN_{out}(x_L)

Token mixing with the previous token's y' (zeros before the first) and a coefficient m per
channel is :math:`mix(y, m) = m y + (1 - m) y'`. With
:math:`k = K\,mix(y, m_k), v = V\,mix(y, m_v), r = \sigma(R\,mix(y, m_r))`:

.. math::
    TimeMix:\quad & wkv[t] = \frac{a + e^{u + k} v}{b + e^{u + k}}, \quad
    a \leftarrow e^{w} a + e^{k} v, \quad b \leftarrow e^{w} b + e^{k}, \quad
    out = O (r \odot wkv) \\
    ChannelMix:\quad & out = r \odot V\,relu(k)^2

with :math:`w = -e^{time\_decay}`, :math:`u = time\_first`. a and b carry a shared exponent p
(the numbers meant are :math:`a e^p, b e^p`), so every argument of exp is <= 0. The LIF is
that of :class:`~spikegpt_neuro.model.spikegpt.LIFParameters`; one token is one LIF step.

Every x that a matrix is multiplied by (the mixes, :math:`r \odot wkv`, :math:`relu(k)^2`,
:math:`LN_{out}`) may pass a dead zone with thresholds :math:`\theta \ge 0`, after which it is

.. math:: x_i \leftarrow x_i \, [|x_i| > \theta_i]

Nothing that is carried from token to token is silenced.

A whole sequence passes layer by layer: BLAS does the matrix products of all tokens at
once, compiled loops do the recurrences. The state may be carried, so a text may be fed in
pieces. Source: Zhu, Zhao, Li, Eshraghian, arXiv 2302.13939, and its code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from spikegpt_neuro.arithmetic.jit import compiled
from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.model.spikegpt import HEAD_INPUT, FloatArray, LIFParameters, SpikeGPT
from spikegpt_neuro.vocabulary import check_token_ids

LAYER_NORM_EPSILON = 1e-5
EXPONENT_START = -1e30  # p before the first token: e^p is 0

Spikes = NDArray[np.uint8]
Observer = Callable[[str, FloatArray], None]
"""Called with the name of an intermediate value and its (T, n) array; must not change it."""
Interposer = Callable[[str, FloatArray], FloatArray]
"""Called likewise; what it returns, (T, n) of the same dtype, goes on in place of the value."""

_F = TypeVar("_F", bound=Callable[..., Any])


def _compiled(function: _F) -> _F:
    # error_model: a division gives inf or nan as numpy's does, so loops vectorize
    return compiled(function, error_model="numpy")


@dataclass(frozen=True)
class BlockState:
    """What one block carries from token to token: seven vectors of the model's width.

    ``previous1`` / ``previous2``  the mixing's input of the previous token.
    ``a``, ``b``, ``exponent``     WKV numerator and denominator, scaled by e^-exponent.
    ``membrane1`` / ``membrane2``  the LIF membranes.
    """

    previous1: FloatArray
    a: FloatArray
    b: FloatArray
    exponent: FloatArray
    membrane1: FloatArray
    previous2: FloatArray
    membrane2: FloatArray


FloatState = tuple[BlockState, ...]


@dataclass(frozen=True)
class FloatRun:
    """Result of a forward over T tokens.

    ``logits``  (T, V), or None where they were not asked for.
    ``spikes``  ``"embedding"`` (where binarized), ``"blocks.{i}.lif1"``,
                ``"blocks.{i}.lif2"`` -> (T, d) of 0 and 1.
    ``state``   to carry on from.
    """

    logits: FloatArray | None = field(repr=False)
    spikes: dict[str, Spikes] = field(repr=False)
    state: FloatState = field(repr=False)

    def of(self, rows: slice) -> FloatRun:
        """Logits and spikes of some tokens; the state stays that after the last one."""
        logits = None if self.logits is None else self.logits[rows]
        spikes = {name: sent[rows] for name, sent in self.spikes.items()}
        return FloatRun(logits, spikes, self.state)


@dataclass(frozen=True)
class FloatModel:
    """A float SpikeGPT that computes in ``dtype`` (float32 or float64).

    Weights are taken from the checkpoint when a layer needs them: views of its memory map
    where the dtype is the same, converted for the moment otherwise.
    """

    model: SpikeGPT
    dtype: DTypeLike = np.float32

    def __repr__(self) -> str:
        return f"FloatModel({self.model!r}, {np.dtype(self.dtype)})"

    def __post_init__(self) -> None:
        if np.dtype(self.dtype) not in (np.float32, np.float64):
            raise UsageError(f"dtype {np.dtype(self.dtype)}: expected float32 or float64")

    def initial_state(self) -> FloatState:
        """The state before the first token."""
        zeros = np.zeros(self.model.shape.width, self.dtype)
        start = np.full_like(zeros, EXPONENT_START)
        block = BlockState(zeros, zeros, zeros, start, zeros, zeros, zeros)
        return (block,) * self.model.shape.layers

    def logits(self, tokens: object) -> FloatArray:
        """Logits (T, V) of a whole sequence from the initial state."""
        run = self.forward(tokens)
        return cast(FloatArray, run.logits)

    @np.errstate(over="ignore", invalid="ignore")  # infinities are the caller's to see
    def forward(
        self,
        tokens: object,
        state: FloatState | None = None,
        *,
        observe: Observer | None = None,
        interpose: Interposer | None = None,
        logits: bool = True,
        window: int | None = None,
    ) -> FloatRun:
        """Run token ids (T,) through the model, from ``state`` or from the start.

        ``observe`` receives every intermediate value under its name (``"ln0"``,
        ``"blocks.0.att.mix_k"``, ``"blocks.0.lif1"``, ...), in the order of computation;
        ``interpose`` may put another real value in its place first. A tensor of the checkpoint is
        read after the value that it multiplies was shown. Both are given what is sent, behind
        the dead zone. With ``window`` the tokens are texts of so many tokens (the last may be
        shorter), each from the initial state: the products of all are formed at once.
        Raises :class:`UnsupportedInput` for ids outside the vocabulary. Memory beside the
        logits is about 12 T d numbers.
        """
        ids = check_token_ids(tokens, self.model.shape.vocab_size)
        parts = _parts(len(ids), window or len(ids))
        recorder = _Recorder(observe, interpose, self._dead_zones(), {}, parts)
        x = self._embed(ids, recorder)
        before = self.initial_state() if state is None else state
        after: list[BlockState] = []
        for layer, block_state in enumerate(before):
            x, new_state = self._block(layer, x, block_state, recorder)
            after.append(new_state)
        y = recorder.real("ln_out", self._layer_norm("ln_out", x))
        result = recorder.real("logits", self._product("head", y)) if logits else None
        return FloatRun(result, recorder.spikes, tuple(after))

    def _dead_zones(self) -> dict[str, FloatArray]:
        zones = self.model.dead_zones
        return {tap_of(name): np.asarray(zone, self.dtype) for name, zone in zones.items()}

    def _embed(self, ids: NDArray[np.int64], recorder: _Recorder) -> FloatArray:
        x = self.model.tensors["emb.weight"][ids].astype(self.dtype)
        if self.model.shape.spike_embedding:
            x = recorder.spike("embedding", (x >= 0).astype(np.uint8), self.dtype)
        else:
            recorder.real("embedding", x)
        return recorder.real("ln0", self._layer_norm("blocks.0.ln0", x))

    def _block(
        self, layer: int, x: FloatArray, state: BlockState, recorder: _Recorder
    ) -> tuple[FloatArray, BlockState]:
        """One block: residual + mixing, twice, with the LIF after or before the mixing."""
        shape, name = self.model.shape, f"blocks.{layer}"
        y = recorder.real(f"{name}.ln1", self._layer_norm(f"{name}.ln1", x))
        if shape.spike_input:
            y, membrane1 = self._lif(f"{name}.lif1", y, state.membrane1, recorder)
        previous1, a, b, exponent = y[-1].copy(), state.a, state.b, state.exponent
        if layer == 0 and shape.ffn_pre:
            z = self._channel_mix(f"{name}.ffnPre", y, state.previous1, recorder, halvings=0)
        else:
            z, (a, b, exponent) = self._time_mix(layer, y, state, recorder)
        if not shape.spike_input:
            z, membrane1 = self._lif(f"{name}.lif1", z, state.membrane1, recorder)
        x = recorder.real(f"{name}.residual1", x + z)

        y = recorder.real(f"{name}.ln2", self._layer_norm(f"{name}.ln2", x))
        if shape.spike_input:
            y, membrane2 = self._lif(f"{name}.lif2", y, state.membrane2, recorder)
        previous2 = y[-1].copy()
        z = self._channel_mix(
            f"{name}.ffn", y, state.previous2, recorder, halvings=self._halvings(layer)
        )
        if not shape.spike_input:
            z, membrane2 = self._lif(f"{name}.lif2", z, state.membrane2, recorder)
        x = x + z
        if shape.rescale_every and (layer + 1) % shape.rescale_every == 0:
            x = x / 2
        recorder.real(f"{name}.residual2", x)
        return x, BlockState(previous1, a, b, exponent, membrane1, previous2, membrane2)

    def _time_mix(
        self, layer: int, y: FloatArray, state: BlockState, recorder: _Recorder
    ) -> tuple[FloatArray, tuple[FloatArray, FloatArray, FloatArray]]:
        name = f"blocks.{layer}.att"
        mixed = self._token_mix(name, "kvr", y, state.previous1, recorder)
        k = recorder.real(f"{name}.key", self._product(f"{name}.key", mixed["k"]))
        v = recorder.real(f"{name}.value", self._product(f"{name}.value", mixed["v"]))
        r = recorder.real(f"{name}.receptance", self._product(f"{name}.receptance", mixed["r"]))
        with np.errstate(over="ignore"):  # -inf: nothing is left of the token before
            w = -np.exp(self._tensor(f"{name}.time_decay"))
        u = self._tensor(f"{name}.time_first")
        wkv = np.empty_like(k)
        for part in recorder.parts:
            a, b, exponent = state.a.copy(), state.b.copy(), state.exponent.copy()
            _wkv(k[part], v[part], w, u, a, b, exponent, wkv[part])
        _gate(r, wkv)
        wkv = recorder.real(f"{name}.wkv", wkv)
        out = _scaled(self._product(f"{name}.output", wkv), self._halvings(layer))
        return recorder.real(f"{name}.output", out), (a, b, exponent)

    def _channel_mix(
        self,
        name: str,
        y: FloatArray,
        previous: FloatArray,
        recorder: _Recorder,
        *,
        halvings: int,
    ) -> FloatArray:
        mixed = self._token_mix(name, "kr", y, previous, recorder)
        k = recorder.real(f"{name}.key", self._product(f"{name}.key", mixed["k"]))
        k = np.square(np.maximum(k, 0))
        k = recorder.real(f"{name}.squared_relu", k)
        v = _scaled(self._product(f"{name}.value", k), halvings)
        recorder.real(f"{name}.value", v)
        r = recorder.real(f"{name}.receptance", self._product(f"{name}.receptance", mixed["r"]))
        gated = v.copy()
        _gate(r, gated)
        return recorder.real(f"{name}.gate", gated)

    def _token_mix(
        self, name: str, which: str, y: FloatArray, previous: FloatArray, recorder: _Recorder
    ) -> dict[str, FloatArray]:
        shifted = np.concatenate([previous[None], y[:-1]])
        shifted[[part.start for part in recorder.parts]] = previous
        mixed: dict[str, FloatArray] = {}
        for letter in which:
            m = self._tensor(f"{name}.time_mix_{letter}")
            mixed[letter] = recorder.real(f"{name}.mix_{letter}", y * m + shifted * (1 - m))
        return mixed

    def _lif(
        self, name: str, z: FloatArray, membrane: FloatArray, recorder: _Recorder
    ) -> tuple[FloatArray, FloatArray]:
        """Spikes of the input currents z (T, d), and the membranes after the last token."""
        spikes, constants = (
            np.empty(z.shape, np.uint8),
            _lif_constants(self.model.shape.lif, self.dtype),
        )
        for part in recorder.parts:
            v = membrane.copy()
            _lif(z[part], v, spikes[part], *constants)
        return recorder.spike(name, spikes, self.dtype), v

    def _layer_norm(self, name: str, x: FloatArray) -> FloatArray:
        out = np.empty_like(x)
        _layer_norm(x, self._tensor(f"{name}.weight"), self._tensor(f"{name}.bias"), out)
        return out

    def _product(self, name: str, x: FloatArray) -> FloatArray:
        """X W^T for x (T, inputs) and W (outputs, inputs)."""
        return cast(FloatArray, x @ self._tensor(f"{name}.weight").T)

    def _tensor(self, name: str) -> FloatArray:
        return np.require(self.model.tensors[name], self.dtype, ["C", "A"])

    def _halvings(self, layer: int) -> int:
        every = self.model.shape.rescale_every
        return layer // every if every else 0


@dataclass(frozen=True)
class _Recorder:
    """Silences values, hands them to whoever looks on or interposes, and keeps the spikes.

    ``zones``  dead zones by the names of the values.
    ``parts``  the rows of each text.
    """

    observe: Observer | None
    interpose: Interposer | None
    zones: Mapping[str, FloatArray]
    spikes: dict[str, Spikes]
    parts: Sequence[slice]

    def real(self, name: str, value: FloatArray) -> FloatArray:
        if (zone := self.zones.get(name)) is not None:
            value = np.where(np.abs(value) <= zone, value.dtype.type(0), value)
        if self.interpose is not None:
            value = self.interpose(name, value)
        if self.observe is not None:
            self.observe(name, value)
        return value

    def spike(self, name: str, spikes: Spikes, dtype: DTypeLike) -> FloatArray:
        self.spikes[name] = spikes
        value = spikes.astype(dtype)
        if self.observe is not None:
            self.observe(name, value)
        return value


def _parts(tokens: int, window: int) -> list[slice]:
    return [slice(start, min(start + window, tokens)) for start in range(0, tokens, window)]


def tap_of(population: str) -> str:
    """The name under which :class:`FloatModel` shows the values that a population sends."""
    return "ln_out" if population == HEAD_INPUT else population


def _scaled(product: FloatArray, halvings: int) -> FloatArray:
    """The product with a matrix divided by 2**halvings (exact: a power of two)."""
    return product / 2**halvings if halvings else product


def _lif_constants(lif: LIFParameters, dtype: DTypeLike) -> tuple[Any, ...]:
    """Decay, gain, threshold and reset as scalars of ``dtype``."""
    return tuple(np.array([lif.decay, lif.gain, lif.threshold, lif.reset], dtype))


@_compiled
def _lif(
    z: FloatArray, v: FloatArray, spikes: Spikes, decay: Any, gain: Any, threshold: Any, reset: Any
) -> None:
    """Step the membranes v (d,) through the currents z (T, d); v is left at the last token."""
    for t in range(z.shape[0]):
        for i in range(z.shape[1]):
            h = decay * v[i] + gain * z[t, i]
            if h >= threshold:
                spikes[t, i] = 1
                v[i] = reset
            else:
                spikes[t, i] = 0
                v[i] = h


@_compiled
def _wkv(
    k: FloatArray,
    v: FloatArray,
    w: FloatArray,
    u: FloatArray,
    a: FloatArray,
    b: FloatArray,
    exponent: FloatArray,
    out: FloatArray,
) -> None:
    """WKV of k, v (T, d) into ``out``; a, b, exponent (d,) are left at the last token.

    Of the two factors e^(p - max) and e^(q - max) one is always 1, so one exp does.
    """
    one = k.dtype.type(1)
    for t in range(k.shape[0]):
        for i in range(k.shape[1]):
            excess = u[i] + k[t, i] - exponent[i]
            small = math.exp(-abs(excess))
            old, new = (small, one) if excess > 0 else (one, small)
            out[t, i] = (old * a[i] + new * v[t, i]) / (old * b[i] + new)

            decayed = exponent[i] + w[i]
            excess = k[t, i] - decayed
            small = math.exp(-abs(excess))
            old, new = (small, one) if excess > 0 else (one, small)
            a[i] = old * a[i] + new * v[t, i]
            b[i] = old * b[i] + new
            exponent[i] = k[t, i] if excess > 0 else decayed


@_compiled
def _gate(r: FloatArray, values: FloatArray) -> None:
    """Multiply ``values`` (T, d) by sigmoid(r) in place, without overflow for any r."""
    one = r.dtype.type(1)
    for t in range(r.shape[0]):
        for i in range(r.shape[1]):
            e = math.exp(-abs(r[t, i]))
            values[t, i] *= (one if r[t, i] >= 0 else e) / (one + e)


@_compiled
def _layer_norm(x: FloatArray, weight: FloatArray, bias: FloatArray, out: FloatArray) -> None:
    """(x - mean) / sqrt(variance + epsilon) * weight + bias of each row of x (T, d)."""
    tokens, width = x.shape
    for t in range(tokens):
        total = 0.0  # sums are float64 whatever x is
        for i in range(width):
            total += x[t, i]
        mean = total / width
        squares = 0.0
        for i in range(width):
            squares += (x[t, i] - mean) ** 2
        scale = 1.0 / math.sqrt(squares / width + LAYER_NORM_EPSILON)
        for i in range(width):
            out[t, i] = (x[t, i] - mean) * scale * weight[i] + bias[i]
