"""The host's Lava Process, a box around :class:`~spikegpt_neuro.backends.loihi.host.HostStep`.

A Lava model declares its ports in its class, so :func:`host_process` makes a pair of classes for
each number of trips. Lava finds a model in the module of its Process, hence both are put there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

from spikegpt_neuro.neurons.program import IntArray

Step = Callable[[int, Sequence[IntArray]], Sequence[IntArray]]


class Host(AbstractProcess):  # type: ignore[misc]
    """Ports ``in_0``, ``in_1``, ... of the sizes ``back``; ``out_0``, ... of the sizes ``away``."""

    def __init__(self, *, step: Step, back: Sequence[int], away: Sequence[int]) -> None:
        super().__init__(step=step)
        for index, size in enumerate(back):
            setattr(self, f"in_{index}", InPort(shape=(size,)))
        for index, size in enumerate(away):
            setattr(self, f"out_{index}", OutPort(shape=(size,)))


class HostModel(PyLoihiProcessModel):  # type: ignore[misc]
    """Receives from every trip, calls the step, sends on every trip."""

    trips = 0

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.step: Step = proc_params["step"]

    def run_spk(self) -> None:
        """One time step; an error names it."""
        arrived = [getattr(self, f"in_{index}").recv() for index in range(self.trips)]
        try:
            leaving = self.step(self.time_step, arrived)
        except Exception as error:
            where = f"host, time step {self.time_step}"
            raise RuntimeError(f"{where}: {type(error).__name__}: {error}") from error
        for index, events in enumerate(leaving):
            getattr(self, f"out_{index}").send(events)


def host_process(step: Step, back: Sequence[int], away: Sequence[int]) -> Any:
    """A host with as many ports as there are trips."""
    name, module = f"Host{len(back)}", globals()
    if name not in module:
        own = {"__module__": __name__}
        process = type(name, (Host,), dict(own))
        ports = {f"in_{i}": LavaPyType(PyInPort.VEC_DENSE, np.int32, 24) for i in range(len(back))}
        ports |= {
            f"out_{i}": LavaPyType(PyOutPort.VEC_DENSE, np.int32, 24) for i in range(len(away))
        }
        model = type(f"{name}Model", (HostModel,), {**own, **ports, "trips": len(back)})
        module[name] = process
        module[f"{name}Model"] = requires(CPU)(implements(process, LoihiProtocol)(model))
    return module[name](step=step, back=back, away=away)
