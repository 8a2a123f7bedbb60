"""What the cores send in one time step: the only thing that the timing models look at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Reach:
    """Where messages can go, route by route (R,); what does not change from step to step.

    ``sender``    the core that makes the message; the number of cores for those of the host.
    ``target``, ``synapses``, ``begins``  as in :class:`StepMessages`; a route that does not begin
                  follows the one whose copy it is.
    """

    sender: Indices
    target: NDArray[np.int32]
    synapses: NDArray[np.int32]
    begins: NDArray[np.bool_]


@dataclass(frozen=True)
class Volleys:
    """The messages of a step by events: an event's go over neighbouring routes, one after another.

    ``reach``   all routes.
    ``first``   (C + 1,) volleys of core c are ``first[c]:first[c + 1]``, in order.
    ``begin``, ``end``  (V,) the routes ``begin:end`` of each: one or more.
    ``work``    (V,) seconds of neuron work before its first message; none lies between the others.
    ``uses``    (R,) how many volleys go over each route.
    ``leftover``, ``arrived``, ``arrived_synapses``  as in :class:`StepMessages`.
    """

    reach: Reach
    first: Indices
    begin: NDArray[np.int32]
    end: NDArray[np.int32]
    work: NDArray[np.float64]
    uses: Indices
    leftover: NDArray[np.float64]
    arrived: NDArray[np.int32]
    arrived_synapses: Indices


@dataclass(frozen=True)
class StepMessages:
    r"""Messages of one step, core by core, each core's in the order in which it makes them.

    A core walks its neurons in order; their work adds up until one fires. Message m is made

    .. math:: generation_m = work_m + axon\_out

    seconds after the one before it, and its target is busy with it for

    .. math:: processing_m = axon\_in + synapses_m \cdot synaptic\_operation.

    A message between chips may have copies, which are made where it enters the chip of its target
    (:func:`~spikegpt_neuro.hardware.mesh.gate`) and go on from there; they take the core no time.

    ``first``      (C + 1,) messages of core c are ``first[c]:first[c + 1]``.
    ``target``     (M,) core that receives; HOST (of :mod:`spikegpt_neuro.hardware.mesh`) for what
                   leaves for the host: it takes its core's time, and no route.
    ``synapses``   (M,) synapses that the message meets there.
    ``begins``     (M,) whether it is made at the core; else it is a copy of the last one that is.
    ``work``       (M,) seconds of neuron work since the core's previous message.
    ``leftover``   (C,) seconds of neuron work after the core's last message.
    ``arrived``    (C,) messages from the host that wait at the core when the step begins, and
    ``arrived_synapses``  (C,) the synapses that they meet: they take processing time, no route.
    """

    first: NDArray[np.int64]
    target: NDArray[np.int32]
    synapses: NDArray[np.int32]
    work: NDArray[np.float64]
    leftover: NDArray[np.float64]
    arrived: NDArray[np.int32]
    arrived_synapses: NDArray[np.int64]
    begins: NDArray[np.bool_]

    @property
    def count(self) -> int:
        return len(self.target)

    @cached_property
    def volleys(self) -> Volleys:
        """The same, each message and its copies a volley; route m is that of message m."""
        count, begin = len(self.target), np.flatnonzero(self.begins)
        sender = np.repeat(np.arange(len(self.leftover)), np.diff(self.first))
        return Volleys(
            reach=Reach(sender, self.target, self.synapses, self.begins),
            first=np.searchsorted(begin, self.first),
            begin=begin.astype(np.int32),
            end=np.append(begin[1:], count)[: len(begin)].astype(np.int32),
            work=self.work[begin],
            uses=np.ones(count, np.int64),
            leftover=self.leftover,
            arrived=self.arrived,
            arrived_synapses=self.arrived_synapses,
        )


class VolleyMessages(StepMessages):
    """Messages known by their volleys; one by one they are written down when asked for."""

    def __init__(self, volleys: Volleys) -> None:
        self.__dict__.update(
            volleys=volleys,
            leftover=volleys.leftover,
            arrived=volleys.arrived,
            arrived_synapses=volleys.arrived_synapses,
        )

    @property
    def count(self) -> int:
        return int(self.volleys.uses.sum())

    @cached_property
    def first(self) -> Indices:
        return self._starts[self.volleys.first]

    @cached_property
    def target(self) -> NDArray[np.int32]:
        return self.volleys.reach.target[self._route]

    @cached_property
    def synapses(self) -> NDArray[np.int32]:
        return self.volleys.reach.synapses[self._route]

    @cached_property
    def begins(self) -> NDArray[np.bool_]:
        return self.volleys.reach.begins[self._route]

    @cached_property
    def work(self) -> NDArray[np.float64]:
        work = np.zeros(self.count)
        work[self._starts[:-1]] = self.volleys.work
        return work

    @cached_property
    def _starts(self) -> Indices:
        """(V + 1,) first message of each volley."""
        sizes = self.volleys.end - self.volleys.begin
        return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])

    @cached_property
    def _route(self) -> Indices:
        """(M,) route of each message."""
        sizes = np.diff(self._starts)
        return np.arange(self.count) + np.repeat(self.volleys.begin - self._starts[:-1], sizes)

    def one_by_one(self) -> StepMessages:
        """The same without volleys."""
        fields = StepMessages.__dataclass_fields__
        return StepMessages(**{name: getattr(self, name) for name in fields})
