"""Evaluation against sums worked out directly."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikegpt_neuro.backends.reference import ReferenceBackend
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.converters.reader import read_checkpoint
from spikegpt_neuro.errors import UnsupportedInput, UsageError
from spikegpt_neuro.evaluation import evaluate
from spikegpt_neuro.evaluation.corpus import held_out, python_documentation, training_part
from spikegpt_neuro.evaluation.evaluate import ROWS, Evaluation, encoded, surprisal
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.float_forward import FloatModel
from spikegpt_neuro.vocabulary import ByteVocabulary

from places import CHECKPOINT
from random_models import random_model, random_tokens

EXAMPLE = CHECKPOINT
MODEL = random_model(layers=2, width=16, vocab_size=256, seed=7)
TOKENS = random_tokens(MODEL, 150)
WINDOW = 32
MODULE = sys.modules[evaluate.__module__]


@pytest.fixture(scope="module")
def graph() -> SpikingGraph:
    return lower(MODEL, random_tokens(MODEL, 600, seed=3))


def test_surprisal_of_equal_logits_is_the_log_of_their_number() -> None:
    count = 2 * ROWS + 3
    targets = np.zeros(count, np.int64)
    assert surprisal(np.full((count, 8), 5.0), targets) == pytest.approx(3 * count)


def test_surprisal_by_hand() -> None:
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]]))
    assert surprisal(logits, np.array([1, 0])) == pytest.approx(2 + 3)
    assert surprisal(logits + 1e6, np.array([1, 0])) == pytest.approx(5, abs=1e-6)


def test_every_token_but_the_first_is_scored_once(graph: SpikingGraph) -> None:
    bits, scored, saturations, clipped = 0.0, 0, 0, 0
    for start in range(0, len(TOKENS) - 1, WINDOW):
        window = TOKENS[start : start + WINDOW]
        run = ReferenceBackend().run(graph, window)
        saturations += run.saturations
        clipped += sum(count.clipped for count in run.counts.values())
        for row, target in zip(run.logits, TOKENS[start + 1 : start + WINDOW + 1], strict=False):
            p = np.exp(row.astype(float)) / np.exp(row.astype(float)).sum()
            bits -= math.log2(p[target])
            scored += 1
    result = evaluate(graph, TOKENS, window=WINDOW)
    assert result.tokens == scored == len(TOKENS) - 1
    assert result.bits_per_token == pytest.approx(bits / scored, rel=1e-6)
    assert result.perplexity == pytest.approx(2 ** (bits / scored), rel=1e-5)
    assert (result.saturations, result.clipped) == (saturations, clipped)
    assert f"{WINDOW} tokens" in result.protocol
    assert result.float_bits_per_token is result.delta_bits_per_token is None
    assert result.spike_mismatch is result.bits_per_byte is None


def test_the_window_changes_the_context(graph: SpikingGraph) -> None:
    short, whole = (evaluate(graph, TOKENS, window=w).bits_per_token for w in (1, len(TOKENS)))
    assert short != whole


def test_bytes_are_counted_in_utf8(graph: SpikingGraph) -> None:
    speaking = replace(graph, vocabulary=ByteVocabulary())
    tokens = ByteVocabulary().encode("é" * 40)
    result = evaluate(speaking, tokens, window=WINDOW)
    assert result.bits_per_byte == pytest.approx(result.bits_per_token)


def test_beside_the_float_model(graph: SpikingGraph) -> None:
    floating = FloatModel(MODEL)
    progress: list[tuple[int, int]] = []
    result = evaluate(
        graph,
        TOKENS,
        window=WINDOW,
        against=floating,
        limit=WINDOW + 1,
        progress=lambda done, total: progress.append((done, total)),
    )
    logits = floating.logits(TOKENS[:WINDOW])
    expected = surprisal(logits, TOKENS[1 : WINDOW + 1]) / WINDOW
    assert result.tokens == WINDOW
    assert progress == [(WINDOW, WINDOW)]
    assert result.float_bits_per_token == pytest.approx(expected)
    assert result.delta_bits_per_token == pytest.approx(result.bits_per_token - expected)

    run = ReferenceBackend().run(graph, TOKENS[:WINDOW])
    names = [name for name in run.spikes if name != "embedding"]
    float_spikes = floating.forward(TOKENS[:WINDOW]).spikes
    differing = sum(int((run.spikes[n] != float_spikes[n]).sum()) for n in names)
    assert len(names) == 2 * MODEL.shape.layers
    assert result.spike_mismatch == differing / sum(run.spikes[n].size for n in names)


def test_refusals(graph: SpikingGraph) -> None:
    with pytest.raises(UnsupportedInput, match="at least 2"):
        evaluate(graph, TOKENS[:1])
    with pytest.raises(UnsupportedInput, match="300"):
        evaluate(graph, np.array([1, 300]))
    with pytest.raises(UsageError, match="window"):
        evaluate(graph, TOKENS, window=0)
    other = FloatModel(random_model(layers=1, width=16, vocab_size=256))
    with pytest.raises(UnsupportedInput, match="differ in shape"):
        evaluate(graph, TOKENS, against=other)


@pytest.mark.parametrize(("weight_bits", "limit"), [(8, 0.005), (4, 0.03)])
def test_the_example_keeps_its_fidelity(weight_bits: int, limit: float) -> None:
    """On 51,200 held-out tokens of the example: bits per token, saturations, spikes."""
    pytest.importorskip("torch", reason="reading .pth needs torch")
    model = read_checkpoint(EXAMPLE)
    assert model.vocabulary is not None
    text = python_documentation()
    training, unseen = (
        model.vocabulary.encode(part, unknown="replace")
        for part in (training_part(text), held_out(text))
    )
    graph = lower(model, training, weight_bits=weight_bits)
    result = evaluate(graph, unseen, limit=51_201, against=FloatModel(model))
    assert result.tokens == 51_200
    assert result.delta_bits_per_token is not None
    assert abs(result.delta_bits_per_token) < limit
    assert result.spike_mismatch is not None
    assert result.spike_mismatch < (0.05 if weight_bits == 8 else 0.08)
    if weight_bits == 8:
        assert result.saturations == 0


@given(st.binary(min_size=1, max_size=40), st.integers(1, 5))
def test_a_text_is_as_long_in_parts_as_in_one(raw: bytes, part: int) -> None:
    """Characters of several bytes are cut anywhere, and bytes may be no text at all."""
    vocabulary = ByteVocabulary()
    tokens = np.frombuffer(raw, np.uint8).astype(np.int64)
    whole = vocabulary.decode(tokens).encode("utf-8")
    assert b"".join(encoded(vocabulary, tokens, part)) == whole


def test_threads_and_windows_at_once_change_no_figure(
    graph: SpikingGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for threads, together in ((1, WINDOW), (1, 3 * WINDOW), (3, 3 * WINDOW), (3, WINDOW)):
        monkeypatch.setattr(MODULE, "most_threads", lambda threads=threads: threads)
        monkeypatch.setattr(MODULE, "BATCH_TOKENS", together)
        found.append(evaluate(graph, TOKENS, window=WINDOW, against=FloatModel(MODEL)))
    for other in found[1:]:
        assert other.float_bits_per_token == pytest.approx(found[0].float_bits_per_token, rel=1e-6)
        assert _without_float_bits(other) == _without_float_bits(found[0])


def _without_float_bits(found: Evaluation) -> Evaluation:
    return replace(found, float_bits_per_token=None, delta_bits_per_token=None)
