"""Lowering: a float SpikeGPT becomes the all-integer spiking graph.

Walks the model in the order data flows and adds populations and projections. Every number
format is chosen here, from the measured ranges of :mod:`spikegpt_neuro.quantization`:

=====================  =========================================================
residual, LayerNorm    fraction 12 in 24 bits
mixes, wkv, head input ``activation_bits`` signed, scale per population
squared ReLU           ``activation_bits`` unsigned, scale per population
weights                ``weight_bits`` signed, scale per output channel
LIF current            18 bits, real threshold = 64 vth + 1 units of the membrane,
                       vth per population
logits                 fraction 12 in 24 bits
dead zones             units of the payload
=====================  =========================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.fixed_point import (
    ACCUMULATOR_LIMIT,
    fraction_for,
    scalar_multiplier,
)
from spikegpt_neuro.arithmetic.tables import EXPONENT_FRACTION, SIGMOID_INPUT_FRACTION
from spikegpt_neuro.converters.ranges import DIFFERS, EXPONENT_LIMIT, Ranges, merged
from spikegpt_neuro.errors import UnsupportedInput, UsageError
from spikegpt_neuro.files import readable
from spikegpt_neuro.graph.graph import Population, Projection, SpikingGraph
from spikegpt_neuro.model.spikegpt import HEAD_INPUT, FloatArray, LIFParameters, SpikeGPT
from spikegpt_neuro.neurons.embedding import Embedding
from spikegpt_neuro.neurons.gate import Gate
from spikegpt_neuro.neurons.layer_norm import WEIGHT_BITS as NORM_WEIGHT_BITS
from spikegpt_neuro.neurons.layer_norm import WEIGHT_FRACTION_MIN, LayerNorm
from spikegpt_neuro.neurons.lif import CURRENT_SHIFT, DECAY_ONE, LIF, MEMBRANE_LIMIT
from spikegpt_neuro.neurons.program import STATE_BITS_MAX, EventFormat, IntArray, Program
from spikegpt_neuro.neurons.requantize import Requantize
from spikegpt_neuro.neurons.residual import Residual
from spikegpt_neuro.neurons.squared_relu import KEY_BITS, SquaredReLU
from spikegpt_neuro.neurons.token_mix import COEFFICIENT_BITS, COEFFICIENT_FRACTION, TokenMix
from spikegpt_neuro.neurons.wkv import VALUE_BITS, WKV
from spikegpt_neuro.quantization import BITS
from spikegpt_neuro.quantization.calibration import Statistics, calibrate, calibration_windows
from spikegpt_neuro.quantization.scales import event_scale, quantize_weights
from spikegpt_neuro.sparsity.thresholds import whole
from spikegpt_neuro.version import __version__

STREAM_FRACTION = 12
STREAM_ONE = 1 << STREAM_FRACTION
LOGIT_FRACTION = 12
EPSILON = 1e-5
VTH_MAX = 8160
VTH_FINE = 32  # thresholds of a slow membrane are at least this fine, see lif_program
CURRENT_BITS = 18
HEADROOM = 4.0  # room above the largest calibrated magnitude before a state saturates
BY_SOURCE_BELOW = 0.4  # share of non-zero events under which reading weights by source pays
LOG2_E = float(np.log2(np.e))
STREAM_LIMIT = ACCUMULATOR_LIMIT / STREAM_ONE
TOO_LARGE = "is too large for the graph's numbers"
NOTHING_LEFT = "a decay that fast leaves nothing of the token before either way"
OR_NORM = " or the LayerNorm before it"
TOO_SMALL = "leaves values too small for the graph's numbers"


def lower(
    model: SpikeGPT,
    calibration: NDArray[np.int64],
    *,
    weight_bits: int = 8,
    activation_bits: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> SpikingGraph:
    """Lower ``model`` with scales calibrated on the token ids ``calibration``.

    ``progress`` is told of every calibration window, layer and the head.
    Raises :class:`UsageError` for bit widths other than 4, 6 and 8 and
    :class:`UnsupportedInput` for a LIF that Lava's stock process cannot be.
    """
    check_request(model, weight_bits, activation_bits)
    windows = len(calibration_windows(calibration))
    steps = windows + model.shape.layers + 1

    def report(done: int) -> None:
        if progress is not None:
            progress(done, steps)

    formats = calibrated(
        model, calibration, weight_bits, activation_bits, lambda done, _: report(done)
    )
    return lower_calibrated(model, formats, progress=lambda done: report(windows + done)).graph


@dataclass(frozen=True)
class Formats:
    """What number formats are chosen from: the ranges that calibration saw, and the bits.

    ``several_tokens``  the calibration text has more than one kind of token.
    ``densities``       population -> share of its events that it sends; others: as calibration saw.
    ``units``           population -> real value of one payload unit, where it is chosen already.
    """

    statistics: Statistics
    weight_bits: int
    activation_bits: int
    calibration_sha256: str
    several_tokens: bool = True
    densities: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Lowered:
    """A graph, and the real value of one payload unit of the populations that feed matrices."""

    graph: SpikingGraph
    units: Mapping[str, float]


def calibrated(
    model: SpikeGPT,
    calibration: NDArray[np.int64],
    weight_bits: int,
    activation_bits: int,
    progress: Callable[[int, int], None] | None = None,
) -> Formats:
    """Run the calibration text through the model; ``progress`` counts its windows."""
    return Formats(
        calibrate(model, calibration, progress),
        weight_bits,
        activation_bits,
        hashlib.sha256(calibration.tobytes()).hexdigest(),
        several_tokens=bool((calibration != calibration[0]).any()),
    )


def lower_calibrated(
    model: SpikeGPT, formats: Formats, progress: Callable[[int], None] = lambda _: None
) -> Lowered:
    """Lower ``model`` in ``formats``; ``progress`` counts layers and the head.

    Payloads depend on the formats alone: models that differ in matrices have the same units.
    """
    lowering = _Lowering(model, formats)
    return Lowered(lowering.graph(progress), lowering.unit)


def check_request(model: SpikeGPT, weight_bits: int, activation_bits: int) -> None:
    """Refuse what cannot be lowered, before any long work; see :func:`lower`."""
    for name, bits in (("weight", weight_bits), ("activation", activation_bits)):
        if bits not in BITS:
            raise UsageError(f"{name} bits {bits} are not supported; choose 4, 6 or 8")
    check_lif(model.shape.lif, model.provenance.file)


def check_lif(lif: LIFParameters, file: str) -> None:
    """Refuse a neuron that Lava's stock LIF cannot be, before any long work."""
    if lif.reset != 0:
        raise UnsupportedInput(
            f"{file}: LIF resets to {lif.reset:g}; Lava's stock LIF resets to 0 and to nothing else"
        )
    if lif.tau < 1 or lif.threshold <= 0:
        raise UnsupportedInput(
            f"{file}: LIF with tau {lif.tau:g} and threshold {lif.threshold:g}: "
            "expected tau >= 1 and threshold > 0"
        )


def lif_program(lif: LIFParameters, largest: float) -> LIF:
    """Lava's stock LIF for a checkpoint's neuron whose input z reaches the magnitude ``largest``.

    du = 4095 leaves u the input of one token; dv = 4096 / tau. The threshold mantissa sets the
    resolution: as large as a membrane that gathers ``largest`` for ever, with headroom, allows.
    A slow membrane would be left with a coarse threshold, and loses a whole unit per token where
    1/tau of it is less: so there the threshold has at least tau units. Then a membrane that gathers
    -``largest`` for thousands of tokens saturates.
    """
    steady_state = HEADROOM * largest * lif.gain * lif.tau / lif.threshold
    roomy = int(MEMBRANE_LIMIT / (1 << CURRENT_SHIFT) / max(steady_state, 1.0))
    fine = min(VTH_FINE, int(lif.tau / (1 << CURRENT_SHIFT)))
    vth = min(VTH_MAX, max(1, roomy, fine))
    return LIF(du=DECAY_ONE - 1, dv=round(DECAY_ONE / lif.tau), vth=vth)


def current_per_unit(lif: LIFParameters, program: LIF) -> float:
    """Units of the LIF's input for one real unit of z.

    The comparison is strict, so the real threshold stands for 64 vth + 1 units of the
    membrane; the input's gain (1/tau where decay_input) is folded in.
    """
    membrane_per_unit = ((program.vth << CURRENT_SHIFT) + 1) / lif.threshold
    return lif.gain * membrane_per_unit / (1 << CURRENT_SHIFT)


@dataclass(frozen=True)
class _Source:
    """Where a mixing reads: a population, and the shift that brings it to the stream's fraction."""

    name: str
    shift: int


@dataclass(frozen=True)
class _Sink:
    """What a mixing delivers: payload units for one real unit, in how many bits."""

    per_unit: float
    bits: int


Mix = Callable[[_Source, _Sink], str]


@dataclass
class _Lowering:
    """The graph under construction.

    Every method adds populations and projections and returns the name of the population that
    its part ends in. ``unit`` holds the real value of one payload unit of the populations that
    feed dense projections.
    """

    model: SpikeGPT
    formats: Formats
    populations: list[Population] = field(default_factory=list)
    projections: list[Projection] = field(default_factory=list)
    unit: dict[str, float] = field(default_factory=dict)
    ranges: Ranges = field(init=False)

    def __post_init__(self) -> None:
        self.ranges = Ranges(self.model.provenance.file)

    def graph(self, progress: Callable[[int], None]) -> SpikingGraph:
        """Lower everything; ``progress`` counts layers and the head."""
        stream = self.embed()
        for layer in range(self.model.shape.layers):
            stream = self.block(layer, stream)
            progress(layer + 1)
        self.head(stream)
        progress(self.model.shape.layers + 1)
        graph = SpikingGraph(
            shape=self.model.shape,
            populations=tuple(self.populations),
            projections=tuple(self.projections),
            logit_scale=2.0**-LOGIT_FRACTION,
            weight_bits=self.formats.weight_bits,
            activation_bits=self.formats.activation_bits,
            vocabulary=self.model.vocabulary,
            provenance={
                "source_file": readable(self.model.provenance.file),
                "source_format": self.model.provenance.format,
                "source_sha256": self.model.provenance.sha256,
                "vocabulary_file": self.model.provenance.vocabulary_file,
                "calibration_tokens_sha256": self.formats.calibration_sha256,
                "tool_version": __version__,
            },
            lif_origin=self.model.lif_origin,
            remarks=merged(self.ranges.remarks),
        ).validate()
        return self.sparse(graph)

    def sparse(self, graph: SpikingGraph) -> SpikingGraph:
        """The graph with the checkpoint's dead zones, and without the synapses that it lacks."""
        zones = {
            name: self.dead_zone(name, graph.by_name[name].events) for name in self.model.dead_zones
        }
        graph = graph.with_dead_zones(zones) if zones else graph
        return graph.with_sparse_weights() if self.model.pruned else graph

    def dead_zone(self, population: str, events: EventFormat) -> IntArray:
        """Real thresholds in units of the payload, which is rounded."""
        thresholds = np.asarray(self.model.dead_zones[population], np.float64)
        with np.errstate(over="ignore"):  # beyond every payload
            return whole(thresholds / self.unit[population], events)

    # The model, in the order data flows.

    def embed(self) -> str:
        """Embedding and LN0, the beginning of the residual stream."""
        table = self.tensor("emb.weight")
        if self.model.shape.spike_embedding:
            self.add("embedding", Embedding((table >= 0).astype(np.uint8)))
            return self.norm("ln0", "blocks.0.ln0", _Source("embedding", STREAM_FRACTION))
        fraction = fraction_for(float(np.abs(table).max()), bits=16, at_most=20)
        rows = self.ranges.fixed("emb.weight", table, fraction, 16).astype(np.int16)
        self.add("embedding", Embedding(rows))
        return self.norm("ln0", "blocks.0.ln0", _Source("embedding", 0), fraction)

    def block(self, layer: int, stream: str) -> str:
        """Both branches: x + LIF1(TimeMix(LN1 x)), then x + LIF2(ChannelMix(LN2 x))."""
        every = self.model.shape.rescale_every
        divisor = 2.0 ** (layer // every) if every else 1.0
        halve = int(every > 0 and (layer + 1) % every == 0)
        first: Mix = partial(self.time_mix, f"blocks.{layer}.att", divisor)
        if layer == 0 and self.model.shape.ffn_pre:
            first = partial(self.channel_mix, "blocks.0.ffnPre", 1.0)
        stream = self.half(layer, 1, stream, first, halve=0)
        second = partial(self.channel_mix, f"blocks.{layer}.ffn", divisor)
        return self.half(layer, 2, stream, second, halve)

    def half(self, layer: int, half: int, stream: str, mix: Mix, halve: int) -> str:
        """One residual branch: LN, mixing, LIF (the LIF before the mixing if ``spike_input``)."""
        norm, lif = f"blocks.{layer}.ln{half}", f"blocks.{layer}.lif{half}"
        residual = f"blocks.{layer}.residual{half}"
        program, per_unit = self.lif(layer, half)
        self.norm(norm, norm, _Source(stream, 0))
        if self.model.shape.spike_input:
            factor = np.full(self.width, per_unit / STREAM_ONE)
            self.one_to_one(norm, f"{lif}.input", "input")
            self.requantize(f"{lif}.input", factor, CURRENT_BITS, f"{norm}.weight")
            self.fire(lif, f"{lif}.input", program)
            branch = mix(_Source(lif, STREAM_FRACTION), _Sink(STREAM_ONE, STATE_BITS_MAX))
            return self.join(residual, stream, _Source(branch, 0), halve)
        self.fire(lif, mix(_Source(norm, 0), _Sink(per_unit, CURRENT_BITS)), program)
        return self.join(residual, stream, _Source(lif, STREAM_FRACTION), halve)

    def time_mix(self, prefix: str, divisor: float, source: _Source, sink: _Sink) -> str:
        """TimeMix (SRWKV): mixes, key, value, receptance, WKV, output projection."""
        wkv, requantize = f"{prefix}.wkv", f"{prefix}.requantize"
        units = {
            port: self.dense(
                f"{prefix}.{port}", self.mix(f"{prefix}.mix_{port[0]}", source), wkv, port
            )
            for port in WKV.ports
        }
        self.wkv(prefix, units)
        output = self.dense(f"{prefix}.output", wkv, requantize, "input")
        factor = output * sink.per_unit / divisor
        tensors = f"{prefix}.output.weight or the value.weight before it"
        return self.requantize(requantize, factor, sink.bits, tensors)

    def channel_mix(self, prefix: str, divisor: float, source: _Source, sink: _Sink) -> str:
        """ChannelMix (SRFFN): mixes, key, squared ReLU, value gated by the receptance."""
        hidden, gate = f"{prefix}.squared_relu", f"{prefix}.gate"
        key = self.dense(f"{prefix}.key", self.mix(f"{prefix}.mix_k", source), hidden, "key")
        self.squared_relu(hidden, key)
        value = self.dense(f"{prefix}.value", hidden, gate, "value")
        mix_r = self.mix(f"{prefix}.mix_r", source)
        receptance = self.dense(f"{prefix}.receptance", mix_r, gate, "receptance")
        value_mantissa, value_shift = self.ranges.factor(
            value * sink.per_unit / divisor,
            f"{prefix}.value.weight or the key.weight before it",
            TOO_LARGE,
        )
        receptance_mantissa, receptance_shift = self.sigmoid_input(prefix, receptance)
        program = Gate(
            value_mantissa, value_shift, receptance_mantissa, receptance_shift, sink.bits
        )
        return self.add(gate, program)

    def head(self, stream: str) -> str:
        """LN_out, its quantizer, the head's projection, the logits."""
        norm = self.norm("ln_out", "ln_out", _Source(stream, 0))
        unit = self.choose(HEAD_INPUT, "ln_out", self.payload)
        self.one_to_one(norm, HEAD_INPUT, "input")
        factor = np.full(self.width, 1 / (unit * STREAM_ONE))
        self.requantize(
            HEAD_INPUT,
            factor,
            self.formats.activation_bits,
            "ln_out.weight",
            TOO_SMALL,
            quantizer=True,
        )
        accumulated = self.dense("head", HEAD_INPUT, "logits", "input", tap="ln_out")
        factor = accumulated * 2.0**LOGIT_FRACTION
        return self.requantize("logits", factor, STATE_BITS_MAX, "head.weight")

    # Populations.

    def norm(
        self, name: str, tensor: str, source: _Source, input_fraction: int = STREAM_FRACTION
    ) -> str:
        weight, bias = self.tensor(f"{tensor}.weight"), self.tensor(f"{tensor}.bias")
        largest = float(np.abs(weight).max())
        fraction = fraction_for(largest, NORM_WEIGHT_BITS, at_most=14)
        if fraction < WEIGHT_FRACTION_MIN:
            raise UnsupportedInput(
                f"{self.ranges.file}: {tensor}.weight reaches {largest:.3g}, the graph holds up to "
                f"{2.0 ** (NORM_WEIGHT_BITS - 1 - WEIGHT_FRACTION_MIN):.3g}; check that tensor"
            )
        tap = self.formats.statistics[source.name]
        self.ranges.norm(tensor, tap, input_fraction, self.formats.several_tokens)
        self.ranges.reach(
            f"{tensor}.weight", "what it gives", self.formats.statistics[name].largest, STREAM_LIMIT
        )
        mean_shift = 23 + self.width.bit_length() - 1
        root_mantissa, root_shift = scalar_multiplier(float(np.sqrt(self.width)))
        program = LayerNorm(
            weight=self.ranges.fixed(f"{tensor}.weight", weight, fraction, NORM_WEIGHT_BITS),
            bias=self.ranges.fixed(f"{tensor}.bias", bias, STREAM_FRACTION, STATE_BITS_MAX),
            weight_fraction=fraction,
            output_fraction=STREAM_FRACTION,
            mean_mantissa=round(2**mean_shift / self.width),
            mean_shift=mean_shift,
            root_mantissa=root_mantissa,
            root_shift=root_shift,
            epsilon=max(1, round(self.width * EPSILON * 4.0**input_fraction)),
        )
        self.one_to_one(source.name, name, "input", source.shift)
        return self.add(name, program)

    def mix(self, name: str, source: _Source) -> str:
        """A token mix; ``name`` ends in the letter of its coefficient, time_mix_<letter>."""
        prefix, letter = name.rsplit(".mix_", 1)
        unit = self.choose(name, name, self.payload)
        tensor = f"{prefix}.time_mix_{letter}"
        mantissa, shift = self.ranges.factor(
            np.full(self.width, 1 / (unit * STREAM_ONE)), f"{tensor}{OR_NORM}", TOO_SMALL
        )
        program = TokenMix(
            coefficient=self.ranges.fixed(
                tensor, self.tensor(tensor), COEFFICIENT_FRACTION, COEFFICIENT_BITS
            ),
            mantissa=mantissa,
            shift=shift,
            bits=self.formats.activation_bits,
        )
        self.one_to_one(source.name, name, "input", source.shift)
        return self.add(name, program)

    def wkv(self, prefix: str, units: dict[str, NDArray[np.float64]]) -> str:
        """The WKV population, for ports whose accumulators have the real ``units``."""
        key = self.formats.statistics[f"{prefix}.key"].largest
        self.ranges.reach(f"{prefix}.key.weight", "the key", key, EXPONENT_LIMIT)
        largest = HEADROOM * self.formats.statistics[f"{prefix}.value"].largest
        value_fraction = fraction_for(largest, VALUE_BITS, at_most=14)
        unit = self.choose(f"{prefix}.wkv", f"{prefix}.wkv", self.payload)
        factor = self.ranges.factor
        key_mantissa, key_shift = factor(
            units["key"] * LOG2_E * 2.0**EXPONENT_FRACTION,
            f"{prefix}.key.weight{OR_NORM}",
            TOO_LARGE,
        )
        value_mantissa, value_shift = factor(
            units["value"] * 2.0**value_fraction, f"{prefix}.value.weight{OR_NORM}", TOO_LARGE
        )
        receptance_mantissa, receptance_shift = self.sigmoid_input(prefix, units["receptance"])
        output_mantissa, output_shift = factor(
            np.full(self.width, 2.0**-value_fraction / unit),
            f"{prefix}.value.weight or its receptance.weight",
            TOO_SMALL,
        )
        with np.errstate(over="ignore"):  # beyond the range, which is told
            decay = -np.exp(self.tensor(f"{prefix}.time_decay"))
        program = WKV(
            decay=self.exponent(f"exp of {prefix}.time_decay", decay, NOTHING_LEFT),
            first=self.exponent(f"{prefix}.time_first", self.tensor(f"{prefix}.time_first")),
            key_mantissa=key_mantissa,
            key_shift=key_shift,
            value_mantissa=value_mantissa,
            value_shift=value_shift,
            receptance_mantissa=receptance_mantissa,
            receptance_shift=receptance_shift,
            output_mantissa=output_mantissa,
            output_shift=output_shift,
            bits=self.formats.activation_bits,
        )
        return self.add(f"{prefix}.wkv", program)

    def squared_relu(self, name: str, key_unit: NDArray[np.float64]) -> str:
        events = EventFormat(self.formats.activation_bits, signed=False)
        tap = self.formats.statistics[name]
        unit = self.choose(name, name, events)
        largest_key = HEADROOM * float(np.sqrt(tap.largest))
        key_fraction = fraction_for(largest_key, KEY_BITS + 1, at_most=10)
        tensor = f"{name.removesuffix('.squared_relu')}.key.weight{OR_NORM}"
        mantissa, shift = self.ranges.factor(key_unit * 2.0**key_fraction, tensor, TOO_LARGE)
        square = np.array([4.0**-key_fraction / unit])
        (square_mantissa,), (square_shift,) = self.ranges.factor(square, tensor, TOO_SMALL)
        program = SquaredReLU(
            mantissa, shift, int(square_mantissa), int(square_shift), self.formats.activation_bits
        )
        return self.add(name, program)

    def requantize(
        self,
        name: str,
        factor: NDArray[np.float64],
        bits: int,
        tensor: str,
        problem: str = "",
        quantizer: bool = False,
    ) -> str:
        """``tensor`` and its ``problem``: what to name where the factor is out of range."""
        scaled = self.ranges.factor(factor, tensor, problem or TOO_LARGE)
        return self.add(name, Requantize(*scaled, bits, quantizer))

    def lif(self, layer: int, half: int) -> tuple[LIF, float]:
        """The LIF after (or before) a mixing, and the current that stands for z = 1."""
        mix = "ffn" if half == 2 else "ffnPre" if layer == 0 and self.model.shape.ffn_pre else "att"
        tap = f"blocks.{layer}.{mix}." + ("output" if mix == "att" else "gate")
        if self.model.shape.spike_input:
            tap = f"blocks.{layer}.ln{half}"
        program = lif_program(self.model.shape.lif, self.formats.statistics[tap].largest)
        self.ranges.lif(f"blocks.{layer}.lif{half}", self.model.shape.lif, program)
        return program, current_per_unit(self.model.shape.lif, program)

    def fire(self, name: str, current: str, program: LIF) -> str:
        self.one_to_one(current, name, "current")
        return self.add(name, program)

    def join(self, name: str, stream: str, branch: _Source, halve: int) -> str:
        self.one_to_one(stream, name, "stream")
        self.one_to_one(branch.name, name, "branch", branch.shift)
        self.ranges.reach(name, "the stream", self.formats.statistics[name].largest, STREAM_LIMIT)
        return self.add(name, Residual(halve))

    def add(self, name: str, program: Program) -> str:
        sizes = {"logits": self.model.shape.vocab_size}
        hidden = self.model.shape.hidden if program.kind == SquaredReLU.kind else self.width
        self.populations.append(Population(name, sizes.get(name, hidden), program))
        return name

    # Projections and tensors.

    def dense(
        self, name: str, source: str, target: str, port: str, tap: str | None = None
    ) -> NDArray[np.float64]:
        """Quantize ``name``.weight between two populations; the accumulators' real units (out,).

        ``tap``: where the calibration saw what the projection receives (default: ``source``).
        """
        weights, scale = quantize_weights(
            self.tensor(f"{name}.weight"),
            self.formats.weight_bits,
            self.formats.statistics[tap or source].second_moment,
        )
        if self.density(source, tap or source) < BY_SOURCE_BELOW:
            weights = np.asfortranarray(weights)
        self.projections.append(Projection(name, source, target, port, weights))
        return scale * self.unit[source]

    def choose(self, population: str, tap: str, events: EventFormat) -> float:
        """Real value of one payload unit of a population, whose values are those of ``tap``."""
        if population not in self.formats.units:
            self.unit[population] = event_scale(self.formats.statistics[tap], events)
        else:
            self.unit[population] = self.formats.units[population]
        return self.unit[population]

    def density(self, source: str, tap: str) -> float:
        """Share of the events that ``source`` sends, whose values calibration saw at ``tap``."""
        if source in self.formats.densities:
            return self.formats.densities[source]
        values = self.formats.statistics[tap].values
        return float(np.mean(np.abs(values) >= self.unit[source] / 2))

    def one_to_one(self, source: str, target: str, port: str, shift: int = 0) -> None:
        name = f"{source} -> {target}.{port}"
        self.projections.append(Projection(name, source, target, port, shift=shift))

    def exponent(self, tensor: str, values: FloatArray, so: str = DIFFERS) -> NDArray[np.int32]:
        """Natural exponents as powers of two with fraction 16 in 24 bits."""
        return self.ranges.fixed(
            tensor, values * LOG2_E, EXPONENT_FRACTION, STATE_BITS_MAX, unit=1 / LOG2_E, so=so
        )

    def sigmoid_input(
        self, prefix: str, unit: NDArray[np.float64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Mantissa and shift from accumulators of real ``unit`` to the sigmoid's argument."""
        factor = unit * 2.0**SIGMOID_INPUT_FRACTION
        return self.ranges.factor(factor, f"{prefix}.receptance.weight{OR_NORM}", TOO_LARGE)

    def tensor(self, name: str) -> FloatArray:
        tensor = np.asarray(self.model.tensors[name])
        return tensor if tensor.ndim == 2 else tensor.astype(np.float64)

    @property
    def width(self) -> int:
        return self.model.shape.width

    @property
    def payload(self) -> EventFormat:
        return EventFormat(self.formats.activation_bits, signed=True)
