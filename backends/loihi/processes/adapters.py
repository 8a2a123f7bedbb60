"""The adapters of a rehearsal: they hand on what they receive, and check that it is a message.

Names, ports and arguments are those of Lava's adapters on hardware.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class Adapter(AbstractProcess):  # type: ignore[misc]
    """From ``inp`` to ``out``; ``num_message_bits`` 0: binary spikes. It takes ``delay`` steps."""

    def __init__(self, shape: tuple[int, ...], num_message_bits: int = 0, delay: int = 0) -> None:
        super().__init__(shape=shape, num_message_bits=num_message_bits, delay=delay)
        self.inp = InPort(shape=shape)
        self.out = OutPort(shape=shape)


class PyToNxAdapter(Adapter):
    """From the host to the chip."""


class NxToPyAdapter(Adapter):
    """From the chip to the host."""


class AdapterModel(PyLoihiProcessModel):  # type: ignore[misc]
    """Passes events on, ``delay`` steps later."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        bits: int = proc_params["num_message_bits"]
        self.low: int = -(1 << (bits - 1)) if bits else 0
        self.high: int = (1 << (bits - 1)) - 1 if bits else 1
        silence = np.zeros(proc_params["shape"], np.int32)
        self.waiting = deque([silence] * proc_params["delay"])

    def run_spk(self) -> None:
        """One time step."""
        events = self.inp.recv()
        if events.min() < self.low or events.max() > self.high:
            raise ValueError(
                f"adapter of {events.size} neurons: {events.min()} to {events.max()} is no message "
                f"from {self.low} to {self.high}"
            )
        self.waiting.append(events)
        self.out.send(self.waiting.popleft())


@implements(proc=PyToNxAdapter, protocol=LoihiProtocol)
@requires(CPU)
class PyToNxModel(AdapterModel):
    """Model of :class:`PyToNxAdapter`."""

    inp: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)


@implements(proc=NxToPyAdapter, protocol=LoihiProtocol)
@requires(CPU)
class NxToPyModel(AdapterModel):
    """Model of :class:`NxToPyAdapter`."""

    inp: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
