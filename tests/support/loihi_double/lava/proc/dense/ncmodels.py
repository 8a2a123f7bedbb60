"""Test double of Lava's Loihi extension: the Dense on a neuro core."""

import os

from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.nc.model import AbstractNcProcessModel
from lava.magma.core.resources import Loihi2NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.dense.models import PyDenseModelBitAcc
from lava.proc.dense.process import Dense

if os.environ.get("LOIHI_DOUBLE_TROUBLE") != "alone":

    @implements(proc=Dense, protocol=LoihiProtocol)
    @requires(Loihi2NeuroCore)
    class NcModelDense(AbstractNcProcessModel, PyDenseModelBitAcc):
        pass
