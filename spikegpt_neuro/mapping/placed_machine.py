r"""From a hardware profile and a placement to the machine that the timing models see.

Latencies are the profile's. What it gives as bandwidth becomes the shortest time between two uses:

.. math::
    link\_interval &= 1 / tile \text{ (messages/s through a router), else } m \, l / intercore \\
    interchip\_interval &= i / port \text{ (bytes/s of one of the chip's ports), else }
        m \, b / interchip \\
    memory\_word &= w \, cores / synaptic\_memory

with m bytes of a message (``router.message``) and i of one between chips
(``router.interchip_message``), l the directed links between the routers of one
chip, b the directed links that leave a chip, w bytes of a memory word (``encoding.list_word``) and
the cores of a chip: a chip's bandwidth is shared evenly by what provides it.
"""

from __future__ import annotations

from typing import Literal, cast

import numpy as np

from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.hardware.machine import (
    BETWEEN_CHIPS,
    NEEDED,
    OPTIONAL,
    Latencies,
    Machine,
)
from spikegpt_neuro.hardware.mesh import Mesh
from spikegpt_neuro.hardware.profile import Constant, Profile
from spikegpt_neuro.hardware.schema import SPECS
from spikegpt_neuro.hardware.topology import Topology
from spikegpt_neuro.hardware.voltage import scales_of
from spikegpt_neuro.mapping.placement import Placement

OF_A_CHIP = ("bandwidth.tile", "bandwidth.intercore", "bandwidth.synaptic_memory")
"""Rates of what takes the cores' supply; links between chips have their own."""

End = Literal["value", "low", "high", "nudged"]
"""Which end of the assumed constants: as given, all fastest, all slowest, or a little slower."""

NUDGE = 1.1
"""``nudged``: times that are assumed, times this. How far a run then takes longer is the share of
its time that rests on assumptions."""


def machine_of(
    profile: Profile, placement: Placement, *, weight_bits: int = 8, end: End = "value"
) -> Machine:
    """The cores of ``placement`` on ``profile``, with all times in seconds.

    ``weight_bits`` tells how many synapses a word of memory brings. Raises
    :class:`UnsupportedInput` naming the first constant that timing needs and the profile lacks.
    """
    figures = _Figures(profile, end)
    mesh = Mesh.of(Topology.of(profile, placement.chips), placement.slots)
    stored = min((b for b in profile.support.weight_bits if b >= weight_bits), default=weight_bits)
    return Machine(
        mesh=mesh,
        latencies=_latencies(figures, mesh, placement),
        link_buffer=int(figures.rate("router.link_buffer")),
        cycle=figures.positive("router.cycle", figures.time("router.cycle")),
        synapses_per_word=max(1, 8 * profile.encoding.list_word // stored),
        adds="latency.core_terms" in profile and profile["latency.core_terms"].value == "sum",
    )


def missing_times(profile: Profile) -> str | None:
    """Why a step cannot be timed: the first constant that is missing; None: it can."""
    chips, usable = min(2, profile.count("system.chips")), profile.count("chip.usable_cores")
    nothing = Placement(
        hardware=profile.name,
        hardware_sha256=profile.sha256,
        graph="",
        artifact=None,
        embedding="host",
        head="host",
        seed=0,
        chips=chips,
        usable_cores=usable,
        sites=tuple((chip, 0) for chip in range(chips)),
        pieces=(),
    )
    try:
        machine_of(profile, nothing)
    except UnsupportedInput as error:
        return str(error)
    return None


def left_out(profile: Profile) -> tuple[str, ...]:
    """Latencies that the profile is silent on, so that the simulation gives them no time."""
    return tuple(f"latency.{key}" for key in OPTIONAL if f"latency.{key}" not in profile)


class _Figures:
    """Constants of a profile at one end of their ranges, in base units."""

    def __init__(self, profile: Profile, end: End) -> None:
        self.profile = profile
        self.end = end
        self.slower = scales_of(profile).time

    def time(self, key: str) -> float:
        """A constant that is slow where it is high; a latency goes with the supply."""
        constant = self._constant(key)
        low, high = constant.range
        nudged = constant.base * self._nudge(constant)
        found = {"value": constant.base, "low": low, "high": high, "nudged": nudged}[self.end]
        return found * self.slower if key.startswith("latency.") else found

    def rate(self, key: str) -> float:
        """A bandwidth or a capacity: slow where it is low, and never 0."""
        constant = self._constant(key)
        low, high = constant.range
        nudged = constant.base / self._nudge(constant)
        found = {"value": constant.base, "low": high, "high": low, "nudged": nudged}[self.end]
        return self.positive(key, found / self.slower if key in OF_A_CHIP else found)

    def positive(self, key: str, found: float) -> float:
        if found <= 0:
            raise UnsupportedInput(f"{self.profile.file}: {key} is {found:g}; expected more than 0")
        return found

    def optional_time(self, key: str) -> float:
        return self.time(key) if key in self.profile else 0.0

    def step_time(self, key: str, count: int) -> float:
        """The entry of a table in steps for ``count``; 0 where the table begins later."""
        constant = self._constant(key)
        ends = {"low": constant.low, "high": constant.high}
        chosen = ends.get(self.end, constant.value)
        table = cast("tuple[tuple[int, float], ...]", chosen or constant.value)
        times = [time for start, time in table if start <= count]
        time = SPECS[key].dimension.to_base(times[-1], constant.unit) if times else 0.0
        return time * self.slower * (self._nudge(constant) if self.end == "nudged" else 1.0)

    @staticmethod
    def _nudge(constant: Constant) -> float:
        return NUDGE if constant.kind == "assumed" else 1.0

    def _constant(self, key: str) -> Constant:
        if key not in self.profile:
            raise UnsupportedInput(
                f"{self.profile.file}: {key} is missing; timing needs it ({SPECS[key].meaning})"
            )
        return self.profile[key]


def _latencies(figures: _Figures, mesh: Mesh, placement: Placement) -> Latencies:
    several = placement.chips > 1
    return Latencies(
        **{key: figures.time(f"latency.{key}") for key in NEEDED},
        **{key: figures.optional_time(f"latency.{key}") for key in OPTIONAL},
        **{key: figures.time(f"latency.{key}") if several else 0.0 for key in BETWEEN_CHIPS},
        link_interval=_link_interval(figures, mesh),
        interchip_interval=_interchip_interval(figures, mesh) if several else 0.0,
        memory_word=_memory_word(figures),
        barrier=_barrier(figures, mesh, placement),
        step_minimum=figures.optional_time("latency.step_minimum"),
    )


def _link_interval(figures: _Figures, mesh: Mesh) -> float:
    if "bandwidth.tile" in figures.profile or "bandwidth.intercore" not in figures.profile:
        return 1.0 / figures.rate("bandwidth.tile")
    columns, rows = mesh.chip_columns, mesh.chip_rows
    links = max(1, 2 * ((columns - 1) * rows + (rows - 1) * columns))
    return figures.time("router.message") * links / figures.rate("bandwidth.intercore")


def _interchip_interval(figures: _Figures, mesh: Mesh) -> float:
    if "bandwidth.port" in figures.profile:
        return figures.time("router.interchip_message") / figures.rate("bandwidth.port")
    links = 2 * (mesh.chip_columns + mesh.chip_rows)
    return figures.time("router.message") * links / figures.rate("bandwidth.interchip")


def _memory_word(figures: _Figures) -> float:
    """0 where the profile gives no bandwidth: memory never keeps a core waiting."""
    if "bandwidth.synaptic_memory" not in figures.profile:
        return 0.0
    profile = figures.profile
    word_of_every_core = profile.encoding.list_word * profile.count("chip.usable_cores")
    return word_of_every_core / figures.rate("bandwidth.synaptic_memory")


def _barrier(figures: _Figures, mesh: Mesh, placement: Placement) -> float:
    """The slower of the barriers over the tiles and over the chips in use."""
    over_tiles = figures.step_time("latency.barrier", len(np.unique(mesh.router)))
    if "latency.barrier_chips" not in figures.profile:
        return over_tiles
    chips = len({chip for chip, _ in placement.sites})
    return max(over_tiles, figures.step_time("latency.barrier_chips", chips))
