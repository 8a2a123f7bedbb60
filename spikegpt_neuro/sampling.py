r"""Choosing the next token from logits, in upstream's order.

.. math::
    p = \mathrm{softmax}(z), \quad
    c = \min \{ p_{(k)} : \textstyle\sum_{i \le k} p_{(i)} \text{ first exceeds } top\_p \},
    \quad q_i \propto [p_i \ge c] \, p_i^{1/temperature}

with :math:`p_{(1)} \ge p_{(2)} \ge \dots`. The cutoff comes before the temperature: a high
temperature flattens the nucleus and does not widen it. Source: upstream's ``run.py``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.errors import UnsupportedInput, UsageError
from spikegpt_neuro.vocabulary import Vocabulary

TOP_P = 0.7
TOP_P_NEWLINE = 0.9


def distribution(
    logits: NDArray[np.floating | np.integer],
    *,
    temperature: float = 1.0,
    top_p: float = TOP_P,
    forbid: Collection[int] | NDArray[np.intp] = (),
) -> NDArray[np.float64]:
    """Probabilities (V,) from which the next token is drawn.

    ``temperature`` 0 puts everything on the largest logit (the first, where several are
    equal); ``top_p`` 1 or more cuts nothing off; ``forbid`` lists ids that cannot occur.
    """
    z = np.array(logits, dtype=np.float64)
    z[_indices(forbid)] = -np.inf
    if temperature == 0:
        chosen = np.zeros_like(z)
        chosen[np.argmax(z)] = 1.0
        return chosen
    p = np.exp(z - z.max())
    p /= p.sum()
    p[p < _cutoff(p, top_p)] = 0.0
    # Dividing by the largest first keeps small temperatures from underflowing everywhere.
    q = (p / p.max()) ** (1.0 / temperature)
    probabilities: NDArray[np.float64] = q / q.sum()
    return probabilities


def _indices(ids: Collection[int] | NDArray[np.intp]) -> NDArray[np.intp]:
    return ids if isinstance(ids, np.ndarray) else np.fromiter(ids, np.intp, len(ids))


def _cutoff(p: NDArray[np.float64], top_p: float) -> float:
    descending = np.sort(p)[::-1]
    beyond = np.flatnonzero(np.cumsum(descending) > top_p)
    return float(descending[beyond[0]]) if top_p < 1 and beyond.size else 0.0


@dataclass(frozen=True)
class SamplerOptions:
    """How to sample.

    ``newline``  the id after which ``top_p_newline`` takes the place of ``top_p``; None: never.
    ``forbid``   ids that are never drawn.
    """

    temperature: float = 1.0
    top_p: float = TOP_P
    top_p_newline: float = TOP_P_NEWLINE
    newline: int | None = None
    forbid: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UsageError(f"temperature is {self.temperature}, expected 0 or more")
        for name in ("top_p", "top_p_newline"):
            if not 0 < getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}, expected 0 < p <= 1")


class Sampler:
    """Draws tokens; the same ``seed`` and logits give the same tokens.

    >>> Sampler(SamplerOptions(temperature=0)).draw(np.array([0.1, 0.7, 0.2]))
    1
    """

    def __init__(self, options: SamplerOptions | None = None, seed: int | None = None) -> None:
        self.options = options or SamplerOptions()
        self._forbidden = _indices(self.options.forbid)
        self._random = np.random.default_rng(seed)

    def draw(self, logits: NDArray[np.floating | np.integer], previous: int | None = None) -> int:
        """The next token id, given logits (V,) in real units and the token before it."""
        options = self.options
        after_newline = previous is not None and previous == options.newline
        p = distribution(
            logits,
            temperature=options.temperature,
            top_p=options.top_p_newline if after_newline else options.top_p,
            forbid=self._forbidden,
        )
        cumulative = np.cumsum(p)
        drawn = np.searchsorted(cumulative, self._random.random() * cumulative[-1], side="right")
        return int(min(drawn, np.flatnonzero(p)[-1]))


def options_for(
    vocabulary: Vocabulary,
    *,
    temperature: float = 1.0,
    top_p: float = TOP_P,
    top_p_newline: float = TOP_P_NEWLINE,
) -> SamplerOptions:
    """Upstream's rules for a kind of vocabulary.

    Characters and bytes: ``top_p_newline`` applies after a newline. BPE: one ``top_p``. What no
    text consists of is never drawn: special tokens (upstream: id 0, the end of text of the 20B
    tokenizer), and the ids by which a model exceeds its tokenizer.

    Raises :class:`UnsupportedInput` where that leaves nothing.
    """
    newline: int | None = None
    if vocabulary.kind != "bpe":
        found = vocabulary.encode("\n", unknown="replace")[0]
        newline = int(found) if vocabulary.decode([int(found)]) == "\n" else None
    forbid = vocabulary.not_text
    if len(forbid) >= vocabulary.size:
        raise UnsupportedInput("the tokenizer marks every token as special: there is none to draw")
    return SamplerOptions(temperature, top_p, top_p_newline, newline, forbid)
