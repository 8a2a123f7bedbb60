"""The clocked model once more, written to be read: every part looks at every cycle.

Times are whole numbers of UNITS, a millionth of a cycle; machines here have a cycle of 1 s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from math import ceil

import numpy as np

from spikegpt_neuro.backends.cycle.traffic.messages import StepMessages
from spikegpt_neuro.hardware.machine import Latencies, Machine
from spikegpt_neuro.hardware.mesh import HOST, Mesh

UNITS = 1_000_000
EAST, WEST, NORTH, SOUTH = range(4)


def make_machine(
    places: Sequence[tuple[int, int]],
    *,
    columns: int,
    rows: int,
    chip: tuple[int, int] | None = None,
    ports: int | None = None,
    buffer: int = 4,
    cycle: float = 1.0,
    synapses_per_word: int = 8,
    **latencies: float,
) -> Machine:
    """Cores at the routers (x, y) of ``places``; latencies that are not given are 0."""
    x, y = np.array(places, np.int32).reshape(-1, 2).T
    width, height = chip or (columns, rows)
    times = dict.fromkeys((f.name for f in fields(Latencies)), 0.0) | latencies
    mesh = Mesh(columns, rows, width, height, x, y, ports)
    return Machine(mesh, Latencies(**times), buffer, cycle, synapses_per_word)


def make_step(
    sent: Sequence[Sequence[tuple[int | Sequence[int], int, float]]],
    *,
    leftover: Sequence[float] | None = None,
    arrived: Sequence[tuple[int, int]] | None = None,
) -> StepMessages:
    """``sent``: (target, synapses, work) of each core; ``arrived``: (messages, synapses).

    Several targets of another chip get one message, and copies of it.
    """
    cores = len(sent)
    each = [
        [
            (target, synapses, work, place == 0)
            for targets, synapses, work in core
            for place, target in enumerate((targets,) if isinstance(targets, int) else targets)
        ]
        for core in sent
    ]
    made = [message for core in each for message in core]
    target, synapses, work, begins = ([message[i] for message in made] for i in range(4))
    count, met = zip(*(arrived or [(0, 0)] * cores), strict=True)
    return StepMessages(
        first=np.cumsum([0] + [len(core) for core in each]),
        target=np.array(target, np.int32),
        synapses=np.array(synapses, np.int32),
        work=np.array(work, np.float64),
        leftover=np.array(leftover or [0.0] * cores, np.float64),
        arrived=np.array(count, np.int32),
        arrived_synapses=np.array(met, np.int64),
        begins=np.array(begins, bool),
    )


def in_units(seconds: float, cycle: float = 1.0) -> int:
    """Units of a decimal number of seconds, rounded up, without floating point."""
    return ceil(Fraction(repr(float(seconds))) / Fraction(repr(cycle)) * UNITS)


@dataclass
class Buffer:
    """Messages with the time of their arrival, in order."""

    waiting: deque[tuple[int, int]] = field(default_factory=deque)
    deepest: int = 0

    def there(self, now: int) -> int:
        """How many have arrived."""
        return sum(arrival <= now for arrival, _ in self.waiting)

    def look(self, now: int) -> None:
        self.deepest = max(self.deepest, self.there(now))


@dataclass
class Core:
    """``to_make``: messages not yet made, the first being made until ``made``."""

    to_make: deque[int]
    made: int = 0
    serving: int | None = None
    served: int = 0
    generating: int = 0
    processing: int = 0
    stalled: int = 0


class ClockedReference:
    """Runs a step when made; the attributes then hold the results."""

    def __init__(self, machine: Machine, step: StepMessages) -> None:
        self.machine, self.step, self.mesh = machine, step, machine.mesh
        mesh, count = self.mesh, step.count
        self.cycle = 0
        # Ports and the buffers after them: ("link", router, direction) or ("core", number).
        self.ports: list[tuple[str, int, int]] = [
            ("link", link // 4, link % 4) for link in range(mesh.links)
        ] + [("core", core, 0) for core in range(mesh.cores)]
        self.buffers = [Buffer() for _ in self.ports]
        self.free = [0] * len(self.ports)
        self.turn = [-1] * len(self.ports)
        self.served = dict.fromkeys(map(int, mesh.port), -1)
        self.sent = [0] * len(self.ports)
        self.stalled = [0] * len(self.ports)
        self.departed, self.arrived, self.processed = [0] * count, [0] * count, [0] * count
        self.synapses = [int(s) for s in step.synapses]
        self.cores = [
            Core(deque(range(step.first[c], step.first[c + 1]))) for c in range(mesh.cores)
        ]
        for c in range(mesh.cores):
            self._wait_from_host(c)
            self._make_next(c, 0)
        while any(b.waiting for b in self.buffers) or any(
            c.to_make or c.serving is not None for c in self.cores
        ):
            self._one_cycle()
            self.cycle += 1

    @property
    def cycles(self) -> int:
        """Cycles of the step without its barrier."""
        ends = [max(c.made, c.served) for c in self.cores] + self.free
        return max(ends) // UNITS + 1

    @property
    def now(self) -> int:
        return self.cycle * UNITS

    def _wait_from_host(self, core: int) -> None:
        """Messages of the host get numbers above those of the step."""
        messages, synapses = int(self.step.arrived[core]), int(self.step.arrived_synapses[core])
        for left in range(messages, 0, -1):
            self.buffers[self.mesh.links + core].waiting.append((0, len(self.synapses)))
            self.synapses.append(synapses // left)
            synapses -= synapses // left

    def _one_cycle(self) -> None:
        room = [self._size(p) - len(b.waiting) for p, b in enumerate(self.buffers)]
        for buffer in self.buffers:
            buffer.look(self.now)
        for c, core in enumerate(self.cores):
            if core.serving is not None and core.served <= self.now:
                if core.serving < self.step.count:
                    self.processed[core.serving] = core.served
                core.serving = None
            self._serve(c)
            self._send_to_host(c)
        asking = {input_: self._wanted(input_) for input_ in self._inputs_with_messages()}
        sending = self._first_of_each(
            p for p in set(asking.values()) if self.free[p] <= self.now and room[p] > 0
        )
        for port in range(len(self.ports)):
            waiting = [input_ for input_, wanted in asking.items() if wanted == port]
            if port in sending:
                self._let_through(port, waiting)
                waiting.pop()
            self.stalled[port] += bool(waiting)
        for c in range(len(self.cores)):
            self.buffers[self.mesh.links + c].look(self.now)
            self._serve(c)

    def _size(self, port: int) -> int:
        """Messages that the buffer after a port holds."""
        kind, router, direction = self.ports[port]
        endless = not self.step.begins.all() and kind == "link" and self._inside(port)
        if endless and self._crosses(router, direction):
            return self.step.count + 1
        return self.machine.link_buffer

    def _sharing(self, port: int) -> list[int]:
        """The links that share a port's time, in order."""
        if port >= self.mesh.links:
            return [port]
        return [int(link) for link in np.flatnonzero(self.mesh.port == self.mesh.port[port])]

    def _first_of_each(self, able: Iterable[int]) -> set[int]:
        """Of ports that could send: where links share one, the first after the last served."""
        able, chosen = set(able), set()
        for port in able:
            links = self._sharing(port)
            last = self.served.get(links[0], -1)
            turn = links.index(last) + 1 if last in links else 0
            order = links[turn:] + links[:turn]
            chosen.add(next(link for link in order if link in able))
        return chosen

    def _begin(self, earliest: int) -> int:
        return earliest if earliest > self.now - UNITS else self.now

    # cores

    def _make_next(self, c: int, begin: int) -> None:
        core, out = self.cores[c], in_units(self.machine.latencies.axon_out)
        if core.to_make:
            duration = max(UNITS, in_units(self.step.work[core.to_make[0]]) + out)
        else:
            duration = in_units(self.step.leftover[c])
        core.made = begin + duration
        core.generating += duration

    def _send_to_host(self, c: int) -> None:
        core = self.cores[c]
        if core.to_make and core.made <= self.now:
            message = core.to_make[0]
            if self.step.target[message] == HOST:
                core.to_make.popleft()
                for times in (self.departed, self.arrived, self.processed):
                    times[message] = core.made
                self._make_next(c, core.made)

    def _serve(self, c: int) -> None:
        core, queue = self.cores[c], self.buffers[self.mesh.links + c].waiting
        if core.serving is not None or not queue or queue[0][0] > self.now:
            return
        arrival, core.serving = queue.popleft()
        t, synapses = self.machine.latencies, self.synapses[core.serving]
        words = ceil(Fraction(synapses, self.machine.synapses_per_word))
        meeting = max(synapses * in_units(t.synaptic_operation), words * in_units(t.memory_word))
        duration = max(UNITS, in_units(t.axon_in) + meeting)
        core.served = self._begin(max(arrival, core.served)) + duration
        core.processing += duration

    # routers

    def _neighbour(self, router: int, direction: int) -> int:
        x, y = divmod(router, self.mesh.rows)
        x += (direction == EAST) - (direction == WEST)
        y += (direction == SOUTH) - (direction == NORTH)
        return x * self.mesh.rows + y

    def _router_of(self, input_: int) -> int:
        """Router of an input: where a link ends, or where a core stands."""
        kind, number, direction = self.ports[input_]
        if kind == "link":
            return self._neighbour(number, direction)
        return int(self.mesh.router[number])

    def _inputs_with_messages(self) -> Iterator[int]:
        for port, (kind, number, _) in enumerate(self.ports):
            waiting = self.buffers[port].waiting
            if kind == "link" and waiting and waiting[0][0] <= self.now:
                yield port
            if (
                kind == "core"
                and self.cores[number].to_make
                and self.cores[number].made <= self.now
            ):
                yield port

    def _message(self, input_: int) -> int:
        kind, number, _ = self.ports[input_]
        if kind == "link":
            return self.buffers[input_].waiting[0][1]
        return self.cores[number].to_make[0]

    def _wanted(self, input_: int) -> int:
        """The port that an input's message has to take: along the row, then along the column."""
        router, target = self._router_of(input_), int(self.step.target[self._message(input_)])
        x, y = divmod(router, self.mesh.rows)
        dx, dy = int(self.mesh.x[target]) - x, int(self.mesh.y[target]) - y
        if dx:
            return 4 * router + (EAST if dx > 0 else WEST)
        if dy:
            return 4 * router + (SOUTH if dy > 0 else NORTH)
        return self.mesh.links + target

    def _crosses(self, router: int, direction: int) -> bool:
        x, y = divmod(router, self.mesh.rows)
        other_x, other_y = divmod(self._neighbour(router, direction), self.mesh.rows)
        width, height = self.mesh.chip_columns, self.mesh.chip_rows
        return (x // width, y // height) != (other_x // width, other_y // height)

    def _times(self, port: int, input_: int) -> tuple[int, int]:
        """Latency and interval of a message's way through a port."""
        t = self.machine.latencies
        kind, router, direction = self.ports[port]
        if kind == "core":
            stranger = self.ports[input_][0] == "core" and input_ != port
            return (in_units(t.spike_within_tile) if stranger else 0), UNITS
        hop = t.hop_east_west if direction in (EAST, WEST) else t.hop_north_south
        if self._crosses(router, direction):
            latency = in_units(float(Fraction(repr(hop)) + Fraction(repr(t.interchip_hop))))
            return max(UNITS, latency), max(UNITS, in_units(t.interchip_interval))
        return max(UNITS, in_units(hop)), max(UNITS, in_units(t.link_interval))

    def _let_through(self, port: int, waiting: list[int]) -> None:
        router = self._router_of(waiting[0])
        inputs = [i for i in range(len(self.ports)) if self._is_input(i, router)]
        last = inputs.index(self.turn[port]) if self.turn[port] >= 0 else -1
        order = inputs[last + 1 :] + inputs[: last + 1]
        turn = self.turn[port] = next(i for i in order if i in waiting)
        latency, interval = self._times(port, turn)
        message = self._message(turn)
        kind, number, direction = self.ports[turn]
        if kind == "link":
            waiting_here = self.buffers[turn].waiting
            ready, _ = waiting_here[0]
            begin = self._begin(max(ready, self.free[port]))
            if not self.step.begins[message] and self._crosses(number, direction):
                self.departed[message] = begin
            if self._has_copy(turn, message):
                waiting_here[0] = (ready, message + 1)
            else:
                waiting_here.popleft()
        else:
            core = self.cores[number]
            begin = self._begin(max(core.made, self.free[port]))
            core.stalled += begin - core.made
            self.departed[message] = begin
            core.to_make.popleft()
            while core.to_make and not self.step.begins[core.to_make[0]]:
                core.to_make.popleft()
            self._make_next(number, begin)
        for link in self._sharing(port):
            self.free[link] = begin + interval
        self.served[self._sharing(port)[0]] = port
        self.sent[port] += 1
        self.buffers[port].waiting.append((begin + latency, message))
        if self.ports[port][0] == "core":
            self.arrived[message] = begin + latency

    def _chip(self, router: int) -> tuple[int, int]:
        x, y = divmod(router, self.mesh.rows)
        return x // self.mesh.chip_columns, y // self.mesh.chip_rows

    def _has_copy(self, link: int, message: int) -> bool:
        """Whether a message that came over a link is copied at its end once more."""
        _, router, direction = self.ports[link]
        if message + 1 == self.step.count or self.step.begins[message + 1]:
            return False
        end, target = self._neighbour(router, direction), int(self.step.target[message])
        there = self._chip(end) == self._chip(int(self.mesh.router[target]))
        return there and self._crosses(router, direction)

    def _is_input(self, port: int, router: int) -> bool:
        kind, number, _ = self.ports[port]
        if kind == "core":
            return int(self.mesh.router[number]) == router
        return self._inside(port) and self._neighbour(*self.ports[port][1:]) == router

    def _inside(self, port: int) -> bool:
        """Whether a link ends on the mesh."""
        _, number, direction = self.ports[port]
        x, y = divmod(number, self.mesh.rows)
        inside = {
            EAST: x < self.mesh.columns - 1,
            WEST: x > 0,
            NORTH: y > 0,
            SOUTH: y < self.mesh.rows - 1,
        }
        return inside[direction]
