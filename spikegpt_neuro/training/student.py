"""The model that learns: its weights, its thresholds, and what is pruned of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from spikegpt_neuro.graph.weights import sparse_below
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.training.gradients import Point
from spikegpt_neuro.training.imitation import Scales

FIRST_THRESHOLD = 0.4  # of the root mean square of what a population sends


@dataclass
class Student:
    """Parameters of a fine-tuning, on one device.

    ``base``     the checkpoint that it began as.
    ``weights``  tensors under their checkpoint's names, before rounding and pruning.
    ``logs``     population -> logarithms of the thresholds (n,); empty where none are learned.
    ``masks``    matrix -> 1 where a weight is, 0 where it is pruned; empty where none is.
    """

    base: SpikeGPT
    weights: dict[str, Tensor]
    logs: dict[str, Tensor] = field(default_factory=dict)
    masks: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, base: SpikeGPT, device: str) -> Student:
        """The checkpoint as it is; thresholds that it has already go on learning."""
        shapes = base.shape.tensor_shapes()
        weights = {name: _tensor(base.tensors[name], device) for name in shapes}
        student = cls(base, weights)
        if base.pruned:
            student.masks = {m: (weights[m] != 0).float() for m in base.shape.matrices}
        return student

    @cached_property
    def readers(self) -> dict[str, str]:
        """Population -> the matrix that reads it."""
        return self.base.shape.readers()

    @cached_property
    def synapses(self) -> int:
        """Those of dense matrices."""
        return sum(self.weights[m].numel() for m in self.matrices)

    @property
    def matrices(self) -> tuple[str, ...]:
        """Those that events meet."""
        return tuple(self.readers.values())

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(iter(self.weights.values())).device

    @property
    def weight_density(self) -> float:
        """Weights that are there, of all."""
        return sum(map(self._kept, self.matrices)) / self.synapses

    def _kept(self, matrix: str) -> int:
        if matrix not in self.masks:
            return self.weights[matrix].numel()
        return int(self.masks[matrix].sum(dtype=torch.float64))

    def unchanged(self) -> Point:
        """A copy of the weights, which does not learn, with the dead zones of the checkpoint."""
        tensors = {name: weight.clone() for name, weight in self.weights.items()}
        zones = self.base.dead_zones
        return Point(tensors, {name: _tensor(zones[name], str(self.device)) for name in zones})

    def begin_thresholds(self, moments: Mapping[str, np.ndarray]) -> None:
        """Thresholds to learn: small ones, where the checkpoint has none.

        ``moments``  population -> mean square (n,) of what it sends.
        """
        for population, moment in moments.items():
            level = FIRST_THRESHOLD * float(np.sqrt(np.mean(moment)))
            known = self.base.dead_zones.get(population)
            first = (
                np.full(moment.shape, level) if known is None else np.maximum(known, level / 100)
            )
            self.logs[population] = torch.log(_tensor(np.maximum(first, 1e-12), str(self.device)))

    def point(self, scales: Scales, bits: int) -> Point:
        """The model as the network is to see it: pruned and rounded."""
        tensors = dict(self.weights)
        for name in self.matrices:
            tensors[name] = scales.rounded(name, self.pruned(name), bits)
        return Point(tensors, self.thresholds, scales.events, self.fans(tensors, bits))

    def pruned(self, name: str) -> Tensor:
        """A tensor without what is pruned of it."""
        return self.weights[name] * self.masks[name] if name in self.masks else self.weights[name]

    @property
    def thresholds(self) -> dict[str, Tensor]:
        """Population -> thresholds (n,), 0 where none are learned."""
        if self.logs:
            return {name: torch.exp(log) for name, log in self.logs.items()}
        sizes = self.base.shape.dead_zone_sizes()
        return {name: torch.zeros(n, device=self.device) for name, n in sizes.items()}

    def fans(self, tensors: Mapping[str, Tensor], bits: int) -> dict[str, Tensor]:
        """Population -> share of all dense synapses that each channel reaches (n,).

        ``tensors`` as the graph will have them: of a pruned model synapses that weigh 0 do not
        exist, where that is smaller (see ``SpikingGraph.with_sparse_weights``).
        """
        below = sparse_below(bits)
        return {
            population: self._reached(tensors[matrix], below) / self.synapses
            for population, matrix in self.readers.items()
        }

    def _reached(self, weights: Tensor, below: float) -> Tensor:
        if self.masks:
            exist = (weights != 0).sum(0, dtype=weights.dtype)
            if float(exist.sum()) < below * weights.numel():
                return exist
        return torch.full_like(weights[0], len(weights))

    def checkpoint(self) -> SpikeGPT:
        """What it is now, as a checkpoint."""
        tensors = {name: self.pruned(name).detach().cpu().numpy() for name in self.weights}
        zones = {name: t.cpu().numpy() for name, t in self.thresholds.items()} if self.logs else {}
        return replace(
            self.base, tensors=tensors, dead_zones=zones, pruned=bool(self.masks), remarks=()
        )


def _tensor(values: np.ndarray, device: str) -> Tensor:
    return torch.tensor(np.array(values, np.float32), device=device)
