"""``evaluate`` divided among workers: what each computes, and how the parts become the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.api.beside import float_model_for
from spikegpt_neuro.cluster.place import Place
from spikegpt_neuro.cluster.pool import opened
from spikegpt_neuro.cluster.task import Task, carried_out, own_folder
from spikegpt_neuro.cluster.upload import checksum, packed, unpacked
from spikegpt_neuro.converters.settings import GivenLIF
from spikegpt_neuro.documents import converted
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.evaluation.evaluate import Sums, batch_of, pieces, scored
from spikegpt_neuro.files import sha256_of
from spikegpt_neuro.graph.artifact import CONFIG, load
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.float_forward import FloatModel
from spikegpt_neuro.running import Backend, Progress, get_backend

PIECE_WINDOWS = 8
TOKENS_SENT = np.dtype("<u4")
KEPT = 2
"""Models that a worker keeps open."""


def scored_by(
    place: Place,
    artifact: Path,
    tokens: NDArray[np.integer],
    *,
    window: int,
    against: Path | None,
    lif: GivenLIF,
    piece: int = PIECE_WINDOWS,
    upload: bool = False,
    progress: Progress | None = None,
) -> Sums:
    """What :func:`~spikegpt_neuro.evaluation.evaluate.scored` gives, from the workers of ``place``.

    ``piece``  windows that a worker gets at a time; no figure depends on it.

    Every worker reads the artifact, and the checkpoint ``against``, at the same path as here, and
    compares their checksums; with ``upload`` it gets the artifact as bytes.
    """
    if against is not None:  # windows that are computed at once stay together
        piece = -(-piece // batch_of(window)) * batch_of(window)
    content = packed(artifact) if upload else b""
    argument = {
        "artifact": str(artifact.absolute()),
        "checksum": sha256_of(artifact / CONFIG),
        "upload": checksum(content) if upload else None,
        "window": window,
        "against": None if against is None else str(against.absolute()),
        "lif": [lif.tau, lif.threshold, lif.reset],
    }
    tasks = (
        Task(argument, part.astype(TOKENS_SENT).tobytes()) for part in pieces(tokens, window, piece)
    )
    sums = Sums()
    with opened(place) as pool:
        if upload:
            pool.share(content)
        for _, found in pool.results(carry_out, tasks):
            sums.merge(converted(found, Sums, where="a worker's answer"))
            if progress is not None:
                progress(sums.tokens, len(tokens) - 1)
    return sums


def carry_out(text: str, payload: bytes, uploaded: bytes = b"") -> str:
    """On a worker: score one piece of the text, see :mod:`spikegpt_neuro.cluster.task`."""
    return carried_out(text, payload, lambda given, part: _score(given, part, uploaded))


def _score(argument: Mapping[str, Any], payload: bytes, uploaded: bytes) -> dict[str, Any]:
    artifact = argument["artifact"]
    if argument.get("upload") is not None:
        artifact = str(unpacked(uploaded, argument["upload"], own_folder()))
    graph, backend = _opened(artifact, argument["checksum"])
    against = argument["against"]
    floating = (
        None
        if against is None
        else _floating(artifact, argument["checksum"], against, *argument["lif"])
    )
    tokens = np.frombuffer(payload, TOKENS_SENT).astype(np.int64)
    return asdict(
        scored(graph, tokens, window=argument["window"], against=floating, backend=backend)
    )


@lru_cache(KEPT)
def _opened(artifact: str, checksum: str) -> tuple[SpikingGraph, Backend]:
    """The artifact, memory-mapped, and what runs it, once in a worker's life.

    The backend keeps the weights as its products read them.
    """
    directory = Path(artifact)
    if not directory.is_dir():
        raise UnsupportedInput(f"{artifact} is not there; put it where every worker sees it")
    if sha256_of(directory / CONFIG) != checksum:
        raise UnsupportedInput(f"{artifact} is another artifact there; put the same one there")
    return load(directory), get_backend("reference")


@lru_cache(KEPT)
def _floating(artifact: str, checksum: str, against: str, *lif: float | None) -> FloatModel:
    graph, _ = _opened(artifact, checksum)
    return float_model_for(graph, against, GivenLIF(*lif))
