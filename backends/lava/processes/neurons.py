"""Custom Lava Processes: a box around a :class:`~spikegpt_neuro.backends.lava.steps.Step`.

One class per number of ports, because a Lava model declares its ports in its class.
"""

from __future__ import annotations

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

from spikegpt_neuro.backends.lava.steps import Step


class Neurons(AbstractProcess):  # type: ignore[misc]
    """``sizes``: of the input ports ``in_0``, ``in_1``, ...; ``size``: of the port ``out``.

    ``frame``: tokens that all ports carry per time step, as arrays (frame, n); None: one, (n,).
    """

    def __init__(
        self,
        *,
        label: str,
        step: Step,
        sizes: tuple[int, ...],
        size: int,
        frame: int | None = None,
    ) -> None:
        super().__init__(label=label, step=step)
        tokens = () if frame is None else (frame,)
        for index, neurons in enumerate(sizes):
            setattr(self, f"in_{index}", InPort(shape=(*tokens, neurons)))
        self.out = OutPort(shape=(*tokens, size))


class Source(Neurons):
    """No input port."""


class OneInput(Neurons):
    """One input port."""


class TwoInputs(Neurons):
    """Two input ports."""


class ThreeInputs(Neurons):
    """Three input ports."""


BY_PORTS: tuple[type[Neurons], ...] = (Source, OneInput, TwoInputs, ThreeInputs)


class NeuronsModel(PyLoihiProcessModel):  # type: ignore[misc]
    """Receives on every port, calls the step, sends."""

    ports: tuple[str, ...] = ()

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.label: str = proc_params["label"]
        self.step: Step = proc_params["step"]

    def run_spk(self) -> None:
        """One time step; an error names this process and the time step."""
        arrived = [getattr(self, port).recv() for port in self.ports]
        try:
            events = self.step(self.time_step, arrived)
        except Exception as error:
            where = f"{self.label}, time step {self.time_step}"
            raise RuntimeError(f"{where}: {type(error).__name__}: {error}") from error
        self.out.send(events)


@implements(proc=Source, protocol=LoihiProtocol)
@requires(CPU)
class SourceModel(NeuronsModel):
    """Model of :class:`Source`."""

    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)


@implements(proc=OneInput, protocol=LoihiProtocol)
@requires(CPU)
class OneInputModel(NeuronsModel):
    """Model of :class:`OneInput`."""

    ports = ("in_0",)
    in_0: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)


@implements(proc=TwoInputs, protocol=LoihiProtocol)
@requires(CPU)
class TwoInputsModel(NeuronsModel):
    """Model of :class:`TwoInputs`."""

    ports = ("in_0", "in_1")
    in_0: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    in_1: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)


@implements(proc=ThreeInputs, protocol=LoihiProtocol)
@requires(CPU)
class ThreeInputsModel(NeuronsModel):
    """Model of :class:`ThreeInputs`."""

    ports = ("in_0", "in_1", "in_2")
    in_0: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    in_1: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    in_2: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
