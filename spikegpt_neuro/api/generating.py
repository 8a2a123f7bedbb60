"""Text from a graph, token by token."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.api.choices import DEFAULT_BACKEND
from spikegpt_neuro.api.inputs import Text, prompt_of, vocabulary_of
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.results import Result
from spikegpt_neuro.running import Progress, Session, get_backend
from spikegpt_neuro.sampling import TOP_P, TOP_P_NEWLINE, Sampler, options_for
from spikegpt_neuro.vocabulary import TextStream, Unknown


@dataclass(frozen=True, repr=False)
class Generated(Result):
    """A continuation. ``tokens``: how many; ``ids``: (tokens,) which; ``seconds`` without the
    reading of the prompt.
    """  # noqa: D205

    text: str
    tokens: int
    tokens_per_second: float
    seconds: float = field(repr=False)
    ids: NDArray[np.int64] = field(repr=False)

    UNITS: ClassVar[Mapping[str, str]] = {"tokens_per_second": "token/s"}
    HEADLINE: ClassVar[tuple[str, ...]] = ("text", "tokens", "tokens_per_second")


def generate(
    graph: SpikingGraph,
    prompt: Text,
    tokens: int = 256,
    *,
    temperature: float = 1.0,
    top_p: float = TOP_P,
    top_p_newline: float = TOP_P_NEWLINE,
    seed: int | None = None,
    backend: str = DEFAULT_BACKEND,
    unknown: Unknown = "error",
    on_text: Callable[[str], object] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Generated:
    """Continue a prompt by ``tokens`` tokens.

    Parameters
    ----------
    prompt
        The text, the path of a UTF-8 file with it (``Path("-")``: standard input), or token ids
        (T,). A character model gets a text as upstream's script gives it: a newline in front, no
        spaces around lines, no empty lines. Other models get it as it is.
    temperature
        0 always takes the likeliest token; upstream's script uses 1.5.
    top_p, top_p_newline
        The nucleus to draw from, and that after a newline (character and byte models). What a
        tokenizer marks as special is never drawn.
    seed
        Makes the text repeatable.
    on_text
        Called with every piece of text as it is written.
    options
        Go to the backend.

    Raises
    ------
    UnsupportedInput
        The prompt is empty or has characters outside the vocabulary.
    UsageError
        A sampling option out of range, or a backend without a closed loop.

    Examples
    --------
    >>> sgn.generate(graph, "The return value", 5, temperature=0).tokens
    5
    """
    vocabulary = vocabulary_of(graph)
    sampling = options_for(
        vocabulary, temperature=temperature, top_p=top_p, top_p_newline=top_p_newline
    )
    ids = prompt_of(graph, prompt, unknown=unknown)
    if not len(ids):
        raise UnsupportedInput("the prompt is empty; at least one token is needed")
    stream, pieces, drawn = TextStream(vocabulary), list[str](), list[int]()

    def emit(piece: str) -> None:
        pieces.append(piece)
        if on_text is not None:
            on_text(piece)

    with get_backend(backend, **options).session(graph) as session:
        logits = _read_prompt(session, ids)
        begin = time.perf_counter()
        sampler = Sampler(sampling, seed)
        for token in _drawn(graph, session, sampler, logits, int(ids[-1]), tokens):
            drawn.append(token)
            emit(stream.push(token))
            if progress is not None:
                progress(len(drawn), tokens)
        emit(stream.flush())
        seconds = time.perf_counter() - begin
    text = "".join(pieces)
    return Generated(text, tokens, tokens / seconds, seconds, np.array(drawn, np.int64))


def _read_prompt(session: Session, prompt: NDArray[np.int64]) -> NDArray[np.int32]:
    for token in prompt[:-1]:
        session.step(int(token))
    return session.step(int(prompt[-1]))


def _drawn(
    graph: SpikingGraph,
    session: Session,
    sampler: Sampler,
    logits: NDArray[np.int32],
    previous: int,
    count: int,
) -> Iterator[int]:
    """``count`` sampled tokens; the last one is not fed back."""
    for remaining in range(count, 0, -1):
        previous = sampler.draw(logits * graph.logit_scale, previous)
        yield previous
        if remaining > 1:
            logits = session.step(previous)
