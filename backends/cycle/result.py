"""What a simulation found: seconds, counts, and which core and link set the pace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.cycle.timing.names import Timing
from spikegpt_neuro.backends.cycle.traffic.schedule import Timetable
from spikegpt_neuro.energy.events import HardwareEvents
from spikegpt_neuro.hardware.mesh import Mesh
from spikegpt_neuro.mapping.placed_machine import End
from spikegpt_neuro.schedules import Schedule
from spikegpt_neuro.units import scaled

Seconds = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class CoreLoads:
    """Totals of every core in use, (C,) each; times in seconds.

    ``generating``  neuron and axon-out stages at work; ``processing``: axon-in and synapses.
    ``busy``        the longer of the two, step by step.
    ``stalled``     a made message could not leave. ``queue``: most that waited at its axon-in.
    ``sent``, ``received``, ``synaptic_operations``  counts.
    """

    names: tuple[str, ...]
    generating: Seconds
    processing: Seconds
    busy: Seconds
    stalled: Seconds
    queue: NDArray[np.int32]
    sent: Indices
    received: Indices
    synaptic_operations: Indices


@dataclass(frozen=True)
class LinkLoads:
    """Totals of every link of the mesh, (L,) each.

    ``occupied``  seconds that its messages need at the link's shortest interval, with those of all
                  links that share its port.
    ``stalled``   seconds that a message waited for it. ``queue``: most in the buffer at its end.
    """

    names: tuple[str, ...]
    messages: Indices
    occupied: Seconds
    stalled: Seconds
    queue: NDArray[np.int32]


@dataclass(frozen=True)
class Series:
    """The first steps one by one, float32: (W, C) of every core and (W, L) of every link.

    Steps beyond the window are in the totals only, so that memory does not grow with the run.
    """

    generating: NDArray[np.float32]
    processing: NDArray[np.float32]
    stalled: NDArray[np.float32]
    core_queue: NDArray[np.float32]
    sent: NDArray[np.float32]
    link_messages: NDArray[np.float32]
    link_stalled: NDArray[np.float32]
    link_queue: NDArray[np.float32]

    @property
    def steps(self) -> int:
        return len(self.sent)


@dataclass(frozen=True)
class Simulation:
    """Time and counts of a run on placed hardware.

    ``step_seconds``   (N,) each simulated step, barrier included.
    ``core_seconds``   (N,) the busiest core of each step; ``link_seconds``: the most occupied link.
    ``by_population``  source of events -> counts; :attr:`events` is their sum.
    ``left_out``       constants that the profile is silent on, so that they take no time.
    ``interrupted``    True where it ended early; everything is of the steps that were finished.
    """

    hardware: str
    timing: Timing
    end: End
    timetable: Timetable
    mesh: Mesh
    chips: int
    barrier: float
    step_seconds: Seconds
    core_seconds: Seconds
    link_seconds: Seconds
    by_population: Mapping[str, HardwareEvents]
    cores: CoreLoads
    links: LinkLoads
    series: Series
    left_out: tuple[str, ...] = ()
    interrupted: bool = False

    def __repr__(self) -> str:
        return (
            f"Simulation({self.hardware}, {self.timing} timing, {self.schedule}, "
            f"{self.tokens} tokens in {scaled(self.seconds, 's')} of hardware time)"
        )

    @property
    def schedule(self) -> Schedule:
        return self.timetable.schedule

    @property
    def depth(self) -> int:
        return self.timetable.depth

    @property
    def steps(self) -> int:
        """Steps that were simulated."""
        return len(self.step_seconds)

    @property
    def tokens(self) -> int:
        """Tokens that passed all stages."""
        return self.timetable.done(self.timetable.steps.start + self.steps)

    @cached_property
    def events(self) -> HardwareEvents:
        """Counts of the whole run."""
        return sum(self.by_population.values(), HardwareEvents())

    @property
    def seconds(self) -> float:
        """The whole run; a pipeline's filling and draining included."""
        return float(self.step_seconds.sum())

    @cached_property
    def steady_step_seconds(self) -> Seconds:
        """Steps in which all populations had a token (pipelined), or those of whole tokens."""
        begin = self.timetable.steps.start
        steady = self.timetable.steady
        stop = steady.stop
        if self.schedule == "fall-through":
            stop = self.tokens * (self.depth + 1)
        return self.step_seconds[max(0, steady.start - begin) : max(0, stop - begin)]

    @property
    def is_steady(self) -> bool:
        """False where the run is too short for :attr:`seconds_per_token` to be a throughput."""
        return len(self.steady_step_seconds) > 0

    @property
    def seconds_per_token(self) -> float | None:
        """Time between two tokens in the steady state.

        Of a run that never fills the pipeline, its seconds by its tokens; None before the first
        token is through.
        """
        if self.is_steady:
            steps = 1 if self.schedule == "pipelined" else self.depth + 1
            return float(self.steady_step_seconds.mean()) * steps
        return self.seconds / self.tokens if self.tokens else None

    @property
    def tokens_per_second(self) -> float | None:
        """Throughput in the steady state; see :attr:`seconds_per_token`."""
        return 1.0 / self.seconds_per_token if self.seconds_per_token else None

    @property
    def latency_seconds(self) -> float | None:
        """From a token's entry to its last stage, at the mean time of a steady step."""
        if not self.is_steady:
            return None
        return float(self.steady_step_seconds.mean()) * (self.depth + 1)

    @property
    def critical_core(self) -> int:
        """The core that was busy longest."""
        return int(self.cores.busy.argmax())

    @property
    def critical_link(self) -> int | None:
        """The link that was occupied longest; None where no message left its router."""
        found = int(self.links.occupied.argmax())
        return found if self.links.messages[found] else None

    @property
    def shares(self) -> dict[str, float]:
        """Share of the time that the busiest core, the most occupied link and the barrier take.

        They may overlap, and what is missing to 1 is waiting. A share above 1 means that the
        timing model does not look at links.
        """
        whole = self.seconds or 1.0
        return {
            "core": float(self.core_seconds.sum()) / whole,
            "link": float(self.link_seconds.sum()) / whole,
            "barrier": self.barrier * self.steps / whole,
        }

    def to_json(self) -> dict[str, Any]:
        """Figures for a machine: everything but the arrays."""
        core, link = self.critical_core, self.critical_link
        whole = self.seconds or 1.0
        return {
            "hardware": self.hardware,
            "timing": self.timing,
            "constants": self.end,
            "schedule": self.schedule,
            "tokens": self.tokens,
            "steps": self.steps,
            "depth": self.depth,
            "interrupted": self.interrupted,
            "chips": self.chips,
            "cores": self.mesh.cores,
            "seconds": self.seconds,
            "steady": self.is_steady,
            "seconds_per_token": self.seconds_per_token,
            "tokens_per_second": self.tokens_per_second,
            "tokens_per_second_whole_run": self.tokens / whole,
            "latency_seconds": self.latency_seconds,
            "seconds_per_step": self.seconds / self.steps if self.steps else None,
            "barrier_seconds": self.barrier,
            "shares": self.shares,
            "critical_core": {
                "name": self.cores.names[core],
                "busy_share": float(self.cores.busy[core]) / whole,
                "stalled_share": float(self.cores.stalled[core]) / whole,
                "longest_queue": int(self.cores.queue[core]),
            },
            "critical_link": None
            if link is None
            else {
                "name": self.links.names[link],
                "messages_per_step": float(self.links.messages[link]) / max(1, self.steps),
                "occupied_share": float(self.links.occupied[link]) / whole,
                "stalled_share": float(self.links.stalled[link]) / whole,
                "longest_queue": int(self.links.queue[link]),
            },
            "events": asdict(self.events),
            "left_out": list(self.left_out),
        }
