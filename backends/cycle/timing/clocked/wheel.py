"""Pending events by cycle: a timing wheel, so that cycles in which nothing happens cost nothing.

An event is a small number and pends at most once: no memory is taken or freed. Events of the
running epoch (4096 cycles) lie in one list per cycle; a bit per cycle tells which lists hold
something. Later events lie in one list per epoch until theirs begins (Varghese and Lauck, SOSP
1987, scheme 7). Putting and taking are O(1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spikegpt_neuro.backends.cycle.timing.clocked.part import Records, at, lowest_bit, part

EPOCH_BITS = 12
CYCLES = 1 << EPOCH_BITS
WORDS = CYCLES >> 6
EPOCHS = 1024
NOTHING = -1

LISTS = np.dtype(
    [
        ("epoch", np.int64),  # that is running
        ("word", np.int64),  # of bits, reached in the epoch
        ("pending", np.int64),  # events
        ("bits", np.uint64, (WORDS,)),
        ("near", np.int32, (CYCLES,)),  # first event of each cycle of the epoch
        ("far", np.int32, (EPOCHS,)),  # first event of each later epoch, modulo EPOCHS
    ],
    align=True,
)
EVENT = np.dtype([("cycle", np.int64), ("following", np.int32)], align=True)

ONE = np.uint64(1)


class Wheel(NamedTuple):
    """``lists`` (1,) of :data:`LISTS`; ``events`` (E,) of :data:`EVENT`."""

    lists: Records
    events: Records


def new_wheel(events: int) -> Wheel:
    """A wheel at cycle 0 for events 0 .. ``events`` - 1, none of them pending."""
    lists = np.zeros(1, LISTS)
    lists["near"], lists["far"] = NOTHING, NOTHING
    return Wheel(lists, np.zeros(events, EVENT))


@part
def put(wheel: Wheel, event: int, cycle: int) -> None:
    """Let an event that does not pend happen in a cycle that has not begun yet."""
    wheel.events[at(event)].cycle = cycle
    wheel.lists[0].pending += 1
    _file(wheel, event, cycle)


@part
def _file(wheel: Wheel, event: int, cycle: int) -> None:
    lists = wheel.lists[0]
    epoch = cycle >> EPOCH_BITS
    if epoch == lists.epoch:
        place = cycle & (CYCLES - 1)
        lists.bits[at(place >> 6)] |= ONE << np.uint64(place & 63)
        wheel.events[at(event)].following = lists.near[at(place)]
        lists.near[at(place)] = event
    else:
        place = epoch & (EPOCHS - 1)
        wheel.events[at(event)].following = lists.far[at(place)]
        lists.far[at(place)] = event


@part
def next_cycle(wheel: Wheel) -> int:
    """The next cycle with events, :data:`NOTHING` if none pends."""
    lists = wheel.lists[0]
    while lists.pending > 0:
        while lists.word < WORDS:
            bits = lists.bits[at(lists.word)]
            if bits != 0:
                cycle: int = (lists.epoch << EPOCH_BITS) + (lists.word << 6) + lowest_bit(bits)
                return cycle
            lists.word += 1
        lists.epoch += 1
        lists.word = 0
        _bring_near(wheel)
    return NOTHING


@part
def _bring_near(wheel: Wheel) -> None:
    """File the events of the epoch that begins; those of a later round of the list stay in it."""
    lists = wheel.lists[0]
    place = lists.epoch & (EPOCHS - 1)
    event = lists.far[at(place)]
    lists.far[at(place)] = NOTHING
    while event != NOTHING:
        following = wheel.events[at(event)].following
        _file(wheel, event, wheel.events[at(event)].cycle)
        event = following


@part
def take(wheel: Wheel, cycle: int) -> int:
    """First event of a cycle that :func:`next_cycle` found; the list goes on in ``following``."""
    lists = wheel.lists[0]
    place = cycle & (CYCLES - 1)
    event: int = lists.near[at(place)]
    lists.near[at(place)] = NOTHING
    lists.bits[at(place >> 6)] ^= ONE << np.uint64(place & 63)
    return event
