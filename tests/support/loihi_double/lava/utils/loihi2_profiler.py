"""Test double of Lava's Loihi extension: the lower-level loggers, as public scripts use them."""

from __future__ import annotations

import numpy as np
from lava.magma.core.callback_fx import NxSdkCallbackFx

from loihi_double import Strict, note, runs

CORES = 3


class Loihi2Activity(Strict, NxSdkCallbackFx):
    """Counters by core, after a run."""

    def __init__(self) -> None:
        note("activity")
        self._counts = np.arange(1, CORES + 1)

    def pre_run_callback(
        self, board: object = None, var_id_to_var_model_map: object = None
    ) -> None:
        raise NotImplementedError("there is no board")

    post_run_callback = pre_run_callback

    def _read(self, factor: int) -> np.ndarray:
        note("read activity")
        (steps,) = runs
        return self._counts * factor * steps

    @property
    def syn_ops(self) -> np.ndarray:
        return self._read(1000)

    @property
    def dendrite_updates(self) -> np.ndarray:
        return self._read(100)

    @property
    def axon_out(self) -> np.ndarray:
        return self._read(10)

    @property
    def spikes_in(self) -> np.ndarray:
        return self._read(20)
