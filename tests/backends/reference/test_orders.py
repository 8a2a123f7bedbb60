"""Matrices are laid out in the order that is quicker for their events; integers stay the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikegpt_neuro.arithmetic.packing import pack
from spikegpt_neuro.backends.reference import orders
from spikegpt_neuro.backends.reference.backend import ReferenceBackend
from spikegpt_neuro.backends.reference.instructions import chosen
from spikegpt_neuro.backends.reference.stepper import Stepper
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.model.synthetic import random_model, random_tokens

TOKENS = 80

needs_bytes = pytest.mark.skipif(
    chosen() is None, reason="numba compiles for no product of bytes here"
)


@given(st.integers(1, 70), st.integers(1, 140), st.integers(0, 2**32 - 1))
def test_turned_weights_are_those_of_the_other_order(rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for lowest, packed in ((-128, False), (-8, True)):
        weights = rng.integers(lowest, -lowest, (rows, columns), dtype=np.int8)
        laid_out, expected = (
            (pack(weights), pack(np.ascontiguousarray(weights.T)))
            if packed
            else (weights, weights.T)
        )
        assert np.array_equal(orders.turned(laid_out, columns, packed=packed), expected)


@needs_bytes
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_session_that_turns_its_matrices_gives_the_same_integers(bits: int, threads: int) -> None:
    model = random_model(2, 160, 97)
    graph = lower(model, random_tokens(model, 64), weight_bits=bits)
    text = random_tokens(model, TOKENS, seed=3)
    expected = ReferenceBackend().run(graph, text, record="logits").logits_int
    for break_even in (2.0, 0.0):  # all by source, where no event is silent; none
        stepper = Stepper(graph, threads)
        stepper.break_even = break_even
        for token, logits in zip(text, expected, strict=True):
            assert np.array_equal(stepper.step(int(token)), logits)
        dense = {q.name for q in graph.projections if q.is_dense}
        assert stepper.by_source == (dense if break_even else frozenset())
        stepper.close()


@needs_bytes
def test_the_break_even_is_a_share_that_is_measured() -> None:
    memory = np.ones(1 << 24, np.int8)
    for packed in (False, True):
        assert orders.LEAST <= orders.break_even(memory, packed=packed) <= orders.MOST
    assert orders.break_even(memory[: 1 << 20], packed=False) == orders.UNMEASURED
