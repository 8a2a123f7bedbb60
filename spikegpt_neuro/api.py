"""The public face in Python: checkpoint to graph, graph to run.

Everything here is one or two calls into the rooms of the house; this module and the command
line are the only ones in the core that know readers and backends.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.converters.reader import read_checkpoint
from spikegpt_neuro.errors import UnsupportedInput, UsageError
from spikegpt_neuro.evaluation.corpus import python_documentation, training_part
from spikegpt_neuro.graph import artifact
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.float_forward import FloatModel
from spikegpt_neuro.model.spikegpt import Compat, SpikeGPT
from spikegpt_neuro.running import Progress, Record, Run, get_backend
from spikegpt_neuro.text import read_text
from spikegpt_neuro.vocabulary import Unknown, check_token_ids

PathLike = str | Path


def convert(
    checkpoint: PathLike,
    *,
    vocab: PathLike | None = None,
    calibration: PathLike | NDArray[np.integer] | None = None,
    weight_bits: int = 8,
    activation_bits: int = 8,
    compat: Compat = "training",
    unknown: Unknown = "error",
    progress: Progress | None = None,
) -> SpikingGraph:
    """Read a float checkpoint and lower it to an all-integer spiking graph.

    Parameters
    ----------
    checkpoint
        Upstream ``.pth``, myelin ``.pt``, or a directory with ``config.json`` and
        ``model.safetensors``.
    vocab
        Upstream's ``vocab.json`` or a ``tokenizer.json``; else what is stored in or beside
        the checkpoint, else bytes where the model has 256 token ids.
    calibration
        Path of a UTF-8 text, or token ids (T,), from which ranges are measured. None: the
        documentation of the running Python.
    weight_bits, activation_bits
        4, 6 or 8.
    compat
        ``"training"``: the training forward; ``"upstream-run"``: what upstream's inference
        script computes.
    unknown
        What to do with characters of the calibration text outside the vocabulary.

    Raises
    ------
    UnsupportedInput
        The checkpoint, vocabulary or text cannot be used; the message says why.
    UsageError
        Another bit width or compat.
    """
    model = read_model(checkpoint, vocab=vocab, compat=compat)
    return lower(
        model,
        calibration_tokens(model, calibration, unknown),
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        progress=progress,
    )


def read_model(
    checkpoint: PathLike, *, vocab: PathLike | None = None, compat: Compat = "training"
) -> SpikeGPT:
    """The checkpoint as data, under the chosen inference semantics."""
    if compat not in ("training", "upstream-run"):
        raise UsageError(f"compat is {compat!r}, expected 'training' or 'upstream-run'")
    return read_checkpoint(checkpoint, vocab=vocab).with_compat(compat)


def calibration_tokens(
    model: SpikeGPT, calibration: PathLike | NDArray[np.integer] | None, unknown: Unknown
) -> NDArray[np.int64]:
    """Token ids to calibrate on; see :func:`convert`."""
    if isinstance(calibration, np.ndarray):
        return check_token_ids(calibration, model.shape.vocab_size)
    if model.vocabulary is None:
        raise UnsupportedInput(
            f"{model.provenance.file}: no vocabulary in or beside it for "
            f"{model.shape.vocab_size} token ids; give one (--vocab)"
        )
    if calibration is None:
        return model.vocabulary.encode(training_part(python_documentation()), unknown="replace")
    return model.vocabulary.encode(read_text(calibration), unknown=unknown)


def load(path: PathLike) -> SpikingGraph:
    """Read an artifact directory written by :meth:`SpikingGraph.save`.

    Raises
    ------
    UnsupportedInput
        It is not an artifact, of another schema version, or a checksum does not fit.
    """
    return artifact.load(str(path))


def run(
    graph: SpikingGraph,
    tokens: NDArray[np.integer],
    backend: str = "reference",
    *,
    record: Record = "spikes",
    progress: Progress | None = None,
    **options: Any,
) -> Run:
    """Run token ids (T,) from the initial state; ``options`` go to the backend.

    ``record`` chooses what the run keeps: ``"logits"``, also ``"spikes"`` (every binary
    population), or also every population's ``"events"``.

    Raises
    ------
    UsageError
        No backend has this name.
    MissingBackend
        Its packages are not installed; the text names the install line.
    UnsupportedInput
        A token id is out of range, or the backend cannot run this graph.
    """
    runner = get_backend(backend, **options)
    ids = check_token_ids(tokens, graph.shape.vocab_size)
    return runner.run(graph, ids, record=record, progress=progress)


def float_model(
    checkpoint: PathLike,
    *,
    vocab: PathLike | None = None,
    compat: Compat = "training",
    dtype: Literal["float32", "float64"] = "float32",
) -> FloatModel:
    """The float reference of a checkpoint: ``float_model(path).logits(tokens)`` is (T, V)."""
    return FloatModel(read_model(checkpoint, vocab=vocab, compat=compat), dtype=dtype)
