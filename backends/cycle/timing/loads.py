"""What a step gives each core and each link to do, whatever the order in which they do it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.backends.cycle.timing.model import StepTiming
from spikegpt_neuro.backends.cycle.traffic.messages import StepMessages
from spikegpt_neuro.hardware.machine import Latencies, Machine
from spikegpt_neuro.hardware.mesh import HOST, gate, route
from spikegpt_neuro.hardware.step_time import processing_seconds, step_seconds


@dataclass(frozen=True)
class Loads:
    """Of a step or, with B in front, of many: times in seconds, links by number in the mesh.

    ``generating``     (C,) neuron work and axon-out of all the core's messages.
    ``processing``     (C,) axon-in and synaptic operations of all messages to the core.
    ``memory_words``   (C,) reads of synaptic memory: each message reads whole words.
    ``link_messages``  (L,) messages over each link, going east or west first (XY routing).
    """

    generating: NDArray[np.float64]
    processing: NDArray[np.float64]
    memory_words: NDArray[np.int64]
    link_messages: NDArray[np.int64]

    @staticmethod
    def of(
        latencies: Latencies,
        generating: NDArray[np.float64],
        received: NDArray[np.int64],
        synapses: NDArray[np.int64],
        memory_words: NDArray[np.int64],
        link_messages: NDArray[np.int64],
    ) -> Loads:
        """With the time that ``received`` messages take for their ``synapses``."""
        processing = processing_seconds(
            received.astype(np.float64),
            synapses.astype(np.float64),
            latencies.axon_in,
            latencies.synaptic_operation,
        )
        return Loads(generating, processing, memory_words, link_messages)


class FromLoads(ABC):
    """A timing model that asks what each part has to do, and not in which order.

    It times many steps at once (:meth:`of_loads`), from the messages of one or from sums alone.
    """

    at_once = True

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def step(self, messages: StepMessages) -> StepTiming:
        """Time one step."""
        return self.of_loads(loads(self.machine, messages))

    @property
    def loads_are_enough(self) -> bool:
        """False where a model made from this one has a ``step`` of its own: it sees messages."""
        return type(self).step is FromLoads.step

    @abstractmethod
    def of_loads(self, found: Loads) -> StepTiming:
        """Time one step, or with B in front of the loads many."""

    def undisturbed(
        self, found: Loads, busiest: NDArray[np.float64], processing: NDArray[np.float64]
    ) -> StepTiming:
        """What is said of steps in which nobody waits; ``busiest`` (...): seconds of one part."""
        links, cores = found.link_messages.shape, processing.shape
        latencies = self.machine.latencies
        return StepTiming(
            seconds=step_seconds(busiest, latencies.barrier, latencies.step_minimum),
            generating=found.generating,
            processing=processing,
            stalled=np.broadcast_to(0.0, cores),
            link_messages=found.link_messages,
            link_stalled=np.broadcast_to(0.0, links),
            core_queue=np.broadcast_to(np.int32(0), cores),
            link_queue=np.broadcast_to(np.int32(0), links),
        )


def loads(machine: Machine, messages: StepMessages) -> Loads:
    """Sums over the messages of a step."""
    mesh, latencies, volleys = machine.mesh, machine.latencies, messages.volleys
    received, synapses = messages.arrived.astype(np.int64), messages.arrived_synapses.copy()
    words = words_together(received, synapses, machine.synapses_per_word)
    generating = messages.leftover.copy()
    link_messages = np.zeros(mesh.links, np.int64)
    reach = volleys.reach
    _generate(
        volleys.first,
        volleys.begin,
        volleys.end,
        volleys.work,
        reach.begins,
        latencies.axon_out,
        generating,
    )
    _add(
        volleys.uses,
        reach.sender,
        reach.target,
        reach.synapses,
        reach.begins,
        machine.synapses_per_word,
        mesh.rows,
        mesh.chip_columns,
        mesh.chip_rows,
        mesh.router,
        received,
        synapses,
        words,
        link_messages,
    )
    return Loads.of(latencies, generating, received, synapses, words, link_messages)


def words_together(
    received: NDArray[np.int64], synapses: NDArray[np.int64], per_word: int
) -> NDArray[np.int64]:
    """Reads of synaptic memory for messages of the host, which were counted together.

    At least what the sum takes in full words, and one for each message.
    """
    found: NDArray[np.int64] = np.maximum(-(-synapses // per_word), np.minimum(received, synapses))
    return found


@kernel
def _generate(
    first: NDArray[np.int64],
    begin: NDArray[np.int32],
    end: NDArray[np.int32],
    work: NDArray[np.float64],
    begins: NDArray[np.bool_],
    axon_out: float,
    generating: NDArray[np.float64],
) -> None:
    """Add what cores do to ``generating``, message by message."""
    for core in range(len(generating)):
        total = generating[core]
        for volley in range(first[core], first[core + 1]):
            total += work[volley] + axon_out
            for way in range(begin[volley] + 1, end[volley]):
                if begins[way]:
                    total += axon_out
        generating[core] = total


@kernel
def _add(
    uses: NDArray[np.int64],
    sender: NDArray[np.int64],
    target: NDArray[np.int32],
    met: NDArray[np.int32],
    begins: NDArray[np.bool_],
    synapses_per_word: int,
    rows: int,
    chip_columns: int,
    chip_rows: int,
    router: NDArray[np.int32],
    received: NDArray[np.int64],
    synapses: NDArray[np.int64],
    words: NDArray[np.int64],
    link_messages: NDArray[np.int64],
) -> None:
    """Add all messages, route by route, to the last four arrays."""
    links = np.empty(len(link_messages), np.int64)
    original = 0
    for way in range(len(uses)):
        count, there = uses[way], target[way]
        if count == 0:
            continue
        begin = router[sender[way]]
        if not begins[way]:
            begin = gate(begin, original, rows, chip_columns, chip_rows)
        if there == HOST:
            continue
        end = router[there]
        if begins[way]:
            original = end
        received[there] += count
        synapses[there] += count * met[way]
        words[there] += count * ((met[way] + synapses_per_word - 1) // synapses_per_word)
        for k in range(route(begin, end, rows, links)):
            link_messages[links[k]] += count
