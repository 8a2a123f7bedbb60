"""What functions accept where a text is meant: the text, a file of it, token ids, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.evaluation.corpus import held_out, python_documentation
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.text import ids_of_file, ids_of_prompt, prompt_of_file
from spikegpt_neuro.vocabulary import Unknown, Vocabulary, check_token_ids

PathLike = str | Path
Text = str | Path | Sequence[int] | NDArray[np.integer]
"""A text, the path of a UTF-8 file, or token ids (T,)."""


def tokens_of(
    graph: SpikingGraph, text: Text | None, *, unknown: Unknown = "error", count: int | None = None
) -> NDArray[np.int64]:
    """Token ids (T,), at most ``count``; None: the last tenth of the running Python's docs.

    A ``str`` is the text itself, whose lines are tidied for a character model as upstream does
    with a prompt, a newline in front included; a ``Path`` is a UTF-8 file, taken as it is
    (``Path("-")``: standard input).

    Raises :class:`UnsupportedInput` for a text that the vocabulary lacks characters of, a file
    that cannot be read, and ids out of range.
    """
    return compact_tokens_of(graph, text, unknown=unknown)[:count].astype(np.int64)


def compact_tokens_of(
    graph: SpikingGraph, text: Text | None, *, unknown: Unknown = "error"
) -> NDArray[np.integer]:
    """:func:`tokens_of`, those of a file in the smallest integers that hold every id."""
    if text is None:
        vocabulary = vocabulary_of(graph)
        return vocabulary.encode(held_out(python_documentation()), unknown="replace")
    if isinstance(text, Path):
        return ids_of_file(text, vocabulary_of(graph), unknown)
    if isinstance(text, str):
        return ids_of_prompt(text, vocabulary_of(graph), unknown)
    return check_token_ids(np.asarray(text), graph.shape.vocab_size)


def prompt_of(graph: SpikingGraph, prompt: Text, *, unknown: Unknown) -> NDArray[np.int64]:
    """Token ids (T,) to be continued: as :func:`tokens_of`, but a file is a prompt like any other.

    So a character model gets the same, be a prompt typed, piped or in a file.
    """
    if isinstance(prompt, Path):
        prompt = prompt_of_file(prompt, vocabulary_of(graph), unknown)
    return tokens_of(graph, prompt, unknown=unknown)


def vocabulary_of(graph: SpikingGraph) -> Vocabulary:
    """The graph's vocabulary, or an error saying how to get one."""
    if graph.vocabulary is None:
        raise UnsupportedInput(
            "the graph has no vocabulary; give token ids, or convert again with vocab=..."
        )
    return graph.vocabulary
