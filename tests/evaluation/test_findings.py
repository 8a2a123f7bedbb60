"""Remarks on what is odd: each sign alone, and none on the example."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from spikegpt_neuro.backends.reference import ReferenceBackend
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.evaluation import evaluate
from spikegpt_neuro.evaluation.findings import QUESTION, Observed
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.spikegpt import FloatArray, SpikeGPT
from spikegpt_neuro.neurons.program import Counts

from random_models import random_model, random_tokens

MODEL = random_model(layers=2, width=32, vocab_size=96, seed=3)
TOKENS = random_tokens(MODEL, 64)


def _with(**changes: float) -> SpikeGPT:
    """The model with tensors, named by their last parts, filled with one value."""
    tensors: dict[str, FloatArray] = dict(MODEL.tensors)
    for name in tensors:
        for ending, value in changes.items():
            if name.endswith(ending.replace("_of_", ".").replace("__", ".")):
                tensors[name] = np.full_like(tensors[name], value)
    return replace(MODEL, tensors=tensors)


def _graph(model: SpikeGPT) -> SpikingGraph:
    return lower(model, random_tokens(model, 512, seed=4))


def test_more_bits_than_guessing() -> None:
    guessing = _with(head__weight=0.0)
    assert evaluate(_graph(guessing), TOKENS).bits_per_token == pytest.approx(np.log2(96))
    observed = Observed(_graph(MODEL))
    observed.add(ReferenceBackend().run(observed.graph, TOKENS))
    assert observed.findings(np.log2(96)) == ()
    assert observed.findings(7.0) == (
        f"7 bits per token, more than the 6.585 of guessing: {QUESTION}",
    )


def test_neurons_that_never_or_always_fire() -> None:
    silent = _with(ln1__weight=0.0, ln1__bias=0.0)
    remarks = evaluate(_graph(silent), TOKENS).remarks
    expected = "blocks.0.lif1, blocks.1.lif1 (almost) never fire"
    assert [remark for remark in remarks if remark == f"{expected}: {QUESTION}"]
    graph = _graph(MODEL)
    run = ReferenceBackend().run(graph, TOKENS)
    always = {
        name: replace(activity, events=len(TOKENS) * MODEL.shape.width)
        for name, activity in run.activity.items()
        if name.startswith("blocks.1.lif2 ->")
    }
    assert len(always) == 1
    observed = Observed(graph)
    observed.add(replace(run, activity={**run.activity, **always}))
    assert observed.findings(1.0) == (f"blocks.1.lif2 (almost) always fires: {QUESTION}",)


def test_many_saturations() -> None:
    graph = _graph(MODEL)
    run = ReferenceBackend().run(graph, TOKENS)
    assert run.saturations == 0
    observed = Observed(graph)
    observed.add(replace(run, counts={"logits": Counts(5), "blocks.0.att.wkv": Counts(1, 900)}))
    assert observed.findings(1.0) == ()
    observed.add(replace(run, counts={"logits": Counts(5), "blocks.0.att.wkv": Counts(1300)}))
    assert observed.findings(1.0) == (
        f"1,311 saturations in 128 tokens, 1,301 of them in blocks.0.att.wkv: {QUESTION}",
    )


def test_a_few_tokens_show_nothing() -> None:
    assert evaluate(_graph(_with(ln1__weight=0.0, ln1__bias=0.0)), TOKENS[:8]).remarks == ()


def test_remarks_are_figures_and_lines_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    import spikegpt_neuro as sgn

    graph = _graph(_with(ln1__weight=0.0, ln1__bias=0.0))
    with caplog.at_level(logging.WARNING, logger="spikegpt_neuro"):
        found = sgn.evaluate(graph, TOKENS)
    assert found.to_dict()["remarks"] == list(found.remarks) == caplog.messages
    assert len(found.remarks) >= 1
