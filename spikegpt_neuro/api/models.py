"""Checkpoints and graphs: convert, save, load, describe; the float reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.api.inputs import PathLike
from spikegpt_neuro.converters import hub
from spikegpt_neuro.converters.folder import SUFFIXES
from spikegpt_neuro.converters.reader import read_checkpoint
from spikegpt_neuro.converters.settings import GivenLIF
from spikegpt_neuro.converters.sparsifying import sparsify
from spikegpt_neuro.errors import UnsupportedInput, UsageError
from spikegpt_neuro.evaluation.corpus import python_documentation, training_part
from spikegpt_neuro.evaluation.evaluate import evaluate as score
from spikegpt_neuro.graph import artifact
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.float_forward import FloatModel
from spikegpt_neuro.model.spikegpt import Compat, LIFOrigin, ModelShape, SpikeGPT
from spikegpt_neuro.quantization.calibration import calibration_windows
from spikegpt_neuro.remarks import remark
from spikegpt_neuro.results import Result
from spikegpt_neuro.running import Progress
from spikegpt_neuro.sparsity.request import SparsityRequest
from spikegpt_neuro.sparsity.shown import RealThresholds, Thresholds, thresholds_of
from spikegpt_neuro.text import ids_of_file
from spikegpt_neuro.vocabulary import Unknown, Vocabulary, check_token_ids

GraphLike = SpikingGraph | PathLike
"""A graph, or the path of its artifact."""

CHECKED_TOKENS = 129
"""Of the calibration text, after conversion: 128 are predicted."""


def convert(
    checkpoint: PathLike,
    *,
    vocab: PathLike | None = None,
    calibration: PathLike | NDArray[np.integer] | None = None,
    weight_bits: int = 8,
    activation_bits: int = 8,
    sparsity: float | None = None,
    sparsity_budget: float | None = None,
    prune: float | None = None,
    compat: Compat = "training",
    lif_tau: float | None = None,
    lif_threshold: float | None = None,
    lif_reset: float | None = None,
    unknown: Unknown = "error",
    progress: Progress | None = None,
) -> SpikingGraph:
    """Read a float checkpoint and lower it to an all-integer spiking graph.

    Parameters
    ----------
    checkpoint
        Upstream ``.pth``, myelin ``.pt``, a directory with ``config.json`` and
        ``model.safetensors``, or ``"hf:OWNER/NAME[@REVISION][/FILE]"`` on a model hub (extra
        ``hub``).
    vocab
        Upstream's ``vocab.json`` or a ``tokenizer.json``; else what is stored in or beside
        the checkpoint, else bytes where the model has 256 token ids.
    calibration
        Path of a UTF-8 text, or token ids (T,), from which ranges are measured. None: the
        documentation of the running Python.
    weight_bits, activation_bits
        4, 6 or 8.
    sparsity
        Share of the dense synaptic operations that shall not happen, in [0, 1): events that say
        least stay silent, and the weights make up for them, without training.
    sparsity_budget
        Largest loss in bits per token that this may cost, on calibration text held out from the
        choice. With ``sparsity``, whichever is met first.
    prune
        Share of the weights that go, in [0, 1), per output channel; those left make up for it.
    compat
        ``"training"``: the training forward; ``"upstream-run"``: what upstream's inference
        script computes.
    lif_tau, lif_threshold, lif_reset
        The LIF of a checkpoint that does not state it, inside or in a ``config.json`` beside it;
        where neither does, upstream's 2, 1 and 0 are assumed.
    unknown
        What to do with characters of the calibration text outside the vocabulary.

    Raises
    ------
    UnsupportedInput
        The checkpoint, vocabulary or text cannot be used, the budget cannot be met, or sparsity is
        asked of a checkpoint that has it already; the message says why.
    UsageError
        Another bit width or compat, a LIF out of range, a share outside [0, 1), or a budget of 0
        or less.

    Notes
    -----
    The graph is run on the beginning of the calibration text; what is odd about it is remarked on
    (:mod:`spikegpt_neuro.remarks`): more bits per token than guessing needs, LIF neurons that
    never or always fire, many saturations.

    Examples
    --------
    >>> graph = sgn.convert("model.pth", vocab="vocab.json", calibration="text.txt")
    >>> graph.shape.layers
    4
    """
    request = SparsityRequest(sparsity, sparsity_budget, prune)
    model = read_model(
        checkpoint,
        vocab=vocab,
        compat=compat,
        lif=GivenLIF(lif_tau, lif_threshold, lif_reset),
    )
    tokens = calibration_tokens(model, calibration, unknown)
    graph = sparsify(
        model,
        tokens,
        request,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        progress=progress,
    )
    for text in (*model.remarks, *graph.remarks, *_findings(graph, tokens)):
        remark(text)
    return graph


def _findings(graph: SpikingGraph, calibration: NDArray[np.int64]) -> tuple[str, ...]:
    """What is odd about a converted graph on the beginning of the text that calibrated it."""
    checked = calibration_windows(calibration)[0][:CHECKED_TOKENS]
    return score(graph, checked).remarks if len(checked) > 1 else ()


def read_model(
    checkpoint: PathLike,
    *,
    vocab: PathLike | None = None,
    compat: Compat = "training",
    lif: GivenLIF | None = None,
) -> SpikeGPT:
    """The checkpoint as data, under the chosen inference semantics.

    ``lif`` is the LIF where its files do not state it.
    """
    if compat not in ("training", "upstream-run"):
        raise UsageError(f"compat is {compat!r}, expected 'training' or 'upstream-run'")
    return read_checkpoint(checkpoint, vocab=vocab, lif=lif).with_compat(compat)


def calibration_tokens(
    model: SpikeGPT, calibration: PathLike | NDArray[np.integer] | None, unknown: Unknown
) -> NDArray[np.int64]:
    """Token ids to calibrate on; see :func:`convert`."""
    if isinstance(calibration, np.ndarray):
        return check_token_ids(calibration, model.shape.vocab_size)
    if model.vocabulary is None:
        refused = "; ".join(model.refused_vocabularies)
        raise UnsupportedInput(
            f"{model.provenance.file}: no vocabulary in or beside it for "
            f"{model.shape.vocab_size} token ids{refused and f' ({refused})'}; give one (vocab=...)"
        )
    if calibration is None:
        return model.vocabulary.encode(training_part(python_documentation()), unknown="replace")
    return ids_of_file(calibration, model.vocabulary, unknown).astype(np.int64)


def text_tokens(
    model: SpikeGPT, text: PathLike | NDArray[np.integer] | None, unknown: Unknown
) -> NDArray[np.int64]:
    """Token ids of a text of which one part teaches and another is scored.

    None: the whole documentation of the running Python.
    """
    if text is None and model.vocabulary is not None:
        return model.vocabulary.encode(python_documentation(), unknown="replace")
    return calibration_tokens(model, text, unknown)


def load(path: PathLike) -> SpikingGraph:
    """Read an artifact directory written by :meth:`SpikingGraph.save`.

    Raises
    ------
    UnsupportedInput
        It is not an artifact, of another schema version, or a checksum does not fit.

    Examples
    --------
    >>> graph = sgn.load("pydoc.sgn")
    >>> graph.weight_bits
    8
    """
    check_converted(str(path))
    return artifact.load(str(path))


def graph_of(given: GraphLike) -> SpikingGraph:
    """The graph that a function of this package was given, in memory or as its artifact's path.

    Raises what :func:`load` raises, and :class:`UsageError` for anything else.
    """
    if isinstance(given, SpikingGraph):
        return given
    if isinstance(given, (str, Path)):
        return load(given)
    raise UsageError(
        f"expected a graph or the path of its artifact, found {type(given).__name__}; "
        "convert makes a graph of a checkpoint"
    )


def artifact_of(given: GraphLike, artifact: PathLike | None = None) -> PathLike | None:
    """Where the graph lies: the path that was given, else ``artifact``."""
    return artifact if isinstance(given, SpikingGraph) else given


def path_within(folder: PathLike, given: GraphLike) -> Path:
    """The artifact that was given; a graph in memory is saved as one in ``folder``."""
    return save(given, Path(folder, "graph")) if isinstance(given, SpikingGraph) else Path(given)


def check_converted(path: str, instead: str = "") -> None:
    """Raise, with the command that helps, for what looks like a checkpoint.

    ``instead``  what else would help, before that.
    """
    here = Path(path)
    if path.startswith(hub.SCHEME):
        name = hub.Reference.parse(path).repository.split("/")[1]
    elif here.is_file() or _has_weights_alone(here):
        name = here.resolve().stem
    else:
        return
    raise UnsupportedInput(
        f"{path} is not an artifact; {instead}convert a checkpoint first: "
        f"convert({path!r}).save({name + '.sgn'!r})"
    )


def _has_weights_alone(folder: Path) -> bool:
    """True for a folder with weights that is no artifact, not even a damaged one."""
    if not folder.is_dir() or artifact.is_artifact(folder) or (folder / artifact.GRAPH).exists():
        return False
    try:
        return any(file.suffix in SUFFIXES for file in folder.iterdir())
    except OSError:  # reading the artifact says what is wrong
        return False


def save(graph: GraphLike, path: PathLike, *, force: bool = False) -> Path:
    """Write the artifact directory ``path``, whole or not at all; returns its path.

    ``force`` replaces an artifact that exists. Raises :class:`CannotWrite` where something else
    is there, or it cannot be written.

    Examples
    --------
    >>> sgn.save(graph, "copy.sgn").name
    'copy.sgn'
    """
    artifact.save(graph_of(graph), path, force=force)
    return Path(path)


def float_model(
    checkpoint: PathLike,
    *,
    vocab: PathLike | None = None,
    compat: Compat = "training",
    dtype: Literal["float32", "float64"] = "float32",
    lif_tau: float | None = None,
    lif_threshold: float | None = None,
    lif_reset: float | None = None,
) -> FloatModel:
    """The float reference of a checkpoint: ``float_model(path).logits(tokens)`` is (T, V).

    ``lif_tau``, ``lif_threshold`` and ``lif_reset`` are as in :func:`convert`.

    Raises what :func:`convert` raises for a checkpoint.

    Examples
    --------
    >>> tokens = graph.vocabulary.encode("The return")
    >>> sgn.float_model("model.pth").logits(tokens).shape
    (10, 96)
    """
    lif = GivenLIF(lif_tau, lif_threshold, lif_reset)
    return FloatModel(read_model(checkpoint, vocab=vocab, compat=compat, lif=lif), dtype=dtype)


GRAPH_ONLY = (
    "weight_bits",
    "activation_bits",
    "populations",
    "neurons",
    "synapses",
    "tool_version",
)
SPARSE_ONLY = (
    "weight_density",
    "synops_over_dense",
    "calibration_delta_bits",
    "calibration_predicted_delta_bits",
    "thresholds",
    "dead_zones",
)


@dataclass(frozen=True, repr=False)
class Described(Result):
    """What an artifact or a checkpoint holds; what a kind does not have is None.

    ``kind``             ``"artifact"`` or ``"checkpoint"``.
    ``embedding``        ``"binary"`` or ``"real"``.
    ``vocabulary_file``  the name of the file that the vocabulary was read from; None for none,
                         and for bytes that were assumed because of 256 token ids.
    ``remarks``          what a person should know of how it was read and converted.
    ``weight_density``   synapses that exist, of those of dense matrices; of a checkpoint, weights
                         that are not 0 in its matrices, if it is pruned.
    ``synops_over_dense``  what the conversion measured on held-out calibration text, if it made the
                         graph sparse; likewise ``calibration_delta_bits``, what that lost in bits
                         per token, and ``calibration_predicted_delta_bits``, what it lost on the
                         part of the text on which it was chosen.
    ``thresholds``       of an artifact, population -> its dead zones; None where there is none.
    ``dead_zones``       those of a checkpoint, in real units; None where there is none.
    ``lif_tau_from``     and its like: ``"assumed"``, ``"stated: config.json"`` or another place, or
                         ``"unknown"`` where an artifact is older than this record.
    """

    kind: str
    layers: int
    width: int
    vocab_size: int
    parameters: int
    embedding: str
    vocabulary: str | None
    lif_tau: float
    lif_tau_from: str
    lif_threshold: float
    lif_threshold_from: str
    lif_reset: float
    lif_reset_from: str
    source_sha256: str | None
    source_file: str | None
    source_format: str | None
    vocabulary_file: str | None = None
    weight_bits: int | None = None
    activation_bits: int | None = None
    populations: int | None = None
    neurons: int | None = None
    synapses: int | None = None
    tool_version: str | None = None
    remarks: tuple[str, ...] = ()
    weight_density: float | None = None
    synops_over_dense: float | None = None
    calibration_delta_bits: float | None = None
    calibration_predicted_delta_bits: float | None = None
    thresholds: Mapping[str, Thresholds] | None = None
    dead_zones: RealThresholds | None = None

    HEADLINE: ClassVar[tuple[str, ...]] = ("kind", "layers", "width", "vocab_size", "parameters")

    def to_dict(self) -> dict[str, object]:
        """The figures that its kind has."""
        other = GRAPH_ONLY if self.kind == "checkpoint" else ()
        found = {k: v for k, v in super().to_dict().items() if k not in other}
        return {k: v for k, v in found.items() if k not in SPARSE_ONLY or v is not None}


def describe(
    source: GraphLike | SpikeGPT,
    *,
    vocab: PathLike | None = None,
    lif_tau: float | None = None,
    lif_threshold: float | None = None,
    lif_reset: float | None = None,
) -> Described:
    """What an artifact or a checkpoint is; an artifact's checksums are verified.

    The options are of a checkpoint given by its path, as in :func:`convert`.

    Raises :class:`UnsupportedInput` where it is neither, or damaged.

    Examples
    --------
    >>> sgn.describe("pydoc.sgn")
    Described(kind='artifact', layers=4, width=128, vocab_size=96, parameters=882,688)
    """
    if isinstance(source, (str, Path)):
        is_graph = artifact.is_artifact(Path(source))
        lif = GivenLIF(lif_tau, lif_threshold, lif_reset)
        source = load(source) if is_graph else read_model(source, vocab=vocab, lif=lif)
        for text in source.remarks if isinstance(source, SpikingGraph) else ():
            remark(text)
    return _of_graph(source) if isinstance(source, SpikingGraph) else _of_checkpoint(source)


CONVERTED = (
    *("layers", "width", "vocab_size", "parameters", "vocabulary", "vocabulary_file"),
    *("lif_tau", "lif_tau_from", "lif_threshold", "lif_threshold_from"),
    *("lif_reset", "lif_reset_from"),
)
LOST = (
    "weight_density",
    "synops_over_dense",
    "calibration_delta_bits",
    "calibration_predicted_delta_bits",
)


def conversion_figures(graph: SpikingGraph, artifact: PathLike) -> dict[str, Any]:
    """What there is to say about a conversion that was saved as ``artifact``."""
    found = describe(graph).to_dict()
    return {
        **{name: found[name] for name in CONVERTED},
        "bytes": sum(file.stat().st_size for file in Path(artifact).iterdir()),
        **{name: found.get(name) for name in LOST},
    }


def _of_graph(graph: SpikingGraph) -> Described:
    origin = graph.provenance
    return Described(
        "artifact",
        **_of_shape(graph.shape, graph.vocabulary, graph.lif_origin),
        source_sha256=origin.get("source_sha256"),
        source_file=origin.get("source_file"),
        source_format=origin.get("source_format"),
        vocabulary_file=origin.get("vocabulary_file"),
        weight_bits=graph.weight_bits,
        activation_bits=graph.activation_bits,
        populations=len(graph.populations),
        neurons=sum(population.size for population in graph.populations),
        synapses=sum(projection.synapses for projection in graph.projections),
        tool_version=origin.get("tool_version"),
        remarks=tuple(graph.remarks),
        weight_density=graph.weight_density,
        thresholds=thresholds_of(graph) or None,
        **_of_sparsity(origin.get("sparsity")),
    )


def _of_sparsity(found: object) -> dict[str, Any]:
    """What a conversion that made the graph sparse wrote into the artifact."""
    names = (
        "synops_over_dense",
        "calibration_delta_bits",
        "calibration_predicted_delta_bits",
    )
    return {name: found.get(name) for name in names} if isinstance(found, dict) else {}


def _of_checkpoint(model: SpikeGPT) -> Described:
    origin = model.provenance
    for text in model.remarks:
        remark(text)
    return Described(
        "checkpoint",
        **_of_shape(model.shape, model.vocabulary, model.lif_origin),
        source_sha256=origin.sha256,
        source_file=origin.file,
        source_format=origin.format,
        vocabulary_file=origin.vocabulary_file,
        remarks=model.remarks,
        weight_density=model.weight_density if model.pruned else None,
        dead_zones=RealThresholds.of(model),
    )


def _of_shape(
    shape: ModelShape, vocabulary: Vocabulary | None, origin: LIFOrigin | None
) -> dict[str, Any]:
    lif: dict[str, Any] = {}
    for name in ("tau", "threshold", "reset"):
        stated = "unknown" if origin is None else getattr(origin, name)
        lif[f"lif_{name}"] = getattr(shape.lif, name)
        lif[f"lif_{name}_from"] = "assumed" if stated is None else stated
    return {
        "layers": shape.layers,
        "width": shape.width,
        "vocab_size": shape.vocab_size,
        "parameters": shape.parameters,
        "embedding": "binary" if shape.spike_embedding else "real",
        "vocabulary": vocabulary.kind if vocabulary else None,
        **lif,
    }
