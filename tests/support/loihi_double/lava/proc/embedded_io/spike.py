"""Test double of Lava's Loihi extension: the adapters between Python and the chip."""

from __future__ import annotations

import time

import numpy as np
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from loihi_double import TROUBLE, TROUBLED_STEP, watch_the_board

watch_the_board()


class PyToNxAdapter(AbstractProcess):
    def __init__(self, shape: tuple[int, ...], num_message_bits: int = 0) -> None:
        assert num_message_bits in (0, 8, 16, 24)
        super().__init__(shape=shape, num_message_bits=num_message_bits)
        self.inp, self.out = InPort(shape=shape), OutPort(shape=shape)


class NxToPyAdapter(AbstractProcess):
    def __init__(self, shape: tuple[int, ...], num_message_bits: int = 0) -> None:
        assert num_message_bits in (0, 8, 16, 24)
        super().__init__(shape=shape, num_message_bits=num_message_bits)
        self.inp, self.out = InPort(shape=shape), OutPort(shape=shape)


class AdapterModel(PyLoihiProcessModel):
    def run_spk(self) -> None:
        if self.time_step == TROUBLED_STEP and TROUBLE == "raise":
            raise RuntimeError("the board is on fire")
        if self.time_step == TROUBLED_STEP and TROUBLE == "hang":
            time.sleep(3600)
        self.out.send(self.inp.recv())


@implements(proc=PyToNxAdapter, protocol=LoihiProtocol)
@requires(CPU)
class PyToNxModel(AdapterModel):
    inp: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)


@implements(proc=NxToPyAdapter, protocol=LoihiProtocol)
@requires(CPU)
class NxToPyModel(AdapterModel):
    inp: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
