r"""Loss and gradients of a batch, its windows divided among threads.

Per token, with p the model's prediction and q that of the unchanged model,

.. math::
    L = (1 - \delta) \, (-\log p_{next}) + \delta \sum_v q_v \log \frac{q_v}{p_v} + \lambda \rho

Each thread takes the gradient of its windows with torch kept to one thread, and the parts are added
in order: the result depends on the number of threads, but not on which of them was faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from spikegpt_neuro.model.spikegpt import DEAD_ZONE, ModelShape
from spikegpt_neuro.training.formats import Events
from spikegpt_neuro.training.network import EXACT, FAST, Network, Operations, Tensors


@dataclass(frozen=True)
class Point:
    """A model as the network sees it: rounded, pruned.

    ``events``   population -> its payloads; those without are not rounded.
    ``fans``     population -> share of all dense synapses that each of its channels reaches (n,).
    """

    tensors: Tensors
    thresholds: Tensors
    events: Mapping[str, Events] = field(default_factory=dict)
    fans: Tensors = field(default_factory=dict)

    def logits(self, shape: ModelShape, ids: Tensor, does: Operations) -> Tensor:
        """Of ids (B, T), without gradients."""
        with torch.no_grad():
            return Network(shape, self.tensors, self.thresholds, self.events, does)(ids).logits


@dataclass(frozen=True)
class Objective:
    """The loss: see the module. ``teacher``: the unchanged model; None: no distillation."""

    shape: ModelShape
    teacher: Point | None
    distill: float
    does: Operations = FAST


@dataclass(frozen=True)
class Sums:
    """Over the tokens of a batch: nats, and events by channel; gradients of the mean loss.

    ``gradients``  by the names of :attr:`SpikeGPT.stored`: tensors, and dead zones.
    """

    surprisal: float
    divergence: float
    events: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor] = field(repr=False)

    def __add__(self, other: object) -> Sums:
        if not isinstance(other, Sums):
            return NotImplemented
        return Sums(
            self.surprisal + other.surprisal,
            self.divergence + other.divergence,
            {name: one + other.events[name] for name, one in self.events.items()},
            {name: one + other.gradients[name] for name, one in self.gradients.items()},
        )


@dataclass(frozen=True)
class Threads:
    """A pool that differentiates parts of a batch; see :func:`pool`."""

    count: int
    executor: ThreadPoolExecutor | None

    def sums(self, objective: Objective, point: Point, windows: Tensor, price: float) -> Sums:
        """``windows`` (B, T + 1): the tokens of each and the one that follows."""
        tokens = windows.shape[0] * (windows.shape[1] - 1)

        def part(chunk: Tensor) -> Sums:
            return _differentiated(objective, point, chunk, price, tokens)

        chunks = windows.chunk(self.count)
        parts = map(part, chunks) if self.executor is None else self.executor.map(part, chunks)
        first, *others = parts
        for each in others:
            first = first + each
        return first


@contextmanager
def pool(count: int) -> Iterator[Threads]:
    """``count`` threads, each of which computes alone; torch's own number of threads comes back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if count == 1:
            yield Threads(1, None)
            return
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as many:
            yield Threads(count, many)
    finally:
        torch.set_num_threads(before)


def _differentiated(
    objective: Objective, point: Point, windows: Tensor, price: float, tokens: int
) -> Sums:
    """The part of ``windows`` in the sums of a batch of ``tokens``."""
    tensors = {n: t.detach().requires_grad_() for n, t in point.tensors.items()}
    thresholds = {n: t.detach().requires_grad_() for n, t in point.thresholds.items()}
    ids, following = windows[:, :-1], windows[:, 1:]
    shape, does = objective.shape, objective.does
    passed = Network(shape, tensors, thresholds, point.events, does)(ids)
    predicted = log_softmax(passed.logits, -1)
    surprisal = -predicted.gather(-1, following[..., None]).sum()
    divergence = torch.zeros((), device=surprisal.device)
    if objective.teacher is not None:
        wanted = log_softmax(objective.teacher.logits(shape, ids, does), -1)
        divergence = (wanted.exp() * (wanted - predicted)).sum()
    loss = (1 - objective.distill) * surprisal + objective.distill * divergence
    for population, share in passed.shares.items():
        loss = loss + price * (share * point.fans[population]).sum()
    leaves = {**tensors, **{n + DEAD_ZONE: t for n, t in thresholds.items()}}
    found = torch.autograd.grad(loss / tokens, list(leaves.values()))
    return Sums(
        float(surprisal.detach()),
        float(divergence.detach()),
        {n: e.detach() for n, e in passed.events.items()},
        dict(zip(leaves, found, strict=True)),
    )


def measured(shape: ModelShape, point: Point, windows: Tensor, does: Operations = EXACT) -> Sums:
    """The sums of :class:`Sums` without gradients."""
    with torch.no_grad():
        passed = Network(shape, point.tensors, point.thresholds, point.events, does)(
            windows[:, :-1]
        )
        predicted = log_softmax(passed.logits, -1)
        surprisal = -predicted.gather(-1, windows[:, 1:, None]).sum()
    return Sums(float(surprisal), 0.0, passed.events, {})
