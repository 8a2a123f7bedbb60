"""The pipelined schedule: stages, delays, and that balancing them keeps every integer."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegpt_neuro.backends.lava.job import Job, write_job
from spikegpt_neuro.backends.lava.parts import parts
from spikegpt_neuro.backends.lava.steps import Inlet, PopulationStep, Recorder, Window
from spikegpt_neuro.backends.reference import ReferenceBackend
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.graph.graph import Population, Projection, SpikingGraph
from spikegpt_neuro.graph.pipeline import delays, depth, latency, stages
from spikegpt_neuro.neurons import LIF, Requantize, Residual
from spikegpt_neuro.neurons.program import IntArray

from random_models import random_model, random_tokens
from toy_graph import WIDTH, toy_graph


@st.composite
def branching_graphs(draw: st.DrawFn) -> SpikingGraph:
    """Populations that add two earlier ones each, over dense or one-to-one projections."""
    base = toy_graph()
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    narrow = Requantize(
        np.full(WIDTH, 1 << 14, np.int32), np.full(WIDTH, 14, np.int32), bits=8, quantizer=True
    )
    populations, projections = [base.input], []
    for index in range(draw(st.integers(1, 6))):
        total = f"sum{index}"
        for port in ("stream", "branch"):
            source = draw(st.sampled_from(populations[::2])).name
            dense = draw(st.booleans())
            weights = rng.integers(-127, 128, (WIDTH, WIDTH), dtype=np.int8) if dense else None
            projections.append(Projection(f"{total}.{port}", source, total, port, weights))
        populations += [
            Population(total, WIDTH, Residual()),
            Population(f"p{index}", WIDTH, narrow),
        ]
        projections.append(Projection(f"p{index}", total, f"p{index}", "input"))
    return replace(base, populations=tuple(populations), projections=tuple(projections))


def pipelined(graph: SpikingGraph, tokens: IntArray) -> dict[str, list[IntArray]]:
    """Events per population and time step, with a dense projection one step late."""
    stage, delay = stages(graph), delays(graph)
    steps = {
        p.name: PopulationStep(
            p,
            Window(stage[p.name], len(tokens)),
            [Inlet(p.size, delay[q.name], q.shift, None) for q in graph.incoming[p.name]],
            Recorder(np.zeros(3, np.int64)),
        )
        for p in graph.populations[1:]
    }
    table = graph.input.program.advance((), tokens.astype(np.int32)[:, None]).events
    silence = np.zeros(WIDTH, np.int32)
    sent: dict[str, list[IntArray]] = {p.name: [] for p in graph.populations}
    for step in range(len(tokens) + depth(graph)):
        sent[graph.input.name].append(table[step] if step < len(tokens) else silence)
        for name, run in steps.items():
            arrived = []
            for q in graph.incoming[name]:
                if q.weights is None:
                    arrived.append(sent[q.source][step])
                else:
                    before = sent[q.source][step - 1] if step else silence
                    arrived.append(q.weights.astype(np.int32) @ before)
            sent[name].append(run(step + 1, arrived))
    return sent


@given(branching_graphs())
@settings(max_examples=30)
def test_pipelined_run_gives_the_reference_integers(graph: SpikingGraph) -> None:
    tokens = np.array([3, 1, 4, 1, 5, 9, 2, 6])
    reference = ReferenceBackend().run(graph, tokens, record="events")
    stage, sent = stages(graph), pipelined(graph, tokens)
    for name, events in reference.events.items():
        shifted = np.array(sent[name])[stage[name] : stage[name] + len(tokens)]
        np.testing.assert_array_equal(shifted, events, err_msg=name)
    logits = np.array(sent[graph.output.name])[latency(graph) : latency(graph) + len(tokens)]
    np.testing.assert_array_equal(logits, reference.logits_int)


@given(branching_graphs())
def test_every_path_into_a_population_is_balanced(graph: SpikingGraph) -> None:
    stage, delay = stages(graph), delays(graph)
    for q in graph.projections:
        assert stage[q.source] + q.is_dense + delay[q.name] == stage[q.target]
    for p in graph.populations[1:]:
        assert min(delay[q.name] for q in graph.incoming[p.name]) == 0


def test_stages_of_the_toy_graph() -> None:
    graph = toy_graph()
    assert stages(graph) == {
        "embedding": 0,
        "blocks.0.mix": 0,
        "blocks.0.current": 1,
        "blocks.0.lif": 1,
        "blocks.0.residual": 1,
        "payload": 1,
        "head": 2,
    }
    assert {name: d for name, d in delays(graph).items() if d} == {"stream": 1}
    assert latency(graph) == depth(graph) == 2


@pytest.mark.parametrize("variant", [{}, {"ffn_pre": True}, {"spike_input": True}])
def test_a_time_mix_and_a_channel_mix_take_two_steps_each(variant: dict[str, Any]) -> None:
    model = random_model(layers=2, width=8, vocab_size=16, **variant)
    graph = lower(model, random_tokens(model, 50))
    assert latency(graph) == 2 * 2 * 2 + 1
    assert [p.name for p in graph.populations if isinstance(p.program, LIF)] == [
        "blocks.0.lif1",
        "blocks.0.lif2",
        "blocks.1.lif1",
        "blocks.1.lif2",
    ]


def test_parts_of_a_model_are_its_blocks_between_two_sides() -> None:
    model = random_model(layers=2, width=8, vocab_size=16)
    graph = lower(model, random_tokens(model, 50))
    chain = parts(graph)
    assert [part.name for part in chain] == ["input", "blocks.0", "blocks.1", "output"]
    assert [name for part in chain for name in part.populations] == [
        p.name for p in graph.populations
    ]
    assert chain[0].receives == ()
    for before, after in pairwise(chain):
        assert before.sends == after.receives
    assert chain[2].receives == ("blocks.0.residual2",)
    assert chain[-1].sends == (graph.output.name,)


def test_events_cross_the_parts_that_do_not_need_them() -> None:
    graph = toy_graph()
    skipping = replace(
        graph,
        projections=tuple(
            replace(q, source="embedding") if q.name == "payload" else q for q in graph.projections
        ),
    )
    assert [part.sends for part in parts(skipping)] == [("embedding",), ("embedding",), ("head",)]


def test_parts_refuse_a_block_that_is_torn_apart() -> None:
    graph = toy_graph()
    order = ("embedding", "blocks.0.mix", "payload", "blocks.0.current")
    torn = replace(graph, populations=tuple(graph.by_name[name] for name in order), projections=())
    with pytest.raises(UnsupportedInput, match=r"^blocks\.0: its populations do not stand"):
        parts(torn)


def test_job_directory_round_trip(tmp_path: Path) -> None:
    graph = toy_graph()
    written = write_job(
        tmp_path,
        graph,
        np.array([1, 2, 3]),
        granularity="population",
        closed_loop=False,
        recorded=("blocks.0.lif",),
        artifact="elsewhere.sgn",
    )
    job = Job(tmp_path)
    assert job.settings == written.settings
    assert job.settings.artifact == str(Path("elsewhere.sgn").absolute())
    np.testing.assert_array_equal(job.tokens, [1, 2, 3])
    lif = [p.name for p in graph.populations].index("blocks.0.lif")
    events = job.events(lif)
    assert events is not None
    assert (events.shape, events.dtype) == ((3, WIDTH), np.dtype(np.uint8))
    assert job.events(lif + 1) is None
