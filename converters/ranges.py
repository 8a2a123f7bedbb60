"""What of a model the graph's number formats cannot hold, in words.

Values that a format limits are told in a remark: the graph computes something else there. What no
format can stand for is an error that names the file, the tensor and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.fixed_point import (
    ACCUMULATOR_LIMIT,
    MANTISSA_BITS,
    multiplier,
    to_fixed,
)
from spikegpt_neuro.arithmetic.tables import EXPONENT_FRACTION
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.model.float_forward import LAYER_NORM_EPSILON
from spikegpt_neuro.model.spikegpt import FloatArray, LIFParameters
from spikegpt_neuro.neurons.layer_norm import CENTERED_LIMIT
from spikegpt_neuro.neurons.lif import DECAY_ONE, LIF
from spikegpt_neuro.quantization.calibration import TapStatistics

FACTOR_LIMIT = 1 << MANTISSA_BITS
EXPONENT_LIMIT = ACCUMULATOR_LIMIT / 2.0**EXPONENT_FRACTION * float(np.log(2.0))
"""Largest magnitude of a key, in natural units: e^88.7."""

NOISE_MAX = 0.005
"""Standard error of a normalized value above which LayerNorm's input is too nearly constant: half
the rounding of an 8-bit payload of a normal variable."""

DIFFERS = "the graph differs from the float model"
CONSTANT = 0.02  # of a step: a constant, which rounds to one integer in all channels
VTH_COARSE = 4  # the rounding of the input is up to an eighth of the threshold
LEAK_ERROR_MAX = 0.05
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")


@dataclass
class Ranges:
    """Converts a model's reals to fixed point, and keeps what a user should know of it.

    ``file``  of the checkpoint, for errors.
    """

    file: str
    remarks: list[str] = field(default_factory=list)

    def fixed(
        self,
        tensor: str,
        values: FloatArray,
        fraction: int,
        bits: int,
        unit: float = 1.0,
        so: str = DIFFERS,
    ) -> NDArray[np.int32]:
        """:func:`to_fixed`, with a remark where values exceed the format by more than rounding.

        ``unit``: what the values are multiples of in the tensor's terms; ``so``: what follows.
        """
        limit = (1 << (bits - 1)) - 1
        beyond = int(np.count_nonzero(np.abs(values) * 2.0**fraction >= limit + 1))
        if beyond:
            largest, held = np.abs(values).max() * unit, limit * 2.0**-fraction * unit
            self.remarks.append(
                f"{tensor}: {beyond} of {values.size} values lie beyond +-{held:.6g}, the largest "
                f"at {largest:.6g}, and are held there: {so}"
            )
        return to_fixed(values, fraction, bits)

    def factor(
        self, factor: NDArray[np.float64], tensor: str, problem: str
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """:func:`multiplier`; where a factor exceeds it, ``tensor`` is named with its problem."""
        largest = float(np.max(factor, initial=0.0))
        if not largest < FACTOR_LIMIT - 0.5:  # just below, its mantissa would be rounded up
            raise UnsupportedInput(
                f"{self.file}: {tensor} {problem} (a scale factor of {largest:.6g}, the limit is "
                f"{FACTOR_LIMIT}); a trained SpikeGPT stays far below: check how the file was "
                "made, or calibrate on a text that the model was trained for (calibration=...)"
            )
        return multiplier(factor)

    def reach(self, tensor: str, tap: str, largest: float, limit: float) -> None:
        """Remark on values that calibration saw beyond what a state holds."""
        if largest > limit:
            self.remarks.append(
                f"{tensor}: {tap} reaches {largest:.6g} on the calibration text, the graph holds "
                f"+-{limit:.6g}: what lies beyond saturates, and {DIFFERS}"
            )

    def norm(self, name: str, source: TapStatistics, fraction: int, several: bool) -> None:
        """Remark on a LayerNorm whose input is too large, or too nearly constant, for its step.

        A step of 2^-fraction has a standard error of 2^-fraction / sqrt(12), which LayerNorm
        multiplies by 1 / sqrt(variance + 1e-5). ``several``: the text has more than one token id.
        """
        self.reach(name, "its centered input", source.centered, CENTERED_LIMIT * 2.0**-fraction)
        step = 2.0**-fraction
        noise = step / float(np.sqrt(12)) / np.sqrt(source.spread**2 + LAYER_NORM_EPSILON)
        if source.spread > CONSTANT * step and noise > NOISE_MAX:
            self.remarks.append(
                f"{name}: its input is nearly constant (a standard deviation of "
                f"{source.spread:.2g} over the channels), so that LayerNorm enlarges the rounding "
                f"of 2^-{fraction} to {noise:.2g}: the graph may differ from the float model"
            )
        if not source.varies and several:
            self.remarks.append(
                f"{name}: its input is the same for every token of the calibration text; spikes "
                "then repeat at every token, and one that rounding flips is flipped at all of them"
            )

    def lif(self, name: str, lif: LIFParameters, program: LIF) -> None:
        """Remark on a neuron that Lava's stock LIF stands for only roughly."""
        self.remarks += [f"{name}: {text}" for text in _lif_remarks(lif, program)]


def merged(remarks: list[str]) -> tuple[str, ...]:
    """Remarks that differ in numbers only as one: the first, which counts the other places."""
    alike: dict[str, list[tuple[str, str]]] = {}
    for remark in remarks:
        place, _, text = remark.partition(": ")
        alike.setdefault(NUMBER.sub("", text), []).append((place, text))
    return tuple(
        f"{found[0][0]}{f' and {len(found) - 1} more' if found[1:] else ''}: {found[0][1]}"
        for found in alike.values()
    )


def _lif_remarks(lif: LIFParameters, program: LIF) -> Iterator[str]:
    leak = DECAY_ONE / lif.tau
    if abs(program.dv - leak) > LEAK_ERROR_MAX * leak:
        stands_for = f"tau {DECAY_ONE / program.dv:g}" if program.dv else "no leak at all"
        yield (
            f"tau {lif.tau:g} is more than Lava's LIF resolves, which leaks in steps of "
            f"1/{DECAY_ONE}: it becomes {stands_for}"
        )
    if program.vth < VTH_COARSE:
        yield (
            f"its input reaches so far beyond the threshold that this is {program.vth} of the "
            "units to which the input is rounded: spikes may differ from the float model"
        )
