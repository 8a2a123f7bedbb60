"""Timing models on messages made by hand or at random: what holds whatever the network."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegpt_neuro.backends.cycle.timing.bound import BoundTiming
from spikegpt_neuro.backends.cycle.timing.detailed import DetailedTiming
from spikegpt_neuro.backends.cycle.timing.heap import put, take
from spikegpt_neuro.backends.cycle.timing.loads import loads
from spikegpt_neuro.backends.cycle.timing.models import timing_model
from spikegpt_neuro.backends.cycle.timing.simple import SimpleTiming
from spikegpt_neuro.backends.cycle.traffic.messages import StepMessages
from spikegpt_neuro.hardware.machine import Latencies, Machine
from spikegpt_neuro.hardware.mesh import EAST, HOST, NORTH, SOUTH, WEST, Mesh, crosses_chips

NS = 1e-9
LATENCIES = Latencies(
    neuron_access=6 * NS,
    neuron_update=3.7 * NS,
    micro_operation=0.3 * NS,
    spike_out=30 * NS,
    axon_out=5 * NS,
    axon_in=16 * NS,
    synaptic_operation=4 * NS,
    spike_within_tile=2 * NS,
    hop_east_west=7 * NS,
    hop_north_south=11 * NS,
    interchip_hop=100 * NS,
    link_interval=0.5 * NS,
    interchip_interval=20 * NS,
    memory_word=2 * NS,
    barrier=1000 * NS,
)


def machine(*xy: tuple[int, int], columns: int = 4, rows: int = 2, **changes: float) -> Machine:
    """Cores at these routers of a mesh of two chips of 2 x 2 routers."""
    x, y = np.array(xy, np.int32).T
    return Machine(
        mesh=Mesh(columns, rows, 2, 2, x, y),
        latencies=replace(LATENCIES, **changes),
        link_buffer=2,
        cycle=0.1 * NS,
        synapses_per_word=8,
    )


def messages(
    *by_core: list[tuple[int, int, float]],
    leftover: float = 0.0,
    arrived: tuple[int, int] = (0, 0),
) -> StepMessages:
    """Messages (target, synapses, work) of each core; leftover and arrivals at core 0."""
    flat = [m for core in by_core for m in core]
    zeros = np.zeros(len(by_core))
    found = StepMessages(
        first=np.cumsum([0, *map(len, by_core)]),
        target=np.array([m[0] for m in flat], np.int32),
        synapses=np.array([m[1] for m in flat], np.int32),
        work=np.array([m[2] for m in flat], np.float64),
        leftover=zeros.copy(),
        arrived=zeros.astype(np.int32),
        arrived_synapses=zeros.astype(np.int64),
        begins=np.ones(len(flat), bool),
    )
    found.leftover[0] = leftover
    found.arrived[0], found.arrived_synapses[0] = arrived
    return found


MODELS = ("bound", "simple", "detailed")


@pytest.mark.parametrize("name", MODELS)
def test_an_empty_step_is_leftover_work_and_the_barrier(name: str) -> None:
    model = timing_model(name, machine((0, 0), (3, 1)))
    assert model.name == name
    assert model.step(messages([], [])).seconds == LATENCIES.barrier
    timing = model.step(messages([], [], leftover=70 * NS))
    assert timing.seconds == pytest.approx(1070 * NS)
    assert timing.generating.tolist() == [70 * NS, 0]


@pytest.mark.parametrize("name", MODELS)
def test_messages_from_the_host_keep_a_core_busy(name: str) -> None:
    timing = timing_model(name, machine((0, 0), (3, 1))).step(messages([], [], arrived=(3, 10)))
    assert timing.processing.tolist() == [pytest.approx(3 * 16 * NS + 10 * 4 * NS), 0]
    assert timing.seconds == pytest.approx(1088 * NS)
    assert timing.link_messages.sum() == 0


def test_one_message_takes_its_stages_and_hops() -> None:
    """From (0, 0) to (3, 1): three hops east, one of them to the next chip, and one south."""
    chips = machine((0, 0), (3, 1))
    step = messages([(1, 5, 40 * NS)], [])
    made, processed = 45 * NS, 36 * NS
    hops = (3 * 7 + 11 + 100) * NS
    assert DetailedTiming(chips).step(step).seconds == pytest.approx(
        made + hops + processed + 1000 * NS
    )
    assert SimpleTiming(chips).step(step).seconds == pytest.approx(made + 1000 * NS)
    links = BoundTiming(chips).step(step).link_messages
    router = np.arange(8).reshape(4, 2)  # by column
    route = [4 * router[x, 0] + EAST for x in range(3)] + [4 * router[3, 0] + SOUTH]
    assert np.flatnonzero(links).tolist() == sorted(route)
    assert np.array_equal(links, DetailedTiming(chips).step(step).link_messages)


def test_neighbours_at_a_router_and_the_core_itself() -> None:
    chips = machine((1, 1), (1, 1))
    there = DetailedTiming(chips).step(messages([(1, 1, 0.0)], [])).seconds
    itself = DetailedTiming(chips).step(messages([(0, 1, 0.0)], [])).seconds
    assert there - itself == pytest.approx(LATENCIES.spike_within_tile)
    assert itself == pytest.approx((5 + 20 + 1000) * NS)


@pytest.mark.parametrize("name", MODELS)
def test_a_message_to_the_host_takes_its_core_only(name: str) -> None:
    timing = timing_model(name, machine((0, 0), (3, 1))).step(
        messages([(HOST, 0, 10 * NS), (HOST, 0, 20 * NS)], [])
    )
    assert timing.seconds == pytest.approx(1040 * NS)
    assert not timing.processing.any()
    assert not timing.link_messages.any()


def test_links_and_chip_boundaries_are_named_alike() -> None:
    """4 router + direction, router x rows + y; columns 1 | 2 are the boundary."""
    mesh = machine((0, 0)).mesh
    crossing = crosses_chips(mesh).reshape(4, 2, 4)
    assert crossing[1, :, EAST].all()
    assert crossing[2, :, WEST].all()
    assert not crossing[0, :, EAST].any()
    assert not crossing[:, 0, SOUTH].any()
    assert crossing[:, 1, SOUTH].all()  # these lead out of the system, so no message uses them
    assert crossing[:, 0, NORTH].all()


def test_bound_is_its_largest_term() -> None:
    """20 messages of 9 synapses over a chip boundary; each term in turn is largest."""
    step = messages([(1, 9, 1 * NS)] * 20, [])
    terms = {
        (): 20 * (16 + 9 * 4),  # synaptic operations of core 1
        (("axon_out", 99 * NS),): 20 * 100,
        (("memory_word", 50 * NS),): 20 * 2 * 50,  # nine synapses take two words of eight
        (("interchip_interval", 80 * NS),): 20 * 80,
        (("link_interval", 90 * NS),): 20 * 90,
    }
    for changes, expected in terms.items():
        latencies: dict[str, Any] = dict(changes)
        chips = machine((0, 0), (3, 1), **latencies)
        assert BoundTiming(chips).step(step).seconds == pytest.approx((expected + 1000) * NS)
    one_chip = machine((0, 0), (1, 1), interchip_interval=80 * NS)
    assert BoundTiming(one_chip).step(step).seconds == pytest.approx((20 * 52 + 1000) * NS)


def test_a_full_network_holds_its_senders_up() -> None:
    """More messages than links can buffer, to one slow core: senders stall in `detailed` only."""
    chips = machine((0, 0), (0, 0), (1, 0))
    step = messages([(2, 50, 0.0)] * 30, [(2, 50, 0.0)] * 30, [])
    detailed = DetailedTiming(chips).step(step)
    assert detailed.stalled[:2].min() > 0
    assert detailed.stalled[2] == 0
    assert detailed.core_queue.tolist()[:2] == [0, 0]
    assert detailed.core_queue[2] > chips.link_buffer
    assert detailed.link_queue.max() > chips.link_buffer
    assert not SimpleTiming(chips).step(step).stalled.any()
    wide = DetailedTiming(replace(chips, link_buffer=1000)).step(step)
    assert not wide.stalled.any()


@pytest.mark.parametrize(("pause", "network"), [(0, 1), (-1, 128)])
def test_a_message_leaves_its_links_in_the_moment_it_is_received(pause: int, network: int) -> None:
    """Two cores of a router send over its link east to two cores there, which take 768 ticks.

    The first message is on the link from 8 to 9. Sent at 9, the second finds it empty, and takes
    the hop's one tick; sent at 8, it finds a density of 1/3: 1/3 of 768 over two links.
    """
    tick = 2.0**-20
    chips = machine(
        *((0, 0), (0, 0), (1, 0), (1, 0)),
        axon_out=0.0,
        axon_in=768 * tick,
        hop_east_west=1 * tick,
        barrier=0.0,
    )
    step = messages([(2, 0, 8 * tick)], [(3, 0, (9 + pause) * tick)], [], [])
    expected = (9 + pause + network + 768) * tick
    assert DetailedTiming(chips).step(step).seconds == pytest.approx(expected, rel=1e-12)


@st.composite
def steps(draw: Any, link_terms: bool = False) -> tuple[Machine, StepMessages]:
    """A machine of up to three chips in a row, and random messages, the host's included."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cores = draw(st.integers(1, 7))
    columns = 2 * draw(st.integers(1, 3))
    times = {f.name: float(rng.choice([0.0, 0.33, 1.0, 5.17])) * NS for f in fields(Latencies)}
    if not link_terms:
        times |= dict.fromkeys(("link_interval", "interchip_interval", "memory_word"), 0.0)
    chips = Machine(
        mesh=Mesh(
            columns,
            2,
            2,
            2,
            rng.integers(columns, size=cores).astype(np.int32),
            rng.integers(2, size=cores).astype(np.int32),
        ),
        latencies=Latencies(**times),
        link_buffer=draw(st.integers(1, 4)),
        cycle=1 * NS,
        synapses_per_word=draw(st.integers(1, 4)),
    )
    counts = rng.integers(0, 30, cores)
    total = int(counts.sum())
    target = rng.integers(HOST, cores, total).astype(np.int32)
    arrived = rng.integers(0, chips.link_buffer + 1, cores).astype(np.int32)
    return chips, StepMessages(
        first=np.cumsum([0, *counts]),
        target=target,
        synapses=np.where(target == HOST, 0, rng.integers(0, 20, total)).astype(np.int32),
        work=rng.random(total) * 10 * NS * rng.integers(0, 2),
        leftover=rng.random(cores) * 100 * NS * rng.integers(0, 2),
        arrived=arrived,
        arrived_synapses=arrived * rng.integers(0, 9, cores),
        begins=np.ones(total, bool),
    )


@settings(deadline=None, max_examples=60)
@given(steps())
def test_simple_equals_its_formula(case: tuple[Machine, StepMessages]) -> None:
    chips, step = case
    times = chips.latencies
    making = [
        step.leftover[c] + sum(step.work[a:b] + times.axon_out)
        for c, (a, b) in enumerate(itertools.pairwise(step.first))
    ]
    taking = [
        step.arrived[c] * times.axon_in + step.arrived_synapses[c] * times.synaptic_operation
        for c in range(chips.mesh.cores)
    ]
    for target, synapses in zip(step.target, step.synapses, strict=True):
        if target != HOST:
            taking[target] += times.axon_in + synapses * times.synaptic_operation
    timing = SimpleTiming(chips).step(step)
    whole = max(max(making + taking) + times.barrier, times.step_minimum)
    assert timing.seconds == pytest.approx(whole, rel=1e-12)
    assert timing.generating == pytest.approx(making)
    assert timing.processing == pytest.approx(taking)


@settings(deadline=None, max_examples=60)
@given(steps())
def test_detailed_is_never_shorter_than_simple_nor_simple_than_bound(
    case: tuple[Machine, StepMessages],
) -> None:
    """Without links and memory words, bound and simple are the same."""
    chips, step = case
    bound, simple, detailed = (timing_model(name, chips).step(step).seconds for name in MODELS)
    assert bound == simple
    assert detailed >= simple * (1 - 1e-12)


@settings(deadline=None, max_examples=40)
@given(steps(link_terms=True))
def test_no_clocked_step_is_shorter_than_bound(case: tuple[Machine, StepMessages]) -> None:
    chips, step = case
    bound = timing_model("bound", chips).step(step).seconds
    assert timing_model("cycle", chips).step(step).seconds >= bound * (1 - 1e-12)


@settings(deadline=None, max_examples=40)
@given(steps())
def test_links_carry_every_message_along_its_way(case: tuple[Machine, StepMessages]) -> None:
    chips, step = case
    mesh = chips.mesh
    source = np.repeat(np.arange(mesh.cores), np.diff(step.first))
    sent = step.target != HOST
    source, target = source[sent], step.target[sent]
    by_direction = loads(chips, step).link_messages.reshape(-1, 4).sum(axis=0)
    along = mesh.x[target] - mesh.x[source], mesh.y[target] - mesh.y[source]
    assert by_direction[EAST] == along[0][along[0] > 0].sum()
    assert by_direction[WEST] == -along[0][along[0] < 0].sum()
    assert by_direction[SOUTH] == along[1][along[1] > 0].sum()
    assert by_direction[NORTH] == -along[1][along[1] < 0].sum()


@settings(deadline=None, max_examples=40)
@given(steps())
def test_detailed_leaves_its_messages_as_they_are(case: tuple[Machine, StepMessages]) -> None:
    chips, step = case
    model = DetailedTiming(chips)
    first, again = model.step(step), model.step(step)
    assert first.seconds == again.seconds
    assert np.array_equal(first.stalled, again.stalled)


@given(st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=60))
def test_the_heap_gives_out_the_smallest(plan: list[int | None]) -> None:
    """A number is put, None takes."""
    keys, items, size = np.empty(60), np.empty(60, np.int64), 0
    expected: list[float] = []
    for k, key in enumerate(plan):
        if key is not None:
            size = put(keys, items, size, float(key), k)
            heapq.heappush(expected, float(key))
        elif size:
            assert keys[0] == heapq.heappop(expected)
            assert plan[items[0]] == keys[0]
            size = take(keys, items, size)
        assert size == len(expected)


def test_equal_keys_leave_the_heap_in_the_order_of_a_priority_queue() -> None:
    """Eight equal keys, put in order: what a std::priority_queue of g++ gave for them."""
    keys, items, size = np.empty(8), np.empty(8, np.int64), 0
    for item in range(8):
        size = put(keys, items, size, 1.0, item)
    order = []
    while size:
        order.append(int(items[0]))
        size = take(keys, items, size)
    assert order == [0, 2, 6, 5, 7, 4, 1, 3]
