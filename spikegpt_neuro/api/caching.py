"""Checkpoints converted once, into the user's cache."""

from __future__ import annotations

import hashlib
import logging
import os
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from spikegpt_neuro.api.inputs import PathLike
from spikegpt_neuro.api.models import convert, load, save
from spikegpt_neuro.api.sweep_files import content_of
from spikegpt_neuro.errors import CannotWrite, UnsupportedInput
from spikegpt_neuro.files import check_output_directory
from spikegpt_neuro.graph.artifact import is_artifact
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.running import Progress
from spikegpt_neuro.sweeps.step import Step

LOG = logging.getLogger(__name__)
VARIABLE, USUAL, FOLDER = "XDG_CACHE_HOME", "~/.cache", "spikegpt-neuro"


def convert_cached(
    checkpoint: PathLike, *, progress: Progress | None = None, **options: Any
) -> SpikingGraph:
    """The graph of a checkpoint, converted at most once.

    It is kept in the folder ``spikegpt-neuro`` of ``XDG_CACHE_HOME`` (else of ``~/.cache``), under
    a hash of the checkpoint's sha256, its vocabulary and LIF, the options and this package's
    version; what is in that folder may be removed at any time. An artifact is loaded as it is.

    Parameters
    ----------
    checkpoint, options
        As of :func:`convert`.

    Raises
    ------
    UnsupportedInput, UsageError
        As of :func:`convert`.
    CannotWrite
        The cache cannot be written.

    Examples
    --------
    >>> graph = sgn.convert_cached("model.pth", calibration="text.txt")
    >>> graph.shape.layers
    4
    """
    if is_artifact(Path(checkpoint)):
        return load(checkpoint)
    target = _cache() / f"{_key(checkpoint, options)}.sgn"
    if (found := _found(target)) is not None:
        LOG.info("converted before, read from the cache: %s", target)
        return found
    check_output_directory(target, True, is_artifact)
    save(convert(checkpoint, progress=progress, **options), target, force=True)
    LOG.info("converted into the cache: %s", target)
    return load(target)


def _cache() -> Path:
    """The folder, made where it is missing."""
    given = os.environ.get(VARIABLE, "")
    shown = Path(given if os.path.isabs(given) else USUAL) / FOLDER  # relative ones do not count
    try:
        folder = shown.expanduser()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CannotWrite(
            f"{shown} cannot be made: {reason}; name a place for caches in {VARIABLE}, or convert "
            "the checkpoint"
        ) from error
    return folder


def _key(checkpoint: PathLike, options: dict[str, Any]) -> str:
    """What the result depends on, as one hash; options not given count as their defaults."""
    bound = signature(convert).bind(str(checkpoint), **options)
    bound.apply_defaults()
    values = {k: v for k, v in bound.arguments.items() if v is not None}
    vocab, calibration = values.pop("vocab", None), values.pop("calibration", None)
    files = {
        "checkpoint": content_of("checkpoint", str(checkpoint), vocab and str(vocab)),
        "calibration": _text(calibration),
    }
    return Step("convert", values, files).name


def _text(calibration: Any) -> str:
    if isinstance(calibration, np.ndarray):
        return hashlib.sha256(calibration.astype(np.int64).tobytes()).hexdigest()
    return content_of("calibrate", None if calibration is None else str(calibration))


def _found(target: Path) -> SpikingGraph | None:
    """What is in the cache; None: nothing, or something damaged."""
    if not target.exists():
        return None
    try:
        return load(target)
    except UnsupportedInput:
        return None
