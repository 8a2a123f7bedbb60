"""Hugging Face tokenizers: loaded, and their failures as errors of one line.

The library is written in Rust. What it did not foresee it reports as a panic: an exception that
``except Exception`` does not catch, and pages of text on standard error. Here and nowhere else it
is imported, on first use.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from spikegpt_neuro.errors import MissingBackend, UnsupportedInput

if TYPE_CHECKING:
    from tokenizers import Tokenizer

T = TypeVar("T")

PANIC = "PanicException"
STDERR = 2
REASON_CHARACTERS = 160
PROBE = "The spike, 7 \u00e9\u4e2d\n\t\U0001f600"
"""Text of several scripts: what panics on it would panic later."""
DECODED_AT_ONCE = 64
ONE_AT_A_TIME = threading.RLock()


class Failed(Exception):
    """The tokenizers library failed; its text is the reason in one line."""


def load_tokenizer(tokenizer_json: str) -> Tokenizer:
    """The tokenizer of a ``tokenizer.json``, without padding, truncation and dropout.

    Raises :class:`Failed` for what the library cannot read or cannot work with.
    """
    tokenizer_class = _library().Tokenizer
    tokenizer: Tokenizer = guarded(lambda: tokenizer_class.from_str(tokenizer_json))
    guarded(lambda: _prepare(tokenizer))
    return tokenizer


def encoded(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids of a text, and the characters (begin, end) that each stands for."""
    try:
        encoding = guarded(lambda: tokenizer.encode(text, add_special_tokens=False))
    except Failed as error:
        raise UnsupportedInput(f"the tokenizer fails on the text {text[:20]!r}: {error}") from error
    return encoding.ids, encoding.offsets


def decoded(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of token ids, special tokens included."""
    try:
        return str(tokenizer.decode(ids, skip_special_tokens=False))
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == PANIC:
            raise UnsupportedInput(
                f"the tokenizer fails on token ids {list(ids[:8])}: {_reason(error)}"
            ) from error
        raise


def special_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids of the tokens that the tokenizer marks as special."""
    added = tokenizer.get_added_tokens_decoder()
    return tuple(sorted(index for index, token in added.items() if token.special))


def byte_level_json(
    vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], special: Collection[str]
) -> str:
    """The ``tokenizer.json`` of GPT-2's two files, ``vocab.json`` and ``merges.txt``."""
    library = _library()

    def build() -> str:
        tokenizer = library.Tokenizer(library.models.BPE(dict(vocabulary), list(merges)))
        tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = library.decoders.ByteLevel()
        tokenizer.add_special_tokens([token for token in special if token in vocabulary])
        return str(tokenizer.to_str())

    return guarded(build)


def _library() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise MissingBackend(
            "a BPE vocabulary needs the package tokenizers: pip install tokenizers"
        ) from error
    return tokenizers


def _prepare(tokenizer: Tokenizer) -> None:
    """Make it deterministic, and try once what will be asked of it."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if getattr(tokenizer.model, "dropout", None):
        tokenizer.model.dropout = None
    ids = sorted(tokenizer.get_vocab(with_added_tokens=True).values())
    tokenizer.decode(ids[:DECODED_AT_ONCE], skip_special_tokens=False)
    try:
        tokenizer.encode(PROBE, add_special_tokens=False)
    except Exception:  # a vocabulary without these characters may refuse them
        return


def guarded(action: Callable[[], T]) -> T:
    """What ``action`` gives; :class:`Failed` where it raises or panics, and nothing is printed."""
    with ONE_AT_A_TIME, _held_stderr() as discard:
        try:
            return action()
        except BaseException as error:
            if isinstance(error, Exception) or type(error).__name__ == PANIC:
                discard()
                raise Failed(_reason(error)) from error
            raise


def _reason(error: BaseException) -> str:
    reason = " ".join(str(error).split())
    return reason if len(reason) <= REASON_CHARACTERS else f"{reason[:REASON_CHARACTERS]}..."


@contextmanager
def _held_stderr() -> Iterator[Callable[[], None]]:
    """Hold back what is written to file descriptor 2; it is shown at the end, or discarded.

    A panic is printed by Rust itself, below Python's ``sys.stderr``.
    """
    try:
        sys.stderr.flush()
        original, held = os.dup(STDERR), os.memfd_create("stderr")
    except (OSError, ValueError, AttributeError):  # standard error is closed or no file
        yield lambda: None
        return
    kept = True

    def discard() -> None:
        nonlocal kept
        kept = False

    os.dup2(held, STDERR)
    try:
        yield discard
    finally:
        os.dup2(original, STDERR)
        os.close(original)
        if kept and (size := os.lseek(held, 0, os.SEEK_CUR)):
            os.write(STDERR, os.pread(held, size, 0))
        os.close(held)
