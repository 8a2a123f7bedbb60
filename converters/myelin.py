"""spikegpt-myelin's ``.pt``: configuration, vocabulary and state_dict in one dictionary.

Source of the format: ``src/spikegpt/language.py`` of spikegpt-myelin, version
``myelin.spike_language_checkpoint.v1``. Its LIF does not scale the input,
``v = (1 - 1/tau) v + z``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from spikegpt_neuro.converters import torch_file
from spikegpt_neuro.converters.checkpoint import Options, Reader, Statement, build
from spikegpt_neuro.converters.settings import BY_FORMAT
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.model.spikegpt import LIFOrigin, LIFParameters, SpikeGPT
from spikegpt_neuro.vocabulary import (
    Vocabulary,
    bpe_vocabulary,
    byte_vocabulary,
    character_vocabulary,
)

FORMAT = "myelin-pt"
FORMAT_PREFIX = "myelin.spike_language_checkpoint."
FORMAT_MARK = f"{FORMAT_PREFIX}v1"
MODEL_TYPES = ("rwkv", "rwkv-ffn-pre")
OPTIONS = Options(lif=LIFParameters(decay_input=False), origin=LIFOrigin(decay_input=BY_FORMAT))


def matches(path: Path) -> bool:
    """Whether ``path`` is a torch file that carries myelin's format mark."""
    return FORMAT_PREFIX.encode() in (torch_file.pickle_of(path) or b"")


def read(path: Path, vocab: Path | None = None) -> SpikeGPT:
    """Read a myelin checkpoint."""
    file = torch_file.load(path)
    payload = torch_file.dictionary(file)
    if payload.get("format") != FORMAT_MARK:
        raise UnsupportedInput(
            f"{path}: format {payload.get('format')!r:.60}, expected {FORMAT_MARK!r}"
        )
    config = _mapping(payload, "config", path)
    if (model_type := config.get("model_type", "rwkv")) not in MODEL_TYPES:
        raise UnsupportedInput(
            f"{path}: config: model_type is {model_type!r:.40}, expected one of "
            f"{', '.join(MODEL_TYPES)}"
        )
    raw = torch_file.entries(_mapping(payload, "state_dict", path), file)
    stored = partial(_stored_vocabulary, payload, path)
    return build(
        path,
        FORMAT,
        path,
        raw,
        options=OPTIONS,
        vocab=vocab,
        stated=(Statement(f"{path}: config", config, "config"),),
        stored_vocabulary=stored,
    )


def _stored_vocabulary(payload: Mapping[Any, Any], path: Path, size: int) -> Vocabulary:
    stored = _mapping(payload, "vocabulary", path)
    where = f"{path}: stored vocabulary"
    kind = stored.get("type")
    if kind == "byte":
        return byte_vocabulary(size, where)
    if kind == "character" and isinstance(tokens := stored.get("tokens"), list | tuple):
        return character_vocabulary(tokens, size, where)
    if kind == "bpe" and isinstance(text := stored.get("tokenizer_json"), str):
        return bpe_vocabulary(text, size, where)
    if kind in ("character", "bpe"):
        raise UnsupportedInput(f"{where}: a {kind} vocabulary without its tokens")
    raise UnsupportedInput(f"{where}: type {kind!r:.40}, expected character, byte or bpe")


def _mapping(payload: Mapping[Any, Any], key: str, path: Path) -> Mapping[Any, Any]:
    value = payload.get(key)
    if not isinstance(value, Mapping):
        raise UnsupportedInput(f"{path}: {key} is a {type(value).__name__}, expected a dictionary")
    return value


READER = Reader(FORMAT, matches, read)
