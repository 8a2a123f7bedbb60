"""What every checkpoint reader shares: lazy tensors, canonical names, shape and checks.

A reader turns a file into raw tensors (:class:`RawTensor`, usually views of a memory map)
and the options that no tensor shows (:class:`Options`); :func:`build` makes the
:class:`~spikegpt_neuro.model.spikegpt.SpikeGPT` from them, or says in one line what is
wrong with the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.converters.mapped_file import drop_pages
from spikegpt_neuro.converters.vocabularies import VocabularyOf, find_vocabulary
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.files import sha256_of
from spikegpt_neuro.graph.layers import block_of
from spikegpt_neuro.model.spikegpt import (
    FloatArray,
    LIFParameters,
    ModelShape,
    Provenance,
    SpikeGPT,
)

GIT_LFS_MAGIC = b"version https://git-lfs"
NAMES_SHOWN = 3
UPSTREAM_OPTIONAL = {
    "head_q": "the QK head (RWKV_HEAD_QK_DIM > 0)",
    "head_k": "the QK head (RWKV_HEAD_QK_DIM > 0)",
    "copy_mask": "the QK head (RWKV_HEAD_QK_DIM > 0)",
    "pos_emb": "a position embedding",
    "pos_emb_x": "a position embedding",
    "pos_emb_y": "a position embedding",
}


@dataclass(frozen=True)
class Reader:
    """A checkpoint format.

    ``matches`` looks at a file or directory without running anything in it; ``read`` takes
    the path and, where the user named one, the vocabulary file. Third parties register a
    ``Reader`` as an entry point of the group ``spikegpt_neuro.converters``.
    """

    name: str
    matches: Callable[[Path], bool]
    read: Callable[[Path, Path | None], SpikeGPT]


@dataclass(frozen=True)
class RawTensor:
    """A tensor as stored: floats, or the upper halves of float32 (bfloat16) as uint16.

    ``mapped``: the array lies in a mapping of its file, so that its pages may be dropped.
    """

    array: NDArray[Any]
    is_bfloat16: bool = False
    mapped: bool = False

    def release(self) -> None:
        """Drop the pages of a mapped array; a later read brings them back."""
        if self.mapped:
            drop_pages(self.array)

    def to_float(self) -> FloatArray:
        """float64 as it is, everything else as float32; a view where nothing changes."""
        if self.is_bfloat16:
            return (self.array.astype(np.uint32) << np.uint32(16)).view(np.float32)
        if self.array.dtype == np.float64:
            return self.array
        return self.array.astype(np.float32, copy=False)


@dataclass(frozen=True)
class LazyTensors(Mapping[str, FloatArray]):
    """Name -> float array, converted when asked for; nothing is kept but the memory map.

    Asking for a tensor drops the pages of the one before, so that a conversion never
    has more of a large file in memory than it works on.
    """

    raw: Mapping[str, RawTensor] = field(repr=False)
    shapes: Mapping[str, tuple[int, ...]] = field(repr=False)
    _last: list[RawTensor] = field(default_factory=list, repr=False)

    def __getitem__(self, name: str) -> FloatArray:
        while self._last:
            self._last.pop().release()
        self._last.append(self.raw[name])
        array = self.raw[name].to_float().reshape(self.shapes[name])
        array.flags.writeable = False
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


@dataclass(frozen=True)
class Options:
    """What the tensors of a checkpoint do not show."""

    spike_embedding: bool = True
    spike_input: bool = False
    lif: LIFParameters = field(default_factory=LIFParameters)


def build(
    path: Path,
    format_name: str,
    weights_file: Path,
    raw: Mapping[str, RawTensor],
    *,
    options: Options,
    vocab: Path | None,
    config: Mapping[str, Any] | None = None,
    stored_vocabulary: VocabularyOf | None = None,
) -> SpikeGPT:
    """Check ``raw`` and assemble the model.

    ``config`` is compared with what the tensors show. The vocabulary is the file ``vocab``,
    else the one stored in the checkpoint, else one beside it whose size fits, else bytes
    where the model has 256 token ids, else none.
    """
    tensors = _canonical_names(raw, path)
    shape = _infer_shape(tensors, options, path)
    _check_names(tensors, shape, path)
    _check_config(config or {}, shape, path)
    _check_shapes(tensors, shape, path)
    _check_finite(tensors, path)
    found = find_vocabulary(path, shape.vocab_size, vocab, stored_vocabulary)
    return SpikeGPT(
        shape=shape,
        tensors=LazyTensors(tensors, shape.tensor_shapes()),
        provenance=Provenance(path.name, format_name, sha256_of(weights_file), found.file),
        vocabulary=found.vocabulary,
        remarks=found.remarks,
        refused_vocabularies=found.refused,
    )


def options_from_config(config: Mapping[str, Any], *, decay_input: bool, where: str) -> Options:
    """The LIF and the spike placement named in a configuration; absent keys mean upstream's.

    Raises :class:`UnsupportedInput` for values of the wrong type and for models that are no
    SpikeGPT: ``attention`` other than ``"rwkv"``, ``spiking`` false.
    """
    if (attention := config.get("attention", "rwkv")) != "rwkv":
        raise UnsupportedInput(
            f"{where}: attention is {attention!r:.40}; only the recurrent 'rwkv' is supported"
        )
    if not _flag(config, "spiking", True, where):
        raise UnsupportedInput(
            f"{where}: spiking is false; a model without LIF neurons is not supported"
        )
    lif = LIFParameters(
        tau=_number(config, "lif_tau", 2.0, where),
        threshold=_number(config, "lif_threshold", 1.0, where),
        reset=_number(config, "lif_reset", 0.0, where),
        decay_input=_flag(config, "decay_input", decay_input, where),
    )
    if lif.tau < 1.0:
        raise UnsupportedInput(f"{where}: lif_tau is {lif.tau}, expected at least 1 token")
    if lif.threshold <= lif.reset:
        raise UnsupportedInput(
            f"{where}: lif_threshold {lif.threshold} does not exceed lif_reset {lif.reset}"
        )
    return Options(
        spike_embedding=_flag(config, "spike_embedding", True, where),
        spike_input=_flag(config, "spike_input", False, where),
        lif=lif,
    )


def check_readable(path: Path) -> None:
    """Raise a clear error for a missing or empty file and for a Git LFS pointer."""
    try:
        with path.open("rb") as file:
            head = file.read(len(GIT_LFS_MAGIC))
    except OSError as error:
        raise UnsupportedInput(f"{path}: cannot be read: {error.strerror}") from error
    if not head:
        raise UnsupportedInput(f"{path}: the file is empty")
    if head == GIT_LFS_MAGIC:
        raise UnsupportedInput(
            f"{path}: a Git LFS pointer, not the weights; fetch them with: git lfs pull"
        )


def canonical_name(name: str) -> str:
    """Upstream's name of a tensor that was wrapped (DataParallel, torch.compile) or renamed.

    >>> canonical_name("module.blocks.0._orig_mod.ffn_pre.key.weight")
    'blocks.0.ffnPre.key.weight'
    >>> canonical_name("embedding.weight")
    'emb.weight'
    """
    parts = [part for part in name.split(".") if part != "_orig_mod"]
    while len(parts) > 1 and parts[0] == "module":
        parts = parts[1:]
    if parts[0] == "embedding":
        parts[0] = "emb"
    return ".".join("ffnPre" if part == "ffn_pre" else part for part in parts)


def _canonical_names(raw: Mapping[str, RawTensor], path: Path) -> dict[str, RawTensor]:
    tensors: dict[str, RawTensor] = {}
    for name, tensor in raw.items():
        canonical = canonical_name(name)
        if canonical in tensors:
            raise UnsupportedInput(f"{path}: tensor {canonical} is stored twice")
        tensors[canonical] = tensor
    return tensors


def _infer_shape(tensors: Mapping[str, RawTensor], options: Options, path: Path) -> ModelShape:
    layers = {block for name in tensors if (block := block_of(name)) is not None}
    if not layers:
        raise UnsupportedInput(
            f"{path}: holds no blocks.* tensors, so it is no SpikeGPT checkpoint "
            f"({len(tensors)} tensors: {_some(tensors)})"
        )
    gaps = set(range(len(layers))) - layers
    if gaps:
        raise UnsupportedInput(
            f"{path}: tensors of blocks.{min(gaps)} are missing, but blocks.{max(layers)} exists"
        )
    embedding = tensors.get("emb.weight")
    if embedding is None:
        raise UnsupportedInput(f"{path}: missing tensors: emb.weight")
    if embedding.array.ndim != 2 or embedding.array.size == 0:
        raise UnsupportedInput(
            f"{path}: emb.weight has shape {embedding.array.shape}, expected (vocabulary, width)"
        )
    return ModelShape(
        layers=len(layers),
        width=int(embedding.array.shape[1]),
        vocab_size=int(embedding.array.shape[0]),
        ffn_pre=any(name.startswith("blocks.0.ffnPre.") for name in tensors),
        spike_embedding=options.spike_embedding,
        spike_input=options.spike_input,
        lif=options.lif,
    )


def _check_names(tensors: Mapping[str, RawTensor], shape: ModelShape, path: Path) -> None:
    expected = shape.tensor_shapes()
    for name in tensors.keys() - expected.keys():
        if reason := UPSTREAM_OPTIONAL.get(name.split(".")[0]):
            raise UnsupportedInput(f"{path}: {name}: {reason} is not supported")
    missing = [name for name in expected if name not in tensors]
    extra = [name for name in tensors if name not in expected]
    parts = [f"missing tensors: {_some(missing)}"] if missing else []
    parts += [f"unexpected tensors: {_some(extra)}"] if extra else []
    if parts:
        raise UnsupportedInput(f"{path}: {'; '.join(parts)}")


def _check_config(config: Mapping[str, Any], shape: ModelShape, path: Path) -> None:
    """Compare a configuration with what the tensors show."""
    found = {"n_layer": shape.layers, "n_embd": shape.width, "vocab_size": shape.vocab_size}
    for key, value in found.items():
        if key in config and config[key] != value:
            raise UnsupportedInput(
                f"{path}: {key} is {config[key]!r:.40} in the config, the tensors have {value}"
            )
    model_type = config.get("model_type")
    if model_type in ("rwkv", "rwkv-ffn-pre") and shape.ffn_pre != (model_type == "rwkv-ffn-pre"):
        raise UnsupportedInput(
            f"{path}: model_type is {model_type!r} in the config, but the tensors "
            f"{'have' if shape.ffn_pre else 'have no'} blocks.0.ffnPre"
        )


def _check_shapes(tensors: Mapping[str, RawTensor], shape: ModelShape, path: Path) -> None:
    for name, expected in shape.tensor_shapes().items():
        found = tensors[name].array.shape
        # Vectors may be stored as (1, 1, d), as upstream's time_mix_* are.
        if found[-1:] == expected and all(length == 1 for length in found[:-1]):
            continue
        if found != expected:
            raise UnsupportedInput(f"{path}: {name} has shape {found}, expected {expected}")


def _check_finite(tensors: Mapping[str, RawTensor], path: Path) -> None:
    for name, tensor in tensors.items():
        array = tensor.to_float()
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        tensor.release()
        if bad:
            raise UnsupportedInput(f"{path}: {name} holds {bad} NaN or infinite values")


def _flag(config: Mapping[str, Any], key: str, default: bool, where: str) -> bool:
    value = config.get(key, default)
    if not isinstance(value, bool):
        raise UnsupportedInput(f"{where}: {key} is {value!r:.40}, expected true or false")
    return value


def _number(config: Mapping[str, Any], key: str, default: float, where: str) -> float:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UnsupportedInput(f"{where}: {key} is {value!r:.40}, expected a finite number")
    return float(value)


def _some(names: Any) -> str:
    """The first few of ``names``, and how many more there are."""
    listed = list(names)
    more = len(listed) - NAMES_SHOWN
    return ", ".join(listed[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
