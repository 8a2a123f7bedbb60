"""Test double of Lava's Loihi extension: the profiler."""

from __future__ import annotations

import numpy as np
from lava.magma.core.run_configs import Loihi2HwCfg

from loihi_double import RAILS, TROUBLE, Strict, note, runs

WATTS, STATIC_WATTS, STEP_SECONDS = 2.0, 1.5, 1e-3


class Loihi2HWProfiler(Strict):
    """Serves one run; a probe must be asked for before it, and holds no more than its buffer."""

    def __init__(self, run_cfg: Loihi2HwCfg) -> None:
        assert type(run_cfg) is Loihi2HwCfg
        assert not runs, "the profiler must be made before the run"
        note("profiler")
        self._buffer = self._energy_steps = 0

    def execution_time_probe(
        self, num_steps: int, t_start: int = 1, t_end: int = 0, dt: int = 1, buffer_size: int = 1024
    ) -> None:
        assert not runs, "too late"
        note(f"time probe {num_steps} {t_start} {t_end} {dt} {buffer_size}")
        assert buffer_size * dt >= t_end - t_start + 1, "the buffer overflows"
        self._buffer = buffer_size

    def energy_probe(self, num_steps: int) -> None:
        assert not runs, "too late"
        note(f"energy probe {num_steps}")
        self._energy_steps = num_steps

    def activity_probe(self) -> None:
        note("activity probe")

    def memory_probe(self) -> None:
        note("memory probe")

    def _samples(self, probe: str, size: int) -> np.ndarray:
        assert size, f"no {probe} was asked for"
        assert runs == [size], f"the probe was sized for {size} steps, not for {runs}"
        note(f"read {probe}")
        return np.ones(0 if TROUBLE == "silent" else size)

    @property
    def execution_time(self) -> np.ndarray:
        return self._samples("time", self._buffer) * STEP_SECONDS

    @property
    def spiking_time(self) -> np.ndarray:
        return self._samples("time", self._buffer) * STEP_SECONDS / 2

    @property
    def power(self) -> np.ndarray:
        return self._samples("energy", self._energy_steps) * WATTS

    @property
    def energy(self) -> float:
        return float(self._samples("energy", self._energy_steps).sum() * WATTS * STEP_SECONDS)

    @property
    def static_energy(self) -> float:
        return float(
            self._samples("energy", self._energy_steps).sum() * STATIC_WATTS * STEP_SECONDS
        )


def _rail(share: float) -> property:
    def power(self: Loihi2HWProfiler) -> object:
        return self.power * share

    return property(power)


if RAILS:
    shares = {"vdd_power": 0.6, "vddm_power": 0.3, "vddio_power": 0.1}
    for rail, share in shares.items():
        setattr(Loihi2HWProfiler, rail, _rail(share))
