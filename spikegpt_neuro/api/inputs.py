"""What functions accept where a text is meant: the text, a file of it, token ids, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.evaluation.corpus import held_out, python_documentation
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.text import read_text
from spikegpt_neuro.vocabulary import Unknown, Vocabulary, check_token_ids, refine_prompt

PathLike = str | Path
Text = str | Path | Sequence[int] | NDArray[np.integer]
"""A text, the path of a UTF-8 file, or token ids (T,)."""


def tokens_of(
    graph: SpikingGraph, text: Text | None, *, unknown: Unknown = "error", count: int | None = None
) -> NDArray[np.int64]:
    """Token ids (T,), at most ``count``; None: the last tenth of the running Python's docs.

    A ``str`` is the text itself, whose lines are tidied for a character model as upstream does
    with a prompt; a ``Path`` is a UTF-8 file, taken as it is (``Path("-")``: standard input).

    Raises :class:`UnsupportedInput` for a text that the vocabulary lacks characters of, a file
    that cannot be read, and ids out of range.
    """
    return _ids(graph, text, unknown)[:count]


def _ids(graph: SpikingGraph, text: Text | None, unknown: Unknown) -> NDArray[np.int64]:
    if text is None:
        vocabulary = vocabulary_of(graph)
        return vocabulary.encode(held_out(python_documentation()), unknown="replace")
    if isinstance(text, Path):
        return vocabulary_of(graph).encode(read_text(text), unknown=unknown)
    if isinstance(text, str):
        return prompt_ids(graph, text, unknown)
    return check_token_ids(np.asarray(text), graph.shape.vocab_size)


def prompt_ids(graph: SpikingGraph, prompt: str, unknown: Unknown) -> NDArray[np.int64]:
    """Token ids of a text as typed; a character model gets its lines tidied as upstream does."""
    vocabulary = vocabulary_of(graph)
    if not prompt:
        raise UnsupportedInput("the prompt is empty; at least one character is needed")
    refined = refine_prompt(prompt) if vocabulary.kind == "character" else prompt
    return vocabulary.encode(refined, unknown=unknown)


def vocabulary_of(graph: SpikingGraph) -> Vocabulary:
    """The graph's vocabulary, or an error saying how to get one."""
    if graph.vocabulary is None:
        raise UnsupportedInput(
            "the graph has no vocabulary; give token ids, or convert again with vocab=..."
        )
    return graph.vocabulary
