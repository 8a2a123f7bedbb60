"""Runs one netx file on Lava's CPU backend, in a process of its own.

``python netx_on_lava.py FILE.net EVENTS.npy MESSAGE_BITS OUTPUT.npy``: events (T, inputs) in,
spikes (T, outputs) out. Of lava-dl only netx is needed: the rest imports torch and plotting for
training and resonators, so empty modules stand in its place.
"""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np

from spikegpt_neuro.backends.lava.compat import load_lava


def load_netx() -> ModuleType:
    """lava-dl's ``netx.hdf5`` without its slayer."""
    load_lava()
    for name in ("slayer", "slayer.neuron", "slayer.neuron.rf", "netx.sequential_modules"):
        module = ModuleType(f"lava.lib.dl.{name}")
        module.__file__ = f"{name}.py"  # Lava's compiler asks every module where it is
        module.neuron_params = dict  # type: ignore[attr-defined]
        sys.modules[module.__name__] = module
    from lava.lib.dl.netx import hdf5

    loader: ModuleType = hdf5
    return loader


def run(path: str, events: np.ndarray, message_bits: int) -> np.ndarray:
    """Spikes (T, outputs) of the file's network; one token per time step."""
    hdf5 = load_netx()
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source

    network = hdf5.Network(
        net_config=path, input_message_bits=message_bits, input_shape=(events.shape[1],)
    )
    delay = 1  # a dense layer hands its sums over one step later
    steps = len(events) + delay
    padded = np.vstack([events, np.zeros((delay, events.shape[1]), events.dtype)])
    source = Source(data=padded.T.astype(np.int32))
    sink = Sink(shape=network.out.shape, buffer=steps)
    source.s_out.connect(network.inp)
    network.out.connect(sink.a_in)
    try:
        network.run(condition=RunSteps(steps), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
        spikes = np.asarray(sink.data.get()).T
    finally:
        network.stop()
    return spikes[delay:].astype(np.uint8)


if __name__ == "__main__":
    file, events_file, bits, output = sys.argv[1:]
    np.save(output, run(file, np.load(events_file), int(bits)))
