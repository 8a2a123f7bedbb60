r"""What steps give each core and link to do, from events alone: no message is written down.

Events of a segment s (:mod:`~spikegpt_neuro.mapping.routes`) are alike, so that a step is a sum
over the segments at work: with n neurons, E events and m messages for each of them,

.. math::
    generating_c &= access \, n_c + \sum_{s \in c} \big( update_s \, n_s
        + E_s \, (spike\_out_s + m_s \, axon\_out) \big) \\
    received_c &= \sum_{r \to c} E_{s(r)}, \quad
    synapses_c = \sum_{r \to c} E_{s(r)} \, synapses_r, \quad
    messages_l = \sum_s E_s \, ways_{sl}

with the routes r to a core, and how many of a segment's routes lead over a link. The same loads as
:func:`~spikegpt_neuro.backends.cycle.timing.loads.loads` finds in the messages of a step, for many
steps in one pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.backends.cycle.timing.loads import Loads, words_together
from spikegpt_neuro.backends.cycle.traffic.masks import Masks
from spikegpt_neuro.backends.cycle.traffic.step_messages import NeuronWork, arrive, count_events
from spikegpt_neuro.hardware.machine import Machine
from spikegpt_neuro.hardware.mesh import HOST, route
from spikegpt_neuro.mapping.routes import Routes

Indices = NDArray[np.int64]
Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class EventLoads:
    """Routes and latencies as the sums need them; see the module.

    ``visits``  (C,) seconds in which each core visits its neurons, in every step.
    ``update``, ``event``  (S,) seconds of a segment's core: for a token, and for each event.
    ``words``   (R,) reads of synaptic memory for a message.
    ``first_link`` (S + 1,), ``link``, ``ways``  links that messages of segment s use are
                ``link[first_link[s]:first_link[s + 1]]``, and how many routes lead over each.
    """

    routes: Routes
    machine: Machine
    visits: Seconds
    update: Seconds
    event: Seconds
    words: Indices
    first_link: Indices
    link: NDArray[np.int32]
    ways: NDArray[np.int32]

    @staticmethod
    def of(routes: Routes, work: NeuronWork, machine: Machine) -> EventLoads:
        """For placed neurons."""
        neurons, per_word = routes.stop - routes.start, machine.synapses_per_word
        visited = np.bincount(routes.core, neurons, routes.cores + 1)[: routes.cores]
        axon_out = machine.latencies.axon_out * routes.messages
        return EventLoads(
            routes,
            machine,
            (visited * work.access).astype(np.float64),
            work.update[routes.population] * neurons,
            work.spike_out[routes.population] + axon_out,
            -(-routes.synapses.astype(np.int64) // per_word),
            *_links_of(routes, machine),
        )

    @property
    def step_bytes(self) -> int:
        """What one step takes while it is summed and timed, about."""
        return 8 * (8 * self.routes.cores + 4 * self.machine.mesh.links + len(self.update))

    def of_steps(self, masks: Masks, tokens: Indices) -> tuple[Loads, Indices]:
        """Loads of steps in which source p works on ``tokens[b, p]``; and their events (B, S)."""
        routes, machine, steps = self.routes, self.machine, len(tokens)
        events, host = count_events(routes, masks, tokens), int(routes.first[routes.cores])
        generating = np.tile(self.visits, (steps, 1))
        received, synapses = np.zeros((2, steps, routes.cores), np.int64)
        links = np.zeros((steps, machine.mesh.links), np.int64)
        ways = (routes.first_route, routes.target, routes.synapses)
        _arrive(host, events, *ways, received, synapses)
        words = words_together(received, synapses, machine.synapses_per_word)
        _add(
            tokens,
            events,
            routes.population[:host],
            routes.core,
            self.update,
            self.event,
            *ways,
            self.words,
            (self.first_link, self.link, self.ways),
            generating,
            received,
            synapses,
            words,
            links,
        )
        return Loads.of(machine.latencies, generating, received, synapses, words, links), events


def _links_of(
    routes: Routes, machine: Machine
) -> tuple[Indices, NDArray[np.int32], NDArray[np.int32]]:
    mesh, on_core = machine.mesh, int(routes.first[routes.cores])
    begin = routes.departures(mesh)
    end = np.where(routes.target == HOST, begin, mesh.router[routes.target])
    ways = (routes.first_route[: on_core + 1], begin, end, mesh.rows)
    first_link = np.zeros(len(routes.start) + 1, np.int64)
    nothing = np.zeros(0, np.int32)
    _collect(*ways, mesh.links, first_link, nothing, nothing)
    first_link[on_core + 1 :] = first_link[on_core]
    link, over = np.zeros((2, int(first_link[-1])), np.int32)
    _collect(*ways, mesh.links, first_link, link, over)
    return first_link, link, over


@kernel
def _collect(
    first_route: Indices,
    begin: Indices,
    end: Indices,
    rows: int,
    mesh_links: int,
    first_link: Indices,
    link: NDArray[np.int32],
    ways: NDArray[np.int32],
) -> None:
    """Write ``first_link``; and ``link`` and ``ways`` where there is room for them."""
    over, met, used = np.zeros((3, mesh_links), np.int64)
    for s in range(len(first_route) - 1):
        links = 0
        for r in range(first_route[s], first_route[s + 1]):
            for k in range(route(begin[r], end[r], rows, met)):
                if over[met[k]] == 0:
                    used[links] = met[k]
                    links += 1
                over[met[k]] += 1
        for k in range(links):
            if len(link):
                link[first_link[s] + k] = used[k]
                ways[first_link[s] + k] = over[used[k]]
            over[used[k]] = 0
        first_link[s + 1] = first_link[s] + links


@kernel
def _arrive(
    host: int,
    events: Indices,
    first_route: Indices,
    target: NDArray[np.int32],
    met: NDArray[np.int32],
    received: Indices,
    synapses: Indices,
) -> None:
    for b in range(len(events)):
        arrive(host, events[b], first_route, target, met, received[b], synapses[b])


@kernel
def _add(
    tokens: Indices,
    events: Indices,
    population: Indices,
    core: Indices,
    update: Seconds,
    event: Seconds,
    first_route: Indices,
    target: NDArray[np.int32],
    met: NDArray[np.int32],
    reads: Indices,
    by_link: tuple[Indices, NDArray[np.int32], NDArray[np.int32]],
    generating: Seconds,
    received: Indices,
    synapses: Indices,
    words: Indices,
    links: Indices,
) -> None:
    """Add what the segments on cores, of ``population`` (S,), do in each step (B, ...)."""
    first_link, link, ways = by_link
    for b in range(len(tokens)):
        for s in range(len(population)):
            if tokens[b, population[s]] < 0:
                continue
            count = events[b, s]
            generating[b, core[s]] += update[s] + count * event[s]
            if count == 0:
                continue
            for r in range(first_route[s], first_route[s + 1]):
                there = target[r]
                if there != HOST:
                    received[b, there] += count
                    synapses[b, there] += count * met[r]
                    words[b, there] += count * reads[r]
            for k in range(first_link[s], first_link[s + 1]):
                links[b, link[k]] += count * ways[k]
