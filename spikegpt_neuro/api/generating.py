"""Text from a graph, token by token: one continuation, or a talk of several."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.api.choices import DEFAULT_BACKEND
from spikegpt_neuro.api.inputs import Text, prompt_of, vocabulary_of
from spikegpt_neuro.api.models import GraphLike, graph_of
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.results import Result
from spikegpt_neuro.running import Progress, get_backend
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


class Chat:
    r"""A talk with a graph: what was said stays in its state, from turn to turn.

    .. math::
        h_t = f(h_{t-1}, x_t), \quad y_{k+1} \sim p(\cdot \mid h_{|x| + k}), \quad
        x = (turn_1, answer_1, turn_2, \dots)

    with h the integers of every population. The last token of an answer is read when the next turn
    begins, so that nothing said is missing. Close it, or use it as a context manager.

    Parameters
    ----------
    temperature, top_p, top_p_newline, seed, backend, options
        As of :func:`generate`; one seed for the whole talk.

    Raises
    ------
    UsageError
        A sampling option out of range, or a backend without a closed loop.

    Examples
    --------
    >>> with sgn.Chat(graph, temperature=0) as chat:
    ...     first = chat.say("The return value", 5)
    ...     second = chat.say("If the argument is", 5)
    >>> first.tokens + second.tokens
    10
    """

    def __init__(
        self,
        graph: GraphLike,
        *,
        temperature: float = 1.0,
        top_p: float = TOP_P,
        top_p_newline: float = TOP_P_NEWLINE,
        seed: int | None = None,
        backend: str = DEFAULT_BACKEND,
        **options: Any,
    ) -> None:
        self.graph = graph_of(graph)
        self._vocabulary = vocabulary_of(self.graph)
        sampling = options_for(
            self._vocabulary, temperature=temperature, top_p=top_p, top_p_newline=top_p_newline
        )
        self._sampler = Sampler(sampling, seed)
        self._backend = get_backend(backend, **options)
        self._opened = ExitStack()
        self._session = self._opened.enter_context(self._backend.session(self.graph))
        self._unread: int | None = None
        self._turns = 0

    def say(
        self,
        text: Text,
        tokens: int = 256,
        *,
        unknown: Unknown = "error",
        on_text: Callable[[str], object] | None = None,
        progress: Progress | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Generated:
        """Read ``text``, and answer with ``tokens`` tokens.

        Parameters
        ----------
        text
            As the prompt of :func:`generate`. A ``str`` that is not the first begins on a line of
            its own.
        on_text
            Called with every piece of text as it is written.
        stop
            Asked before every token; once it says yes, the answer ends there.

        Raises
        ------
        UnsupportedInput
            The text is empty or has characters outside the vocabulary; nothing was read of it.
        """
        ids = prompt_of(self.graph, self._on_its_line(text), unknown=unknown)
        if not len(ids):
            raise UnsupportedInput("the prompt is empty; at least one token is needed")
        stream, pieces, drawn = TextStream(self._vocabulary), list[str](), list[int]()

        def emit(piece: str) -> None:
            pieces.append(piece)
            if on_text is not None:
                on_text(piece)

        self._turns += 1
        logits = self._read(ids)
        begin = time.perf_counter()
        for token in self._drawn(logits, int(ids[-1]), tokens, stop or _never):
            drawn.append(token)
            emit(stream.push(token))
            if progress is not None:
                progress(len(drawn), tokens)
        emit(stream.flush())
        seconds = time.perf_counter() - begin
        return Generated(
            "".join(pieces), len(drawn), len(drawn) / seconds, seconds, np.array(drawn, np.int64)
        )

    def reset(self) -> None:
        """Forget what was said: the state is the initial one again. The dice roll on."""
        self._opened.close()
        self._session = self._opened.enter_context(self._backend.session(self.graph))
        self._unread, self._turns = None, 0

    def close(self) -> None:
        """Let go of the backend."""
        self._opened.close()

    def __enter__(self) -> Chat:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return self._opened.__exit__(kind, error, traceback)

    def _on_its_line(self, text: Text) -> Text:
        """A character model's prompts have a newline in front anyway."""
        is_bare = isinstance(text, str) and text and self._vocabulary.kind != "character"
        return f"\n{text}" if is_bare and self._turns else text

    def _read(self, ids: NDArray[np.int64]) -> NDArray[np.int32]:
        """The logits after what of the last answer was not read yet, and ``ids``."""
        unread = () if self._unread is None else (self._unread,)
        self._unread = None
        for token in (*unread, *ids[:-1].tolist()):
            self._session.step(token)
        return self._session.step(int(ids[-1]))

    def _drawn(
        self, logits: NDArray[np.int32], previous: int, count: int, stop: Callable[[], bool]
    ) -> Iterator[int]:
        """At most ``count`` sampled tokens; the last one is not fed back yet."""
        for _ in range(count):
            if stop():
                return
            if self._unread is not None:
                logits = self._session.step(self._unread)
            previous = self._sampler.draw(logits * self.graph.logit_scale, previous)
            self._unread = previous
            yield previous


def _never() -> bool:
    return False


def generate(
    graph: GraphLike,
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
    with Chat(
        graph,
        temperature=temperature,
        top_p=top_p,
        top_p_newline=top_p_newline,
        seed=seed,
        backend=backend,
        **options,
    ) as chat:
        return chat.say(prompt, tokens, unknown=unknown, on_text=on_text, progress=progress)
