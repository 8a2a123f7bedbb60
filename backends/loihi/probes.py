"""What listens to a measured run: Lava's profiler and activity counters. Imports Lava.

One probe, one run, one process: the profiler serves a single run, and the execution time probe
disturbs the power that the energy probe sees.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from spikegpt_neuro.backends.loihi import job
from spikegpt_neuro.errors import CheckFailed

FIRST_STEP = 1
TIMES = ("host_time", "management_time", "learning_time", "pre_lrn_mgtm_time")
RAILS = ("vdd_power", "vddm_power", "vddio_power")
"""Power of the cores and the mesh, of the memory, of the input and output."""
POWERS = ("static_power", "dynamic_power", *RAILS)
COUNTERS = ("syn_ops", "dendrite_updates", "axon_out", "spikes_in")


class Probe(Protocol):
    """Listens to one run; ``callbacks`` go into the run configuration."""

    callbacks: Sequence[Any]

    def attach(self, run_configuration: Any, steps: int) -> None:
        """Get ready for a run of ``steps`` time steps."""

    def read(self) -> dict[str, Any]:
        """What it heard, after the run."""


class TimeProbe:
    """Seconds of every time step, in a buffer that holds all of them."""

    callbacks: Sequence[Any] = ()

    def attach(self, run_configuration: Any, steps: int) -> None:
        self._profiler = _profiler(run_configuration)
        self._profiler.execution_time_probe(
            num_steps=steps, t_start=FIRST_STEP, t_end=steps, dt=1, buffer_size=steps
        )

    def read(self) -> dict[str, Any]:
        times = {"execution_time": _numbers(self._profiler.execution_time, "execution time")}
        times["spiking_time"] = _numbers(self._profiler.spiking_time, "spiking time")
        return times | _offered(self._profiler, TIMES)


class EnergyProbe:
    """Watts and joules of the whole run, by rail where the profiler tells."""

    callbacks: Sequence[Any] = ()

    def attach(self, run_configuration: Any, steps: int) -> None:
        self._profiler = _profiler(run_configuration)
        self._profiler.energy_probe(num_steps=steps)

    def read(self) -> dict[str, Any]:
        figures = {
            "power": _numbers(self._profiler.power, "power"),
            "energy": _numbers(self._profiler.energy, "energy"),
            "static_energy": _numbers(self._profiler.static_energy, "static energy"),
        }
        return figures | _offered(self._profiler, POWERS)


class ActivityProbe:
    """Counters of every core: synaptic operations, updates, messages out and in."""

    def __init__(self) -> None:
        from lava.utils.loihi2_profiler import Loihi2Activity

        self._counters = Loihi2Activity()
        self.callbacks: Sequence[Any] = [self._counters]

    def attach(self, run_configuration: Any, steps: int) -> None:
        """The run configuration has it already."""

    def read(self) -> dict[str, Any]:
        return {name: _numbers(getattr(self._counters, name), name) for name in COUNTERS}


def make_probe(kind: job.Probe) -> Probe:
    """A new probe, for one run."""
    makers: dict[job.Probe, type[Probe]] = {
        "time": TimeProbe,
        "energy": EnergyProbe,
        "activity": ActivityProbe,
    }
    return makers[kind]()


def _profiler(run_configuration: Any) -> Any:
    from lava.utils.profiler import Profiler

    return Profiler.init(run_configuration)


def _offered(profiler: Any, names: Sequence[str]) -> dict[str, Any]:
    """Those figures that this version of the profiler has; none of them is promised."""
    nothing = object()
    return {
        name: _numbers(getattr(profiler, name), name)
        for name in names
        if inspect.getattr_static(profiler, name, nothing) is not nothing
    }


def _numbers(value: Any, what: str) -> Any:
    """A number, or (nested) lists of them; raises where the probe recorded nothing."""
    numbers = np.asarray(value, dtype=np.float64)
    if numbers.size == 0 or not np.isfinite(numbers).all():
        raise CheckFailed(f"the probe recorded no {what}; run more tokens")
    return numbers.tolist()
