r"""Loss and gradients of a batch, its windows divided among threads.

Per token, with p the model's prediction and q that of the unchanged model,

.. math::
    L = (1 - \delta) \, (-\log p_{next}) + \delta \sum_v q_v \log \frac{q_v}{p_v} + \lambda \rho

Each thread takes the gradient of its windows with torch kept to one thread, and the parts are added
in order: the result depends on the number of threads, but not on which of them was faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import log_softmax
from torch.utils.checkpoint import checkpoint

from spikegpt_neuro.model.spikegpt import DEAD_ZONE, ModelShape
from spikegpt_neuro.training.formats import Events
from spikegpt_neuro.training.network import (
    EXACT,
    FAST,
    Network,
    Operations,
    Passed,
    Tensors,
)

LOGITS_AT_ONCE = 1 << 24  # of one thread: 64 MB in float32


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

    def run(self, shape: ModelShape, ids: Tensor, does: Operations) -> Passed:
        """Ids (B, T) through the model."""
        return Network(shape, self.tensors, self.thresholds, self.events, does)(ids)


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
    ids, shape, does = windows[:, :-1], objective.shape, objective.does
    passed = Point(tensors, thresholds, point.events).run(shape, ids, does)
    with torch.no_grad():
        wanted = objective.teacher.run(shape, ids, does) if objective.teacher else None
    surprisal, divergence = _compared(passed, windows[:, 1:], wanted)
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
        passed = point.run(shape, windows[:, :-1], does)
        surprisal, _ = _compared(passed, windows[:, 1:], None)
    return Sums(float(surprisal), 0.0, passed.events, {})


def _compared(passed: Passed, following: Tensor, wanted: Passed | None) -> tuple[Tensor, Tensor]:
    """Surprisal of ``following`` (B, T), divergence from ``wanted``; sums over tokens.

    Logits of large vocabularies are formed in pieces, and again for the gradient: with what their
    softmaxes keep they would be most of the memory that a step takes.
    """
    tokens = max(1, LOGITS_AT_ONCE // (len(following) * len(passed.head)))
    ours, texts = passed.pieces(tokens), torch.split(following, tokens, dim=1)
    theirs = wanted.pieces(tokens) if wanted else [None] * len(ours)
    compared: Callable[..., tuple[Tensor, Tensor]] = _compared_piece
    if len(ours) > 1 and torch.is_grad_enabled():
        compared = partial(
            checkpoint, _compared_piece, use_reentrant=False, preserve_rng_state=False
        )
    first, *others = map(compared, ours, texts, theirs)
    for surprisal, divergence in others:
        first = (first[0] + surprisal, first[1] + divergence)
    return first


def _compared_piece(
    passed: Passed, following: Tensor, wanted: Passed | None
) -> tuple[Tensor, Tensor]:
    predicted = log_softmax(passed.logits, -1)
    surprisal = -predicted.gather(-1, following[..., None]).sum()
    if wanted is None:
        return surprisal, torch.zeros_like(surprisal)
    with torch.no_grad():
        likely = log_softmax(wanted.logits, -1)
    return surprisal, (likely.exp() * (likely - predicted)).sum()
