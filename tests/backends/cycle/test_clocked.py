"""The clocked model against theory: latency, serialization, saturation, and nothing ever lost."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegpt_neuro.backends.cycle.timing.bound import BoundTiming
from spikegpt_neuro.backends.cycle.timing.clocked import ClockedTiming, MessageTrace
from spikegpt_neuro.backends.cycle.timing.loads import loads
from spikegpt_neuro.backends.cycle.timing.simple import SimpleTiming
from spikegpt_neuro.backends.cycle.traffic.messages import StepMessages
from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.hardware.machine import Machine
from spikegpt_neuro.hardware.mesh import EAST, HOST, crosses_chips

from clocked_reference import UNITS, in_units, make_machine, make_step

CYCLE = 0.1
LOIHI2 = {
    "axon_out": 0.51,
    "axon_in": 3.2,
    "synaptic_operation": 0.7,
    "memory_word": 0.0737,
    "spike_within_tile": 2.1,
    "hop_east_west": 4.1,
    "hop_north_south": 6.5,
    "interchip_hop": 25.0,
    "link_interval": 0.2737,
    "interchip_interval": 44.24,
    "barrier": 200.0,
}
"""In nanoseconds; times of the steps here come out in nanoseconds too."""


def two_chips(cores_per_router: int = 2, **latencies: float) -> Machine:
    """Two chips of 4 x 2 routers, one above the other."""
    places = [(x, y) for x in range(4) for y in range(4) for _ in range(cores_per_router)]
    times: dict[str, Any] = LOIHI2 | latencies
    return make_machine(places, columns=4, rows=4, chip=(4, 2), buffer=16, cycle=CYCLE, **times)


def square(side: int, cores_per_router: int = 1, **figures: float) -> Machine:
    """One chip of square routers with links of one message a cycle and cores without work."""
    places = [(x, y) for x in range(side) for y in range(side) for _ in range(cores_per_router)]
    fast = {"hop_east_west": 2.0, "hop_north_south": 2.0, "link_interval": 1.0}
    buffer = int(figures.pop("link_buffer", 16))
    return make_machine(places, columns=side, rows=side, buffer=buffer, **fast | figures)  # type: ignore[arg-type]


def random_step(
    machine: Machine, messages: int, seed: int, hot: float = 0.0, work: float = 0.0
) -> StepMessages:
    """As many messages from every core, to any other; a share ``hot`` of them to core 0."""
    rng = np.random.default_rng(seed)
    cores = machine.mesh.cores
    target = (rng.integers(1, cores, (cores, messages)) + np.arange(cores)[:, None]) % cores
    target[rng.random(target.shape) < hot] = 0
    return StepMessages(
        first=np.arange(cores + 1) * messages,
        target=target.ravel().astype(np.int32),
        synapses=rng.integers(0, 20, target.size).astype(np.int32),
        work=np.round(rng.random(target.size) * work, 2),
        leftover=np.round(rng.random(cores) * work, 2),
        arrived=np.zeros(cores, np.int32),
        arrived_synapses=np.zeros(cores, np.int64),
        begins=np.ones(target.size, bool),
    )


def units_of(times: np.ndarray) -> np.ndarray:
    """Times of a trace as the whole numbers that they were made of."""
    return np.rint(times / CYCLE * UNITS).astype(np.int64)


def zero_load(machine: Machine, source: int, target: int) -> tuple[Fraction, Fraction]:
    """Nanoseconds over an empty mesh, and until a link between chips is free again (else 0)."""
    if source == target:
        return Fraction(0), Fraction(0)
    (x, y), (to_x, to_y) = (
        (int(machine.mesh.x[c]), int(machine.mesh.y[c])) for c in (source, target)
    )
    if (x, y) == (to_x, to_y):
        return Fraction("2.1"), Fraction(0)
    along = abs(to_x - x) * Fraction("4.1")
    if (y < 2) == (to_y < 2):
        return along + abs(to_y - y) * Fraction("6.5"), Fraction(0)
    before = 1 - y if y < 2 else y - 2  # rows to go on the first chip
    busy = along + before * Fraction("6.5") + Fraction("44.24")
    return along + abs(to_y - y) * Fraction("6.5") + 25, busy


def test_one_message_takes_exactly_its_latency() -> None:
    machine = two_chips()
    model, cores = ClockedTiming(machine), machine.mesh.cores
    cycle = Fraction(repr(CYCLE))
    for source in range(0, cores, 3):
        for target in range(cores):
            sent: list[list[tuple[int, int, float]]] = [[] for _ in range(cores)]
            sent[source] = [(target, 9, 7.25)]
            timing, trace = model.traced_step(make_step(sent))
            way, busy = zero_load(machine, source, target)
            departed = Fraction("7.25") + Fraction("0.51")
            arrived = departed + way
            processed = arrived + Fraction("3.2") + 9 * Fraction("0.7")
            found = [int(units_of(t)[0]) for t in (trace.departed, trace.arrived, trace.processed)]
            assert found == [t / cycle * UNITS for t in (departed, arrived, processed)]
            cycles = max(processed, departed + busy) // cycle + 1
            assert timing.seconds == int(cycles) * CYCLE + 200.0


@pytest.mark.parametrize("interval", [0.1, 0.2737, 1.0, 44.24])
@pytest.mark.parametrize("messages", [1, 40, 1000])
def test_a_hot_link_takes_its_interval_for_each_message_exactly(
    interval: float, messages: int
) -> None:
    machine = make_machine(
        [(0, 0)] * 4 + [(1, 0)] * 4,
        columns=2,
        rows=1,
        buffer=64,
        cycle=CYCLE,
        axon_out=0.1,
        hop_east_west=4.1,
        link_interval=interval,
    )
    shares = np.array_split(np.arange(messages), 4)
    sent = [[(4 + core, 0, 0.0)] * len(shares[core]) for core in range(4)]
    timing, trace = ClockedTiming(machine).traced_step(make_step(sent + [[]] * 4))
    first, spacing = in_units(0.1, CYCLE), in_units(interval, CYCLE)
    assert timing.link_messages[EAST] == messages
    np.testing.assert_array_equal(
        np.sort(units_of(trace.departed)), first + np.arange(messages) * spacing
    )
    np.testing.assert_array_equal(
        np.sort(units_of(trace.arrived)),
        first + in_units(4.1, CYCLE) + np.arange(messages) * spacing,
    )
    processed = first + (messages - 1) * spacing + in_units(4.1, CYCLE) + UNITS
    last = max(processed, first + messages * spacing)
    assert timing.seconds == (last // UNITS + 1) * CYCLE


def crossing(machine: Machine, step: StepMessages, side: int) -> int:
    """Messages over the middle of the mesh, in the busier direction."""
    found = loads(machine, step).link_messages.reshape(side, side, 4)
    return int(max(found[side // 2 - 1, :, EAST].sum(), found[side // 2, :, EAST + 1].sum()))


@pytest.mark.parametrize(("side", "cores_per_router"), [(4, 1), (8, 1), (8, 4)])
def test_uniform_traffic_comes_close_to_what_the_bisection_carries(
    side: int, cores_per_router: int
) -> None:
    machine = square(side, cores_per_router)
    step = random_step(machine, 1600 // cores_per_router, seed=side)
    timing = ClockedTiming(machine).step(step)
    # Each of the links over the middle takes one message a cycle.
    bound = crossing(machine, step, side) / side
    assert 0.6 * timing.seconds < bound <= timing.seconds


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    buffer=st.sampled_from([1, 2, 16]),
    hot=st.sampled_from([0.0, 0.3, 1.0]),
    work=st.sampled_from([0.0, 30.0]),
)
def test_every_message_arrives_once_and_the_mesh_never_locks(
    seed: int, buffer: int, hot: float, work: float
) -> None:
    machine = replace(two_chips(), link_buffer=buffer)
    step = random_step(machine, 60, seed, hot, work)
    timing, trace = ClockedTiming(machine).traced_step(step)
    expected = loads(machine, step)
    np.testing.assert_array_equal(timing.link_messages, expected.link_messages)
    assert timing.link_queue.max() <= buffer
    assert timing.core_queue.max() <= buffer
    assert hot < 1.0 or timing.core_queue[0] == buffer
    assert np.all(trace.departed > 0)
    assert np.all(trace.arrived >= trace.departed)
    assert_served_one_by_one(step, trace)


def assert_served_one_by_one(step: StepMessages, trace: MessageTrace) -> None:
    """Each message is in its target's stages for its time, and never with another one."""
    duration = 32 * UNITS + step.synapses.astype(np.int64) * 7 * UNITS
    processed = units_of(trace.processed)
    assert np.all(processed - duration >= units_of(trace.arrived))
    for core in range(len(step.leftover)):
        mine = np.flatnonzero(step.target == core)
        mine = mine[np.argsort(processed[mine])]
        assert np.all(np.diff(processed[mine]) >= duration[mine[1:]])


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    messages=st.sampled_from([0, 1, 3, 40]),
    hot=st.sampled_from([0.0, 0.5, 1.0]),
    work=st.sampled_from([0.0, 1.0, 50.0]),
    interval=st.sampled_from([0.2737, 3.3, 91.7]),
    memory_word=st.sampled_from([0.0, 0.0737, 17.3]),
)
def test_never_shorter_than_the_busiest_part(
    seed: int, messages: int, hot: float, work: float, interval: float, memory_word: float
) -> None:
    machine = two_chips(link_interval=interval, memory_word=memory_word)
    step = random_step(machine, messages, seed, hot, work)
    timing = ClockedTiming(machine).step(step)
    assert timing.seconds > BoundTiming(machine).step(step).seconds
    assert timing.seconds > busiest_part(machine, step) + 200.0


def busiest_part(machine: Machine, step: StepMessages) -> float:
    """Exactly what no order of the work can beat, from the decimal constants."""
    t = {name: Fraction(repr(value)) for name, value in vars(machine.latencies).items()}
    source = np.repeat(np.arange(machine.mesh.cores), np.diff(step.first))
    generating = [Fraction(repr(float(rest))) for rest in step.leftover]
    serving = [Fraction(0)] * machine.mesh.cores
    for m in range(step.count):
        generating[source[m]] += Fraction(repr(float(step.work[m]))) + t["axon_out"]
        synapses = int(step.synapses[m])
        meeting = synapses * t["synaptic_operation"]
        reading = ceil(Fraction(synapses, machine.synapses_per_word)) * t["memory_word"]
        serving[step.target[m]] += t["axon_in"] + max(meeting, reading)
    interval = [
        t["interchip_interval" if c else "link_interval"] for c in crosses_chips(machine.mesh)
    ]
    sent = loads(machine, step).link_messages
    carrying = [int(n) * seconds for n, seconds in zip(sent, interval, strict=True)]
    return float(max(*generating, *serving, *carrying))


@pytest.mark.parametrize(("messages", "work", "synapses"), [(20, 500.0, 5), (20, 50.0, 2000)])
def test_equals_simple_on_an_idle_network(messages: int, work: float, synapses: int) -> None:
    machine = two_chips(cores_per_router=1)
    rng = np.random.default_rng(0)
    # Every core has one partner: what it is sent comes at the pace of one core.
    partner = np.roll(np.arange(machine.mesh.cores), 1)
    sent = [
        [(int(partner[core]), synapses, round(work * rng.random(), 2)) for _ in range(messages)]
        for core in range(machine.mesh.cores)
    ]
    step = make_step(sent)
    simple = SimpleTiming(machine).step(step)
    timing = ClockedTiming(machine).step(step)
    assert simple.seconds <= timing.seconds <= 1.01 * simple.seconds
    np.testing.assert_allclose(timing.generating, simple.generating, rtol=1e-12)
    np.testing.assert_allclose(timing.processing, simple.processing, rtol=1e-12)


def test_the_same_messages_take_the_same_cycles() -> None:
    machine = replace(two_chips(), link_buffer=2)
    steps = [random_step(machine, 80, seed, hot=0.2) for seed in (1, 2, 1)]
    model = ClockedTiming(machine)
    first, other, again = (model.step(step) for step in steps)
    assert first.seconds != other.seconds
    fresh = ClockedTiming(machine).step(steps[0])
    for name, values in vars(first).items():
        np.testing.assert_array_equal(values, getattr(again, name), name)
        np.testing.assert_array_equal(values, getattr(fresh, name), name)


def test_messages_from_and_to_the_host_take_their_cores_time_only() -> None:
    machine = two_chips(cores_per_router=1)
    sent: list[list[tuple[int, int, float]]] = [[] for _ in range(16)]
    sent[3] = [(HOST, 0, 10.0)] * 7
    arrived = [(0, 0)] * 5 + [(30, 100)] + [(0, 0)] * 10
    timing, trace = ClockedTiming(machine).traced_step(
        make_step(sent, leftover=[0.0] * 3 + [1.5] + [0.0] * 12, arrived=arrived)
    )
    assert timing.generating[3] == pytest.approx(7 * 10.51 + 1.5, rel=1e-12)
    assert timing.processing[5] == pytest.approx(30 * 3.2 + 100 * 0.7, rel=1e-12)
    assert timing.seconds == pytest.approx(166.0 + CYCLE + 200.0, rel=1e-12)
    assert timing.core_queue[5] == 30
    assert timing.link_messages.sum() == timing.stalled.sum() == 0
    np.testing.assert_array_equal(trace.departed, trace.processed)
    assert list(units_of(trace.departed)) == [105_100_000 * (k + 1) for k in range(7)]


def test_a_long_silence_is_skipped() -> None:
    """Two messages, the second after more cycles than could be walked through."""
    machine = two_chips(cores_per_router=1)
    sent: list[list[tuple[int, int, float]]] = [[(1, 0, 1e6)], [(0, 0, 3e8)]] + [[]] * 14
    _, trace = ClockedTiming(machine).traced_step(make_step(sent))
    expected = [in_units(work + 0.51, CYCLE) for work in (1e6, 3e8)]
    assert list(units_of(trace.departed)) == expected


def test_a_slow_core_stalls_those_who_send_to_it() -> None:
    machine = make_machine(
        [(0, 0), (1, 0), (2, 0)], columns=3, rows=1, buffer=2, axon_in=100.0, hop_east_west=1.0
    )
    step = make_step([[(2, 0, 0.0)] * 20, [], []])
    timing = ClockedTiming(machine).step(step)
    # 20 times 100 cycles, the first after it was made and two hops.
    assert timing.seconds == 1 + 2 + 20 * 100 + 1
    # Two messages fit into each of two links' buffers and the queue, and one is processed: the
    # last message leaves when the 13th is done.
    assert list(timing.core_queue) == [0, 0, 2]
    assert list(timing.link_queue[[EAST, 4 + EAST]]) == [2, 2]
    assert timing.stalled[0] > 1200
    assert timing.link_stalled[EAST] > 1200
    assert timing.link_stalled[4 + EAST] > 1200


@pytest.mark.parametrize(
    ("change", "text"),
    [({"link_buffer": 0}, "link_buffer is 0"), ({"cycle": 0.0}, "cycle is 0 s")],
)
def test_refuses_a_machine_that_cannot_run(change: dict[str, float], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        ClockedTiming(replace(two_chips(), **change))  # type: ignore[arg-type]


def test_steps_without_messages_take_the_walk_and_the_barrier() -> None:
    machine = two_chips(cores_per_router=1)
    empty = make_step([[]] * 16)
    assert ClockedTiming(machine).step(empty).seconds == CYCLE + 200.0
    walking = make_step([[]] * 16, leftover=[float(core) for core in range(16)])
    assert ClockedTiming(machine).step(walking).seconds == 151 * CYCLE + 200.0
