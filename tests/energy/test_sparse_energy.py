"""What falls with synapses that do not exist: recounted synapse by synapse."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import spikegpt_neuro as sgn
from spikegpt_neuro.backends.cycle.simulator import Setting, simulate_all
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.energy.activity import activity_of
from spikegpt_neuro.energy.counts import arrivals_of
from spikegpt_neuro.energy.hardware import hardware_events
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import load_profile
from spikegpt_neuro.mapping.mapper import Mapped, measured_rates, place
from spikegpt_neuro.mapping.placement import Placement
from spikegpt_neuro.running import Run

from random_models import random_model, random_tokens
from sparse_graphs import pruned, sparse
from toy_graph import toy_graph

LOIHI2 = load_profile("loihi2")


@pytest.fixture(scope="module", params=["toy", "lowered"])
def case(request: pytest.FixtureRequest) -> tuple[SpikingGraph, Run, Placement]:
    if request.param == "toy":
        graph = sparse(pruned(toy_graph(), 0.4))
    else:
        model = random_model(2, 32, 40)
        graph = sparse(pruned(lower(model, random_tokens(model, 200)), 0.2))
    tokens = np.random.default_rng(3).integers(0, graph.shape.vocab_size, 12)
    run = sgn.run(graph, tokens, record="events")
    found = place(graph, LOIHI2, measured_rates(graph, run))
    assert isinstance(found, Mapped)
    return graph, run, found.placement


def recount(graph: SpikingGraph, run: Run, placement: Placement) -> tuple[Counter[str], int, int]:
    """Operations by projection, those on the chip, and messages to cores: event by event."""
    core_of = {
        (piece.population, neuron): piece.core
        for piece in placement.pieces
        for neuron in range(piece.start, piece.stop)
    }
    operations: Counter[str] = Counter()
    on_chip = messages = 0
    for population in graph.populations[:-1]:
        for row in run.events[population.name].tolist():
            for neuron, payload in enumerate(row):
                if payload == 0:
                    continue
                cores = set()
                for q in graph.projections:
                    if q.source != population.name:
                        continue
                    hit = [neuron]
                    if (weights := q.weights) is not None:
                        hit = [j for j, weight in enumerate(weights[:, neuron]) if weight != 0]
                    operations[q.name] += len(hit)
                    reached = [core_of[q.target, j] for j in hit if (q.target, j) in core_of]
                    on_chip += len(reached)
                    cores |= set(reached)
                messages += len(cores)
    return operations, on_chip, messages


def test_profile_counts_what_an_independent_program_counts(
    case: tuple[SpikingGraph, Run, Placement],
) -> None:
    graph, run, placement = case
    operations, on_chip, messages = recount(graph, run, placement)
    activity = activity_of(graph, run)
    for arrived in arrivals_of(graph, activity):
        assert arrived.synaptic_operations == operations[arrived.name]
        assert run.activity[arrived.name].synaptic_operations == operations[arrived.name]
        assert arrived.nonzero_operations == operations[arrived.name]
    events = hardware_events(graph, activity, LOIHI2, placement, len(run.tokens))
    assert sum(e.synaptic_operation for e in events.values()) == on_chip
    assert sum(e.axon_in for e in events.values()) == messages


def test_the_simulator_moves_what_profile_counts(
    case: tuple[SpikingGraph, Run, Placement],
) -> None:
    graph, run, placement = case
    settings = [Setting("pipelined", "bound")]
    _, (found,) = simulate_all(graph, run.tokens, LOIHI2, placement, settings)
    expected = hardware_events(graph, activity_of(graph, run), LOIHI2, placement, found.steps)
    assert {k: v for k, v in found.by_population.items() if k in expected} == dict(expected)


def test_joules_fall_with_the_synapses_and_a_placement_knows_them() -> None:
    full = pruned(toy_graph(), 0.3)
    thin = sparse(full)
    tokens = np.random.default_rng(3).integers(0, full.shape.vocab_size, 12)
    run = sgn.run(full, tokens, record="events")
    counted = {}
    for name, graph in (("full", full), ("thin", thin)):
        found = place(graph, LOIHI2, measured_rates(graph, run))
        assert isinstance(found, Mapped)
        activity = activity_of(graph, run)
        events = hardware_events(graph, activity, LOIHI2, found.placement, 12)
        counted[name] = sum(e.synaptic_operation for e in events.values())
        other = thin if name == "full" else full
        with pytest.raises(sgn.UnsupportedInput, match="of another model"):
            found.placement.check(other, LOIHI2)
    assert counted["thin"] < 0.6 * counted["full"]
