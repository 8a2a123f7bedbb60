"""What every checkpoint reader shares: lazy tensors, canonical names, shape and checks.

A reader turns a file into raw tensors (:class:`RawTensor`, usually views of a memory map)
and the options that no tensor shows (:class:`Options`); :func:`build` makes the
:class:`~spikegpt_neuro.model.spikegpt.SpikeGPT` from them, or says in one line what is
wrong with the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.converters.mapped_file import drop_pages
from spikegpt_neuro.converters.settings import (
    Options,
    Statement,
    check_sizes,
    settle,
    statements_beside,
)
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.files import sha256_of
from spikegpt_neuro.graph.layers import block_of
from spikegpt_neuro.model.spikegpt import (
    FloatArray,
    ModelShape,
    Provenance,
    SpikeGPT,
)
from spikegpt_neuro.vocabulary import (
    BYTES,
    ByteVocabulary,
    Vocabulary,
    read_vocabulary,
)

__all__ = ["LazyTensors", "Options", "RawTensor", "Reader", "Statement", "VocabularyOf", "build"]
__all__ += ["canonical_name", "check_readable"]

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

VocabularyOf = Callable[[int], Vocabulary]
"""Makes the vocabulary stored in a checkpoint, given the model's number of token ids."""


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


def build(
    path: Path,
    format_name: str,
    weights_file: Path,
    raw: Mapping[str, RawTensor],
    *,
    options: Options,
    vocab: Path | None,
    stated: Sequence[Statement] = (),
    stored_vocabulary: VocabularyOf | None = None,
) -> SpikeGPT:
    """Check ``raw`` and assemble the model.

    ``options`` are the format's own; ``stated`` is what the checkpoint says inside, heard together
    with the configurations beside it and compared with what the tensors show. The vocabulary is
    the file ``vocab``, else the one stored in the checkpoint, else one beside it whose size fits,
    else bytes where the model has 256 token ids, else none.
    """
    tensors = _canonical_names(raw, path)
    statements = (*stated, *statements_beside(path))
    options = settle(options, statements)
    shape = _infer_shape(tensors, options, path)
    _check_names(tensors, shape, path)
    for statement in statements:
        check_sizes(statement, shape)
    _check_shapes(tensors, shape, path)
    _check_finite(tensors, path)
    return SpikeGPT(
        shape=shape,
        tensors=LazyTensors(tensors, shape.tensor_shapes()),
        provenance=Provenance(path.name, format_name, sha256_of(weights_file)),
        vocabulary=_find_vocabulary(path, shape.vocab_size, vocab, stored_vocabulary),
        lif_origin=options.origin,
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


def _find_vocabulary(
    path: Path, size: int, vocab: Path | None, stored: VocabularyOf | None
) -> Vocabulary | None:
    if vocab is not None:
        return read_vocabulary(vocab, size)
    if stored is not None:
        return stored(size)
    if (beside := _vocabulary_beside(path, size)) is not None:
        return beside
    return ByteVocabulary() if size == BYTES else None


def _vocabulary_beside(path: Path, size: int) -> Vocabulary | None:
    """The vocabulary file in the checkpoint's directory that belongs to it, if any does.

    First those named after the checkpoint or plainly ``vocab.json`` / ``tokenizer.json``;
    else the only ``*vocab*.json`` or ``*tokenizer*.json`` whose size fits the model.
    """
    folder = path if path.is_dir() else path.parent
    names = (f"{path.stem}-vocab.json", f"{path.stem}.vocab.json", "vocab.json", "tokenizer.json")
    for name in names:
        if (vocabulary := _fitting_vocabulary(folder / name, size)) is not None:
            return vocabulary
    others = {p for part in ("vocab", "tokenizer") for p in folder.glob(f"*{part}*.json")}
    fitting = [v for p in others if (v := _fitting_vocabulary(p, size)) is not None]
    return fitting[0] if len(fitting) == 1 else None


def _fitting_vocabulary(path: Path, size: int) -> Vocabulary | None:
    if not path.is_file():
        return None
    try:
        return read_vocabulary(path, size)
    except UnsupportedInput:
        return None


def _some(names: Any) -> str:
    """The first few of ``names``, and how many more there are."""
    listed = list(names)
    more = len(listed) - NAMES_SHOWN
    return ", ".join(listed[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
