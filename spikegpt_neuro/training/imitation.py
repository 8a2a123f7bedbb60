r"""Numbers rounded in training as ``convert`` will round them.

Scales are chosen by the very functions that a conversion uses, on windows of the training text, and
kept until they are chosen again. A matrix is then seen as

.. math:: \tilde w_{ji} = s_j \, \mathrm{clip}(\mathrm{round}(w_{ji} / s_j))

and its gradient passed straight through to w.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikegpt_neuro.model.float_forward import tap_of
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.neurons.program import EventFormat
from spikegpt_neuro.quantization.calibration import calibrate
from spikegpt_neuro.quantization.scales import event_scale, quantize_weights
from spikegpt_neuro.training.formats import Events


@dataclass(frozen=True)
class Scales:
    """``events`` by population; by matrix, in ``weights``, one unit per output channel (m, 1)."""

    events: Mapping[str, Events]
    weights: Mapping[str, Tensor]

    def rounded(self, name: str, weights: Tensor, bits: int) -> Tensor:
        """A matrix as the graph will have it."""
        limit = (1 << (bits - 1)) - 1
        unit = self.weights[name].to(weights.device)
        return torch.round(weights / unit).clamp_(-limit, limit).mul_(unit)


def choose(
    model: SpikeGPT, tokens: NDArray[np.int64], weight_bits: int, activation_bits: int
) -> Scales:
    """Scales for ``model`` as it is now, from its activity on windows of ``tokens``."""
    statistics = calibrate(model, tokens)
    events: dict[str, Events] = {}
    weights: dict[str, Tensor] = {}
    for population, matrix in model.shape.readers().items():
        tap = statistics[tap_of(population)]
        payload = EventFormat(activation_bits, signed=not population.endswith(".squared_relu"))
        events[population] = Events(event_scale(tap, payload), payload.low, payload.high)
        tensor = np.asarray(model.tensors[matrix], np.float32)
        _, units = quantize_weights(tensor, weight_bits, tap.second_moment)
        weights[matrix] = torch.from_numpy(units.astype(np.float32)[:, None])
    return Scales(events, weights)
