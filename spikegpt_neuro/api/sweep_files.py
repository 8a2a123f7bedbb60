"""What the files of a sweep hold, as short texts: the same text, the same content.

Both who plans a step and who computes it ask here, on machines that may differ.
"""

from __future__ import annotations

import hashlib
import platform
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.api.measuring import Measured
from spikegpt_neuro.api.models import read_model
from spikegpt_neuro.backends.cycle.traffic.masks import Chunk
from spikegpt_neuro.converters import hub
from spikegpt_neuro.energy.activity import Activity
from spikegpt_neuro.errors import SpikeGPTError, UnsupportedInput
from spikegpt_neuro.files import atomic_file, sha256_of
from spikegpt_neuro.graph.artifact import CONFIG
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import load_profile

REMEMBERED = 256
BUILT_IN = f"python-docs {platform.python_version()}"
"""The text that is taken where none is named: every version of Python has its own."""
WITHOUT_VOCABULARY = "no vocabulary"


def content_of(kind: str, path: str | None, vocab: str | None = None) -> str:
    """What a file holds: a ``checkpoint``, a hardware profile (``hw``), or any other (a text).

    Raises :class:`UnsupportedInput` where it cannot be read.
    """
    if path is None:
        return BUILT_IN
    if kind == "hw":
        profile = load_profile(path)
        return f"{profile.name} {profile.sha256}"
    if kind == "checkpoint":
        return _checkpoint(path, vocab, _stamp(path))
    return _file(path, _stamp(path))


def artifact_content(path: Path) -> str:
    """sha256 of an artifact's ``config.json``, which has those of its other files."""
    return sha256_of(path / CONFIG)


def _stamp(path: str) -> tuple[int, int]:
    """What changes when a file does."""
    if path.startswith(hub.SCHEME):
        return 0, 0
    try:
        found = Path(path).stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UnsupportedInput(f"{path}: cannot be read: {reason}") from error
    return found.st_mtime_ns, found.st_size


@lru_cache(REMEMBERED)
def _file(path: str, _: tuple[int, int]) -> str:
    try:
        return sha256_of(Path(path))
    except OSError as error:
        raise UnsupportedInput(f"{path}: cannot be read: {error.strerror}") from error


@lru_cache(REMEMBERED)
def _checkpoint(path: str, vocab: str | None, _: tuple[int, int]) -> str:
    """Weights, and what is read beside them: the vocabulary and what is said of the LIF."""
    try:
        model = read_model(path, vocab=vocab)
    except SpikeGPTError as error:  # to convert it will say so, too
        return f"unreadable: {error}"
    digest = hashlib.sha256()
    if model.vocabulary is not None:
        for name, content in sorted(model.vocabulary.to_files().items()):
            digest.update(name.encode() + content)
    words = WITHOUT_VOCABULARY if model.vocabulary is None else digest.hexdigest()
    return f"{model.provenance.sha256} {model.shape.lif} {model.lif_origin} {words}"


def save_measured(measured: Measured, path: Path) -> None:
    """Write a run's activity, for others to price."""
    activity = measured.activity
    arrays: dict[str, NDArray[np.generic]] = {
        "rows": np.concatenate([chunk.rows for chunk in measured.chunks]),
        "lengths": np.array([len(chunk.rows) for chunk in measured.chunks], np.int64),
        "tokens": np.array(activity.tokens, np.int64),
    }
    for index, name in enumerate(activity.per_token):
        arrays[f"name{index}"] = np.array(name)
        arrays[f"per_token{index}"] = activity.per_token[name]
        arrays[f"per_neuron{index}"] = activity.per_neuron[name]
        arrays[f"largest{index}"] = np.array(activity.largest[name], np.int64)
    with atomic_file(path) as new, new.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def load_measured(graph: SpikingGraph, path: Path, checksum: str) -> Measured:
    """Read what :func:`save_measured` wrote; raises :class:`UnsupportedInput` for another file."""
    if content_of("run", str(path)) != checksum:
        raise UnsupportedInput(f"{path}: is not the file that this sweep wrote; remove it")
    with np.load(path, allow_pickle=False) as held:
        count = sum(name.startswith("name") for name in held.files)
        names = [str(held[f"name{index}"]) for index in range(count)]
        activity = Activity(
            int(held["tokens"]),
            {name: held[f"per_token{index}"] for index, name in enumerate(names)},
            {name: held[f"per_neuron{index}"] for index, name in enumerate(names)},
            {name: int(held[f"largest{index}"]) for index, name in enumerate(names)},
        )
        rows, ends = held["rows"], np.cumsum(held["lengths"])
    chunks = tuple(Chunk(part, None) for part in np.split(rows, ends[:-1]))
    return Measured(graph, activity, chunks)
