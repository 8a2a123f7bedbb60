"""Test double of Lava's Loihi extension: the GradedVec on a neuro core."""

import os

from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.nc.model import AbstractNcProcessModel
from lava.magma.core.resources import Loihi2NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.graded.models import PyGradedVecModelFixed
from lava.proc.graded.process import GradedVec

if os.environ.get("LOIHI_DOUBLE_TROUBLE") != "alone":

    @implements(proc=GradedVec, protocol=LoihiProtocol)
    @requires(Loihi2NeuroCore)
    class NcModelGradedVec(AbstractNcProcessModel, PyGradedVecModelFixed):
        pass
