"""Neuron programs: against their equations in real numbers, and one token against many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spikegpt_neuro.arithmetic.fixed_point import (
    ACCUMULATOR_LIMIT,
    multiplier,
    scalar_multiplier,
    to_fixed,
)
from spikegpt_neuro.neurons import PROGRAMS
from spikegpt_neuro.neurons.embedding import Embedding
from spikegpt_neuro.neurons.gate import Gate
from spikegpt_neuro.neurons.layer_norm import LayerNorm
from spikegpt_neuro.neurons.lif import LIF
from spikegpt_neuro.neurons.program import EventFormat, IntArray, Program
from spikegpt_neuro.neurons.requantize import Requantize
from spikegpt_neuro.neurons.residual import Residual
from spikegpt_neuro.neurons.squared_relu import SquaredReLU
from spikegpt_neuro.neurons.token_mix import TokenMix
from spikegpt_neuro.neurons.wkv import GUARD_BITS, VALUE_LIMIT, WKV, wkv_read, wkv_update

N = 6


def constant(factor: float) -> tuple[IntArray, IntArray]:
    return multiplier(np.full(N, factor))


def layer_norm(width: int = N, fraction: int = 12) -> LayerNorm:
    root, root_shift = multiplier([np.sqrt(width)])
    mean_shift = 23 + width.bit_length() - 1
    return LayerNorm(
        weight=to_fixed(np.linspace(-1.5, 2.5, width), 13, 16),
        bias=to_fixed(np.linspace(-0.5, 0.5, width), 12, 24),
        weight_fraction=13,
        output_fraction=12,
        mean_mantissa=round(2**mean_shift / width),
        mean_shift=mean_shift,
        root_mantissa=int(root[0]),
        root_shift=int(root_shift[0]),
        epsilon=max(1, round(width * 1e-5 * 4**fraction)),
    )


def wkv(decay: float = -0.1, first: float = 0.3) -> WKV:
    one = constant(1.0)
    return WKV(
        decay=np.full(N, round(decay * 65536), np.int32),
        first=np.full(N, round(first * 65536), np.int32),
        key_mantissa=one[0],
        key_shift=one[1],
        value_mantissa=one[0],
        value_shift=one[1],
        receptance_mantissa=one[0],
        receptance_shift=one[1],
        output_mantissa=constant(2**-7)[0],
        output_shift=constant(2**-7)[1],
        bits=8,
    )


EXAMPLES: dict[str, Program] = {
    "embedding": Embedding(np.eye(5, N, dtype=np.uint8)),
    "layer_norm": layer_norm(),
    "token_mix": TokenMix(to_fixed(np.linspace(-0.2, 1.3, N), 12, 16), *constant(0.02), bits=8),
    "wkv": wkv(),
    "requantize": Requantize(*constant(0.013), bits=8, quantizer=True),
    "lif": LIF(du=4095, dv=2048, vth=2040),
    "residual": Residual(halve=1),
    "squared_relu": SquaredReLU(*constant(0.001), *scalar_multiplier(0.01), bits=8),
    "gate": Gate(*constant(0.01), *constant(0.02), bits=18),
}

accumulated = arrays(np.int32, (7, N), elements=st.integers(-(2**25), 2**25))
ordinary = arrays(np.int32, (7, N), elements=st.integers(-(2**15), 2**15))


def test_every_program_has_an_example() -> None:
    assert EXAMPLES.keys() == PROGRAMS.keys()
    assert all(PROGRAMS[kind].kind == kind for kind in PROGRAMS)


@pytest.mark.parametrize("kind", sorted(set(PROGRAMS) - {"embedding"}))
@settings(max_examples=40)
@given(data=st.data())
def test_many_tokens_equal_one_by_one(kind: str, data: st.DataObject) -> None:
    program = EXAMPLES[kind]
    inputs = [data.draw(accumulated | ordinary) for _ in program.ports]
    copies = [array.copy() for array in inputs]
    together = program.advance(program.initial_state(N), *inputs)
    state, events, counts = program.initial_state(N), [], type(together.counts)()
    for t in range(7):
        step = program.advance(state, *(array[t : t + 1] for array in inputs))
        state = step.state
        events.append(step.events)
        counts += step.counts
    assert np.array_equal(together.events, np.concatenate(events))
    assert all(np.array_equal(a, b) for a, b in zip(together.state, state, strict=True))
    assert together.counts == counts
    assert all(np.array_equal(a, b) for a, b in zip(inputs, copies, strict=True))


@pytest.mark.parametrize("kind", sorted(set(PROGRAMS) - {"embedding"}))
@settings(max_examples=40)
@given(data=st.data())
def test_events_and_state_stay_in_their_formats(kind: str, data: st.DataObject) -> None:
    program = EXAMPLES[kind]
    inputs = [data.draw(accumulated) for _ in program.ports]
    advance = program.advance(program.initial_state(N), *inputs)
    assert advance.events.dtype == np.int32
    assert program.events.low <= advance.events.min()
    assert advance.events.max() <= program.events.high
    if kind != "token_mix":  # holds what it receives, which its source limits
        assert all(np.abs(state).max() <= 2**23 for state in advance.state)


def test_embedding_looks_rows_up() -> None:
    program = EXAMPLES["embedding"]
    tokens = np.array([[3], [0]], np.int32)
    assert program.advance((), tokens).events.tolist() == np.eye(5, N, dtype=int)[[3, 0]].tolist()
    assert program.events.is_binary
    assert Embedding(np.zeros((2, N), np.int16)).events == EventFormat(16, signed=True)


def test_lif_by_hand() -> None:
    """Real threshold 1 is 64 * 2040 + 1 = 130561 units of v; a = 1020 adds 65280 = 0.49999."""
    lif = LIF(du=4095, dv=2048, vth=2040)
    current = np.array([[1020], [1020], [2041], [2040], [-3]], np.int32)
    state, spikes, counts = lif.advance(lif.initial_state(1), current)
    # v: 65280; 32640 + 65280 = 97920; 48960 + 130624 = 179584 fires, v = 0; 130560 does not
    # exceed 64 * 2040; trunc(130560 / 2) - 192 = 65088.
    assert spikes[:, 0].tolist() == [0, 0, 1, 0, 0]
    assert [int(s[0]) for s in state] == [-192, 65088]
    assert counts.saturations == 0


def test_lif_decays_toward_zero_and_saturates() -> None:
    lif = LIF(du=4095, dv=2048, vth=2040)
    state, _, counts = lif.advance(
        (np.array([0, 0], np.int32), np.array([-3, 3], np.int32)), np.zeros((1, 2), np.int32)
    )
    assert state[1].tolist() == [-1, 1]
    most = np.full((3, 1), -131071, np.int32)
    state, _, counts = lif.advance(lif.initial_state(1), most)
    assert state[1].tolist() == [-(2**23 - 1)]
    assert counts.saturations == 2


@settings(max_examples=60)
@given(arrays(np.float64, (9, N), elements=st.floats(-20, 20)))
def test_layer_norm_is_close_to_its_equation(x: np.ndarray) -> None:
    program = layer_norm()
    fixed = to_fixed(x, 12, 24)
    real = fixed / 4096
    y = program.advance((), fixed).events / 4096
    centered = real - real.mean(1, keepdims=True)
    exact = centered / np.sqrt((centered**2).mean(1, keepdims=True) + 1e-5)
    exact = exact * (program.weight / 2**13) + program.bias / 4096
    # c is known to half a unit: the smaller the spread, the larger its share.
    spread = np.sqrt((centered**2).mean(1, keepdims=True) + 1e-5)
    tolerance = 2.5 * (2**-12 + np.abs(exact) * 2**-13 + 2**-12 / spread)
    assert np.all(np.abs(y - exact) <= tolerance)


def test_layer_norm_of_equal_values_is_the_bias() -> None:
    program = layer_norm()
    y = program.advance((), np.full((1, N), 777, np.int32)).events
    assert np.abs(y[0] - program.bias).max() <= 40  # the mean is rounded to 2**-12


def test_token_mix_by_hand() -> None:
    program = TokenMix(np.array([4096, 2048], np.int32), *multiplier([0.5, 0.5]), bits=8)
    y = np.array([[10, 10], [20, 20], [1000, -1000]], np.int32)
    state, payloads, counts = program.advance(program.initial_state(2), y)
    assert payloads.tolist() == [[5, 3], [10, 8], [127, -127]]
    assert state[0].tolist() == [1000, -1000]
    assert counts.clipped == 2
    assert counts.saturations == 0


def test_squared_relu_by_hand() -> None:
    program = SquaredReLU(*multiplier(np.ones(4)), 1 << 14, 16, bits=8)
    key = np.array([[-5, 3, 20, 5000]], np.int32)
    advance = program.advance((), key)
    assert advance.events.tolist() == [[0, 2, 100, 255]]
    assert advance.counts.saturations == 1
    assert advance.counts.clipped == 1


def test_gate_and_residual_and_requantize_by_hand() -> None:
    gate = Gate(*multiplier(np.ones(2)), *multiplier(np.ones(2)), bits=18)
    values = np.array([[1000, -1000]], np.int32)
    assert gate.advance((), values, np.zeros((1, 2), np.int32)).events.tolist() == [[500, -500]]
    x = np.array([[5, 2**23]], np.int32)
    assert Residual().advance((), x, x).events.tolist() == [[10, ACCUMULATOR_LIMIT]]
    assert Residual(halve=1).advance((), x, x * 0).events.tolist() == [[3, 2**22]]
    requantize = Requantize(*multiplier([0.25, 2.0]), bits=8, quantizer=False)
    advance = requantize.advance((), np.array([[10, 100]], np.int32))
    assert advance.events.tolist() == [[3, 127]]
    assert advance.counts == (1, 0)


@settings(max_examples=60)
@given(
    decay=st.floats(-3, -1e-4),
    first=st.floats(-2, 2),
    data=arrays(np.float64, (40, 2), elements=st.floats(-6, 6)),
)
def test_wkv_is_close_to_its_equation(decay: float, first: float, data: np.ndarray) -> None:
    """Against the plain sums in float64, in units of log 2."""
    k, v = np.round(data[:, 0] * 65536), np.round(data[:, 1] * 1024)
    w, u = round(decay * 65536), round(first * 65536)
    a, b, p = 0, 0, -ACCUMULATOR_LIMIT
    sum_a = sum_b = 0.0
    for key, value in zip(k.astype(int).tolist(), v.astype(int).tolist(), strict=True):
        bonus = 2.0 ** ((u + key) / 65536)
        exact = (sum_a + bonus * value) / (sum_b + bonus)
        assert abs(wkv_read(key, value, a, b, p, u) - exact) <= 2 + 6 * 1024 * 2.0**-12
        a, b, p = wkv_update(key, value, a, b, p, w)
        assert 1 << 21 <= b < 2 << 21
        sum_a = sum_a * 2.0 ** (w / 65536) + 2.0 ** (key / 65536) * value
        sum_b = sum_b * 2.0 ** (w / 65536) + 2.0 ** (key / 65536)


@settings(max_examples=200)
@given(
    decay=st.integers(-ACCUMULATOR_LIMIT, 0),
    first=st.integers(-ACCUMULATOR_LIMIT, ACCUMULATOR_LIMIT),
    tokens=st.lists(
        st.tuples(
            st.integers(-ACCUMULATOR_LIMIT, ACCUMULATOR_LIMIT),
            st.integers(-VALUE_LIMIT, VALUE_LIMIT),
        ),
        min_size=1,
        max_size=12,
    ),
)
def test_wkv_holds_its_invariants_at_the_limits(
    decay: int, first: int, tokens: list[tuple[int, int]]
) -> None:
    """b in [1, 2), |a| below twice the largest value, |wkv| no larger than the values."""
    a, b, p = 0, 0, -ACCUMULATOR_LIMIT
    largest = 0
    for k, v in tokens:
        largest = max(largest, abs(v))
        assert abs(wkv_read(k, v, a, b, p, first)) <= largest + 1
        a, b, p = wkv_update(k, v, a, b, p, decay)
        p = min(p, ACCUMULATOR_LIMIT)
        assert 1 << 21 <= b < 2 << 21
        assert abs(a) <= ((2 * largest) << GUARD_BITS) + 16
        assert p >= -ACCUMULATOR_LIMIT


def test_wrong_parameters_are_named() -> None:
    assert (
        "expected (3,)"
        in TokenMix(np.ones(2, np.int32), np.ones(3, np.int32), np.ones(3, np.int32), 8).problems(
            3
        )[0]
    )
    assert "int64" in Requantize(np.ones(3, np.int64), np.ones(3, np.int32), 8, True).problems(3)[0]
    assert "vth" in LIF(4095, 2048, 1 << 20).problems(3)[0]
    assert "halve" in Residual(5).problems(3)[0]
    assert wkv(decay=0.5).problems(N) == ["decay[0] is 32768, expected -8388607..0"]
    assert not any(program.problems(N) for program in EXAMPLES.values())
