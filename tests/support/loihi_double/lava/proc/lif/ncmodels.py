"""Test double of Lava's Loihi extension: the LIF on a neuro core."""

import os

from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.nc.model import AbstractNcProcessModel
from lava.magma.core.resources import Loihi2NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.lif.models import PyLifModelBitAcc
from lava.proc.lif.process import LIF

if os.environ.get("LOIHI_DOUBLE_TROUBLE") != "alone":

    @implements(proc=LIF, protocol=LoihiProtocol)
    @requires(Loihi2NeuroCore)
    class NcModelLIF(AbstractNcProcessModel, PyLifModelBitAcc):
        pass
