"""What targets share."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from random import Random
from typing import Any

import numpy as np

from fuzzing.case import Content, Special
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.spikegpt import SpikeGPT

CHARACTERS = "\n abcdefghi!é"
SPECIALS: tuple[Special, ...] = ("fifo", "folder", "/dev/zero", "/dev/null", "loop")

Files = dict[str, Content]


@cache
def tiny_model(seed: int = 0, **shape: Any) -> SpikeGPT:
    """One layer, 16 wide, a dozen characters."""
    from spikegpt_neuro.model.synthetic import random_model

    return random_model(1, 16, len(CHARACTERS), seed=seed, **shape)


@cache
def tiny_graph(bits: int = 8) -> SpikingGraph:
    """:func:`tiny_model`, lowered."""
    from dataclasses import replace

    from spikegpt_neuro.converters.lowering import lower
    from spikegpt_neuro.vocabulary import CharacterVocabulary

    model = replace(tiny_model(), vocabulary=CharacterVocabulary(tuple(CHARACTERS)))
    tokens = np.arange(64) % len(CHARACTERS)
    return lower(model, tokens, weight_bits=bits)


def special(files: Mapping[str, Content], rng: Random) -> Files:
    """One of the files is no file."""
    name = rng.choice(sorted(files))
    return {**files, name: rng.choice(SPECIALS)}


def lost(files: Mapping[str, Content], rng: Random) -> Files:
    """One of the files is not there."""
    gone = rng.choice(sorted(files))
    return {name: content for name, content in files.items() if name != gone}


@contextmanager
def unheard() -> Iterator[None]:
    """For a library that is asked what a file means: its warnings are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def digest(array: Any) -> bytes:
    """What a tensor holds, whatever its shape."""
    values = np.ascontiguousarray(array, np.float64).ravel() + 0.0  # one zero
    return hashlib.sha256(values.tobytes()).digest()


def contents(arrays: Iterable[Any]) -> frozenset[bytes]:
    return frozenset(map(digest, arrays))
