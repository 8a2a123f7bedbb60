"""The compiled clocked model equals the plain one, cycle for cycle, on random machines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegpt_neuro.backends.cycle.timing.clocked import ClockedTiming
from spikegpt_neuro.backends.cycle.traffic.messages import StepMessages
from spikegpt_neuro.hardware.machine import Machine
from spikegpt_neuro.hardware.mesh import HOST

from clocked_reference import UNITS, ClockedReference, make_machine, make_step

SHORT = st.sampled_from([0.0, 0.3, 1.0, 1.7])
HOP = st.sampled_from([0.5, 1.0, 2.25, 6.0])
INTERVAL = st.sampled_from([0.2, 1.0, 1.5, 2.737, 7.0])
WORK = st.sampled_from([0.0, 0.4, 1.0, 2.65, 9.0])


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    columns, rows = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    chip = draw(st.sampled_from([(columns, rows), (2, 1), (1, 2), (2, 2)]))
    at = st.tuples(st.integers(0, columns - 1), st.integers(0, rows - 1))
    return make_machine(
        draw(st.lists(at, min_size=1, max_size=7)),
        columns=columns,
        rows=rows,
        chip=chip,
        ports=draw(st.sampled_from([None, 1, 4, 6])),
        buffer=draw(st.sampled_from([1, 1, 2, 3, 4])),
        synapses_per_word=draw(st.integers(1, 3)),
        axon_out=draw(SHORT),
        axon_in=draw(SHORT),
        synaptic_operation=draw(SHORT),
        memory_word=draw(SHORT),
        spike_within_tile=draw(st.sampled_from([0.0, 0.5, 2.1])),
        hop_east_west=draw(HOP),
        hop_north_south=draw(HOP),
        interchip_hop=draw(st.sampled_from([0.0, 5.1])),
        link_interval=draw(INTERVAL),
        interchip_interval=draw(INTERVAL),
        barrier=draw(SHORT),
    )


def on_other_chips(machine: Machine, core: int) -> list[list[int]]:
    """Cores of each chip but that of ``core``, where they are several."""
    chips = [tuple(at) for at in machine.mesh.coordinates[:, 2:].tolist()]
    others = sorted(set(chips) - {chips[core]})
    found = [[c for c, chip in enumerate(chips) if chip == other] for other in others]
    return [cores for cores in found if len(cores) > 1]


@st.composite
def steps(draw: st.DrawFn, machine: Machine, copies: bool = False) -> StepMessages:
    """Messages of a machine's cores; ``copies``: some go to several cores of another chip."""
    cores = machine.mesh.cores
    hot = draw(st.lists(st.integers(0, cores - 1), max_size=2))
    one = st.sampled_from([HOST, *range(cores), *hot * cores])
    works = WORK if draw(st.booleans()) else st.just(0.0)
    sent = []
    for core in range(cores):
        targets: st.SearchStrategy[int | tuple[int, ...]] = one
        if copies and (several := on_other_chips(machine, core)):
            chip = st.sampled_from(several)
            any_of = chip.flatmap(lambda there: st.permutations(there)).flatmap(
                lambda there: st.integers(2, len(there)).map(lambda n: tuple(there[:n]))
            )
            targets = st.one_of(one, any_of)
        message = st.tuples(targets, st.integers(0, 4), works)
        sent.append(draw(st.lists(message, max_size=25)))
    host = st.one_of(st.just((0, 0)), st.tuples(st.integers(1, 6), st.integers(0, 20)))
    return make_step(
        sent,
        leftover=draw(st.lists(WORK, min_size=cores, max_size=cores)),
        arrived=draw(st.lists(host, min_size=cores, max_size=cores)),
    )


def assert_same(machine: Machine, step: StepMessages) -> None:
    plain = ClockedReference(machine, step)
    timing, trace = ClockedTiming(machine).traced_step(step)
    links = machine.mesh.links
    assert timing.seconds == plain.cycles + machine.latencies.barrier
    assert ClockedTiming(machine).step(step).seconds == timing.seconds
    for name in ("generating", "processing", "stalled"):
        expected = [getattr(core, name) / UNITS for core in plain.cores]
        np.testing.assert_array_equal(getattr(timing, name), expected, name)
    np.testing.assert_array_equal(timing.link_messages, plain.sent[:links])
    np.testing.assert_array_equal(timing.link_stalled, plain.stalled[:links])
    deepest = [buffer.deepest for buffer in plain.buffers]
    np.testing.assert_array_equal(timing.link_queue, deepest[:links])
    np.testing.assert_array_equal(timing.core_queue, deepest[links:])
    for name in ("departed", "arrived", "processed"):
        expected = [time / UNITS for time in getattr(plain, name)]
        np.testing.assert_array_equal(getattr(trace, name), expected, name)


@settings(max_examples=150)
@given(data=st.data())
def test_equals_the_plain_model_on_any_machine(data: st.DataObject) -> None:
    machine = data.draw(machines())
    assert_same(machine, data.draw(steps(machine)))


@settings(max_examples=150)
@given(data=st.data())
def test_equals_the_plain_model_where_messages_are_copied(data: st.DataObject) -> None:
    machine = data.draw(machines())
    assert_same(machine, data.draw(steps(machine, copies=True)))


@pytest.mark.parametrize("buffer", [1, 2, 5, 16])
@pytest.mark.parametrize("hot", [0.0, 0.7])
def test_equals_the_plain_model_where_buffers_run_full(buffer: int, hot: float) -> None:
    rng = np.random.default_rng(buffer)
    machine = make_machine(
        [(x, y) for x in range(4) for y in range(3) for _ in range(2)],
        columns=4,
        rows=3,
        chip=(2, 3),
        buffer=buffer,
        axon_out=0.51,
        axon_in=0.3,
        synaptic_operation=0.07,
        spike_within_tile=2.1,
        hop_east_west=4.1,
        hop_north_south=6.5,
        interchip_hop=9.0,
        link_interval=1.29,
        interchip_interval=3.7,
    )
    cores = machine.mesh.cores
    sent = [
        [
            (5 if rng.random() < hot else int(rng.integers(cores)), int(rng.integers(60)), 0.2)
            for _ in range(25)
        ]
        for _ in range(cores)
    ]
    assert_same(machine, make_step(sent, arrived=[(c % 3, 7 * (c % 3)) for c in range(cores)]))


def test_equals_the_plain_model_where_cores_work_for_many_epochs() -> None:
    machine = make_machine([(0, 0), (1, 0)], columns=2, rows=1, hop_east_west=4.5)
    sent = [[(1, 1, 4096.0), (1, 0, 0.25), (0, 2, 9000.5)], [(0, 1, 4091.5)]]
    assert_same(machine, make_step(sent, leftover=[5.0, 20000.0]))
