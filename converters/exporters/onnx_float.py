r"""``onnx-float``: a float checkpoint as an ONNX step model whose initializers are its tensors.

Inputs ``token`` (1,) int64 and ``state_in.<layer>.<name>`` (d,) float32, outputs ``logits`` (V,)
and ``state_out.<layer>.<name>``; per layer the names are ``previous1``, ``previous2`` (what the
mixings received for the token before), ``a``, ``b``, ``p`` (WKV; absent where ``ffnPre`` stands in
its place) and ``membrane1``, ``membrane2``. The equations are those of
:mod:`spikegpt_neuro.model.float_forward`. Dead zones are initializers ``<population>.dead_zone``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from onnx import TensorProto

from spikegpt_neuro.converters.exporters.exported import Exported, Format
from spikegpt_neuro.converters.exporters.onnx_body import Body, Domain, Value
from spikegpt_neuro.converters.exporters.onnx_file import (
    LOGITS,
    TOKEN,
    StateTensor,
    StepModel,
    describe,
    write_step_model,
)
from spikegpt_neuro.model.float_forward import EXPONENT_START, LAYER_NORM_EPSILON
from spikegpt_neuro.model.spikegpt import DEAD_ZONE, HEAD_INPUT, SpikeGPT

KIND = "float-step"
FLOAT = Domain("spikegpt_neuro.float")


@FLOAT.function("LayerNorm", "x weight bias", "y")
def _layer_norm(x: Value, weight: Value, bias: Value) -> Value:
    """``y`` = (x - mean) / sqrt(variance + 1e-5) weight + bias."""
    body = x.body
    centered = x - body.op("ReduceMean", x, keepdims=1)
    variance = body.op("ReduceMean", centered * centered, keepdims=1)
    return centered / body.op("Sqrt", variance + LAYER_NORM_EPSILON) * weight + bias


@FLOAT.function("Linear", "x weight", "y")
def _linear(x: Value, weight: Value) -> Value:
    """``y`` = W x; as Gemm, because runtimes are slow at a matrix times a vector."""
    body = x.body
    axis = body.constant(np.array([0], np.int64))
    row = body.op("Gemm", body.op("Unsqueeze", x, axis), weight, transB=1)
    return body.op("Squeeze", row, axis)


@FLOAT.function("TokenMix", "y previous m", "x")
def _token_mix(y: Value, previous: Value, m: Value) -> Value:
    """``x`` = m y + (1 - m) previous."""
    return y * m + previous * (-m + 1.0)


def _weighed(body: Body, excess: Value, v: Value, a: Value, b: Value) -> tuple[Value, Value, Value]:
    """The sums with a new term e^excess larger than the old unit, and whether it is larger."""
    small = body.op("Exp", -body.op("Abs", excess))
    larger = excess.exceeds(0.0)
    old, new = larger.where(small, 1.0), larger.where(1.0, small)
    return old * a + new * v, old * b + new, larger


@FLOAT.function("WKV", "k v r a b p time_decay time_first", "y a_next b_next p_next")
def _wkv(
    k: Value,
    v: Value,
    r: Value,
    a: Value,
    b: Value,
    p: Value,
    time_decay: Value,
    time_first: Value,
) -> tuple[Value, ...]:
    """``y`` = sigmoid(r) (a + e^(u+k) v) / (b + e^(u+k)); a, b are multiples of e^p."""
    body = k.body
    numerator, denominator, _ = _weighed(body, time_first + k - p, v, a, b)
    y = body.op("Sigmoid", r) * (numerator / denominator)
    decayed = p - body.op("Exp", time_decay)
    a, b, larger = _weighed(body, k - decayed, v, a, b)
    return y, a, b, larger.where(k, decayed)


@FLOAT.function("SquaredReLU", "x", "y")
def _squared_relu(x: Value) -> Value:
    """``y`` = max(0, x)^2."""
    body = x.body
    rectified = body.op("Relu", x)
    return rectified * rectified


@FLOAT.function("Gate", "value receptance", "y")
def _gate(value: Value, receptance: Value) -> Value:
    """``y`` = sigmoid(receptance) value."""
    body = value.body
    return body.op("Sigmoid", receptance) * value


@FLOAT.function("Heaviside", "x", "y")
def _heaviside(x: Value) -> Value:
    """``y`` = [x >= 0]."""
    return x.at_least(0.0).where(1.0, 0.0)


@FLOAT.function("LIF", "z v", "spike v_next")
def _lif(z: Value, v: Value) -> tuple[Value, Value]:
    """``h`` = decay v + gain z; spike = [h >= threshold]; v = reset where it fires, else h."""
    body = z.body
    h = v * body.real_attribute("decay") + z * body.real_attribute("gain")
    fires = h.at_least(body.real_attribute("threshold"))
    return fires.where(1.0, 0.0), fires.where(body.real_attribute("reset"), h)


def export(model: SpikeGPT, path: Path) -> Exported:
    """Write the float step model of a checkpoint."""
    writing = _Writing(model)
    writing.model_step()
    step = StepModel(
        kind=KIND,
        body=writing.body,
        domain=FLOAT,
        tensors=model.stored,
        states=writing.states,
        logits=model.shape.vocab_size,
        element_type=TensorProto.FLOAT,
        metadata={
            **describe(model.shape, model.vocabulary),
            "provenance": asdict(model.provenance),
            **({"pruned": True} if model.pruned else {}),
        },
    )
    write_step_model(step, path)
    return Exported(path, len(writing.body.nodes))


@dataclass
class _Writing:
    """The graph being written; all values are float32 vectors."""

    model: SpikeGPT
    body: Body = field(default_factory=Body)
    states: list[StateTensor] = field(default_factory=list)

    def model_step(self) -> None:
        shape = self.model.shape
        index = self.body.op("Squeeze", self.body.value(TOKEN))
        x = self.body.op("Gather", self.tensor("emb.weight"), index)
        if shape.spike_embedding:
            x = FLOAT.call("Heaviside", x)
        x = self.norm("blocks.0.ln0", x)
        for layer in range(shape.layers):
            x = self.half(layer, 1, x)
            x = self.half(layer, 2, x)
            if shape.rescale_every and (layer + 1) % shape.rescale_every == 0:
                x = x * 0.5
        self.product("head", self.sent(HEAD_INPUT, self.norm("ln_out", x)), result=LOGITS)

    def half(self, layer: int, half: int, x: Value) -> Value:
        """One residual branch; see ``FloatModel``."""
        y = self.norm(f"blocks.{layer}.ln{half}", x)
        if self.model.shape.spike_input:
            y = self.lif(layer, half, y)
        if half == 2:
            z = self.channel_mix(layer, half, "ffn", y, self.halvings(layer))
        elif layer == 0 and self.model.shape.ffn_pre:
            z = self.channel_mix(layer, half, "ffnPre", y, halvings=0)
        else:
            z = self.time_mix(layer, y)
        if not self.model.shape.spike_input:
            z = self.lif(layer, half, z)
        return x + z

    def time_mix(self, layer: int, y: Value) -> Value:
        name = f"blocks.{layer}.att"
        mixed = self.token_mix(layer, 1, name, "kvr", y)
        wkv = [f"{layer}.{part}" for part in "abp"]
        sums = [
            self.state(wkv[0]),
            self.state(wkv[1]),
            self.state(wkv[2], EXPONENT_START),
        ]
        inputs = [
            self.product(f"{name}.{part}", mixed[part[0]])
            for part in ("key", "value", "receptance")
        ]
        constants = [self.tensor(f"{name}.time_decay"), self.tensor(f"{name}.time_first")]
        results = [f"{name}.wkv", *(f"state_out.{key}" for key in wkv)]
        gated, *_ = self.body.call("WKV", [*inputs, *sums, *constants], results, FLOAT.name)
        sent = self.sent(f"{name}.wkv", gated)
        return self.product(f"{name}.output", sent, self.halvings(layer))

    def channel_mix(self, layer: int, half: int, part: str, y: Value, halvings: int) -> Value:
        name = f"blocks.{layer}.{part}"
        mixed = self.token_mix(layer, half, name, "kr", y)
        hidden = FLOAT.call("SquaredReLU", self.product(f"{name}.key", mixed["k"]))
        sent = self.sent(f"{name}.squared_relu", hidden)
        value = self.product(f"{name}.value", sent, halvings)
        return FLOAT.call("Gate", value, self.product(f"{name}.receptance", mixed["r"]))

    def token_mix(
        self, layer: int, half: int, name: str, letters: str, y: Value
    ) -> dict[str, Value]:
        key = f"{layer}.previous{half}"
        previous = self.state(key)
        self.body.op("Identity", y, name=f"state_out.{key}")
        mixed = {
            letter: FLOAT.call("TokenMix", y, previous, self.tensor(f"{name}.time_mix_{letter}"))
            for letter in letters
        }
        return {letter: self.sent(f"{name}.mix_{letter}", x) for letter, x in mixed.items()}

    def sent(self, population: str, x: Value) -> Value:
        """``x`` behind the population's dead zone, if it has one."""
        if population not in self.model.dead_zones:
            return x
        threshold = self.tensor(population + DEAD_ZONE)
        return self.body.op("Abs", x).exceeds(threshold).where(x, 0.0)

    def lif(self, layer: int, half: int, z: Value) -> Value:
        lif, key = self.model.shape.lif, f"{layer}.membrane{half}"
        spike, _ = self.body.call(
            "LIF",
            [z, self.state(key)],
            [f"blocks.{layer}.lif{half}", f"state_out.{key}"],
            FLOAT.name,
            decay=lif.decay,
            gain=lif.gain,
            threshold=float(lif.threshold),
            reset=float(lif.reset),
        )
        return spike

    def norm(self, name: str, x: Value) -> Value:
        weight, bias = self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias")
        return FLOAT.call("LayerNorm", x, weight, bias)

    def product(self, weight: str, x: Value, halvings: int = 0, result: str | None = None) -> Value:
        product = FLOAT.call("Linear", x, self.tensor(f"{weight}.weight"), name=result)
        return product * 2.0**-halvings if halvings else product

    def state(self, key: str, initial: float = 0.0) -> Value:
        tensor = StateTensor(key, np.full(self.model.shape.width, initial, np.float32))
        self.states.append(tensor)
        return self.body.value(tensor.input)

    def tensor(self, name: str) -> Value:
        """A tensor of the checkpoint, brought to float32."""
        value = self.body.value(name)
        if self.model.stored[name].dtype == np.float32:
            return value
        return value.cast(TensorProto.FLOAT)

    def halvings(self, layer: int) -> int:
        every = self.model.shape.rescale_every
        return layer // every if every else 0


FORMAT = Format(export, (SpikeGPT,), instead="the checkpoint, or to='onnx'")
