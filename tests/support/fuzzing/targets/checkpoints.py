"""What the three kinds of checkpoints have in common: how one is read, and what it must be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fuzzing.case import Changed
from fuzzing.parts import digest, tiny_graph
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.converters.reader import read_checkpoint
from spikegpt_neuro.model.spikegpt import ModelShape, SpikeGPT

LIF_KEYS = {"lif_tau": "tau", "lif_threshold": "threshold", "lif_reset": "reset"}
ONE_LOWERED_OF = 16  # it takes ten times as long as reading


Meaning = tuple[ModelShape, frozenset[tuple[str, bytes]]]
"""A model's shape, and the digest of every tensor by name, dead zones included."""


def read(path: Path) -> tuple[SpikeGPT, Meaning]:
    """The model in ``path``, and what it means."""
    model = read_checkpoint(path)
    arrays = {name: digest(model.stored[name]) for name in model.stored}
    return model, (model.shape, frozenset(arrays.items()))


def check_tensors(meaning: Meaning, stored: frozenset[bytes]) -> None:
    """Raise unless every tensor holds the values of one that is ``stored``."""
    for name, content in sorted(meaning[1]):
        if content not in stored:
            raise Changed(f"{name} holds other values than the file")


def check_lif(model: SpikeGPT, config: Mapping[str, Any]) -> None:
    """Raise unless the LIF is what the configuration says."""
    for key, name in LIF_KEYS.items():
        found, said = getattr(model.shape.lif, name), config.get(key, [])
        if not all(map(partial(math.isclose, found), said if isinstance(said, list) else [said])):
            raise Changed(f"{key} is {said!r:.80}, read as {found}")


def prepare() -> None:
    """Load what children need."""
    tiny_graph()


def lower_some(model: SpikeGPT, seeds: Iterable[bytes]) -> None:
    """Convert the model, where its content says that its turn has come."""
    if sum(map(sum, seeds)) % ONE_LOWERED_OF == 0:
        tokens = np.arange(24) % model.shape.vocab_size
        lower(model, tokens)
