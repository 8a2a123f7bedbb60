"""Writing a checkpoint: a directory of ``config.json``, ``model.safetensors`` and a vocabulary.

The reader of such directories gives back what was written: shape, stated LIF, float32 tensors, dead
zones (``<population>.dead_zone``), whether weights are pruned, and the vocabulary. What a compat
mode changes (``rescale_every``) is no part of a file: it is chosen anew when the file is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.converters.folder import WEIGHTS_FILE
from spikegpt_neuro.converters.settings import CONFIG_FILE, CONFIG_LIMIT
from spikegpt_neuro.documents import Kind, read_json
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.files import (
    Block,
    atomic_directory,
    check_output_directory,
    tensor_blocks,
    write_blocks,
)
from spikegpt_neuro.model.spikegpt import FloatArray, SpikeGPT

FORMAT = "spikegpt-neuro checkpoint"
STORED_AS = np.dtype("<f4")


def is_checkpoint(path: Path) -> bool:
    """True if ``path`` is a directory whose ``config.json`` says that we wrote it."""
    try:
        return bool(read_json(path / CONFIG_FILE, Kind, limit=CONFIG_LIMIT).format == FORMAT)
    except UnsupportedInput:
        return False


def write_checkpoint(model: SpikeGPT, path: Path, *, force: bool = False) -> None:
    """Write ``model`` to the directory ``path``, whole or not at all.

    ``force`` replaces a checkpoint that was written by this function.
    Raises :class:`CannotWrite` where something else is there, and what :func:`weights_blocks` does.
    """
    check_output_directory(path, force, is_checkpoint)
    with atomic_directory(path, force=force) as directory:
        for name, blocks in checkpoint_files(model):
            write_blocks(directory / name, blocks)


def checkpoint_files(model: SpikeGPT) -> Iterator[tuple[str, Iterable[Block]]]:
    """Name and content of every file of the directory, one after the other."""
    yield CONFIG_FILE, [(json.dumps(config_of(model), indent=1) + "\n").encode()]
    yield WEIGHTS_FILE, weights_blocks(model.stored)
    if model.vocabulary is not None:
        for name, content in model.vocabulary.to_files().items():
            yield name, [content]


def config_of(model: SpikeGPT) -> dict[str, Any]:
    """What ``config.json`` says of a model."""
    shape, lif = model.shape, model.shape.lif
    return {
        "format": FORMAT,
        "n_layer": shape.layers,
        "n_embd": shape.width,
        "vocab_size": shape.vocab_size,
        "spike_embedding": shape.spike_embedding,
        "spike_input": shape.spike_input,
        "lif_tau": lif.tau,
        "lif_threshold": lif.threshold,
        "lif_reset": lif.reset,
        "decay_input": lif.decay_input,
    } | ({"pruned": True} if model.pruned else {})


def weights_blocks(
    tensors: Mapping[str, FloatArray], metadata: Mapping[str, str] | None = None
) -> Iterator[Block]:
    """The content of a ``model.safetensors``; ``tensors`` as :attr:`SpikeGPT.stored` has them.

    ``metadata`` are texts by name, which readers hear as settings where they are named like one.
    Raises :class:`UnsupportedInput` for values that are not finite in float32: nobody reads them.
    """
    stored = {name: _stored(name, tensor) for name, tensor in tensors.items()}
    yield from tensor_blocks(stored, metadata)


def _stored(name: str, tensor: FloatArray) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # told below
        found: NDArray[np.float32] = np.asarray(tensor, STORED_AS)
    if bad := found.size - int(np.count_nonzero(np.isfinite(found))):
        raise UnsupportedInput(
            f"{name}: {bad} of {found.size} values are not finite in float32, which nobody could "
            "read again; go back to a model before it diverged"
        )
    return found
