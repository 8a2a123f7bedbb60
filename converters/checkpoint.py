"""What every checkpoint reader shares: lazy tensors, canonical names, shape and checks.

A reader turns a file into raw tensors (:class:`RawTensor`, usually views of a memory map)
and the options that no tensor shows (:class:`Options`); :func:`build` makes the
:class:`~spikegpt_neuro.model.spikegpt.SpikeGPT` from them, or says in one line what is
wrong with the file.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.converters.mapped_file import drop_pages
from spikegpt_neuro.converters.selection import select
from spikegpt_neuro.converters.settings import (
    Options,
    Statement,
    check_sizes,
    settle,
    statements_beside,
)
from spikegpt_neuro.converters.vocabularies import VocabularyOf, find_vocabulary
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.files import sha256_of
from spikegpt_neuro.graph.layers import block_of
from spikegpt_neuro.model.spikegpt import (
    DEAD_ZONE,
    FloatArray,
    ModelShape,
    Provenance,
    SpikeGPT,
)
from spikegpt_neuro.signatures import FIRST_BYTES, FOREIGN, what_it_is

__all__ = ["Entries", "LazyTensors", "Options", "RawTensor", "Reader", "Statement", "VocabularyOf"]
__all__ += ["build", "check_dimensions", "check_exists", "check_readable", "joined", "printable"]

NAME_CHARACTERS = 200
DIMENSIONS = 8
"""More than any tensor of a model has; numpy holds 64 at most."""
VALUES = 1 << 48
"""More than any memory holds; numpy counts bytes in 63 bits, empty dimensions left out."""
SHARED_AT_MOST = 64
SHARED_BYTES = 1 << 30
"""A model larger than this takes at most :data:`SHARED_AT_MOST` times what its file holds."""


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
        if self.array.dtype.itemsize == np.dtype(np.float64).itemsize:
            return self.array.astype(np.float64, copy=False)
        return self.array.astype(np.float32, copy=False)


@dataclass(frozen=True)
class Entries(Mapping[str, RawTensor]):
    """What a file holds: tensors that are opened when they are asked for.

    ``others``    entries that are no tensors, and what they are.
    ``settings``  what the file says beside its tensors.
    """

    openers: Mapping[str, Callable[[], RawTensor]] = field(repr=False)
    others: Mapping[str, str] = field(default_factory=dict, repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> RawTensor:
        return self.openers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self.openers)

    def __len__(self) -> int:
        return len(self.openers)


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
    weights_file: Path | Sequence[Path],
    raw: Mapping[str, RawTensor],
    *,
    options: Options,
    vocab: Path | None,
    stated: Sequence[Statement] = (),
    stored_vocabulary: VocabularyOf | None = None,
) -> SpikeGPT:
    """Find the one SpikeGPT in ``raw``, check it and assemble the model.

    ``weights_file`` is the file that holds the tensors, or all of them where they are several.
    ``options`` are the format's own; ``stated`` is what the checkpoint says inside. With what
    ``raw`` says beside its tensors and the configurations beside the file it is heard, and compared
    with what the tensors show. The vocabulary is the file ``vocab``, else the one stored in the
    checkpoint, else one beside it whose size fits, else bytes where the model has 256 token ids,
    else none.
    """
    files = (weights_file,) if isinstance(weights_file, Path) else tuple(weights_file)
    statements = (*stated, *_inside(raw, path), *statements_beside(path))
    found, remarks = _selected(raw, statements, path)
    tensors = {name: tensor for name, tensor in found.items() if not name.endswith(DEAD_ZONE)}
    options = settle(options, statements)
    shape = _infer_shape(tensors, options, path)
    for statement in statements:
        check_sizes(statement, shape)
    _check_shapes(found, shape, path)
    _check_size(found, files, path)
    _check_finite(found, path)
    chosen = find_vocabulary(path, shape.vocab_size, vocab, stored_vocabulary)
    return SpikeGPT(
        shape=shape,
        tensors=LazyTensors(tensors, shape.tensor_shapes()),
        provenance=Provenance(path.name, format_name, sha256_of(*files), chosen.file),
        vocabulary=chosen.vocabulary,
        remarks=(*remarks, *chosen.remarks),
        refused_vocabularies=chosen.refused,
        lif_origin=options.origin,
        dead_zones=dict(_dead_zones(found, shape, path)),
        pruned=options.pruned,
    )


def _dead_zones(
    found: Mapping[str, RawTensor], shape: ModelShape, path: Path
) -> Iterator[tuple[str, FloatArray]]:
    """Thresholds (n,) by population: small, so that they are kept."""
    for population, size in shape.dead_zone_sizes().items():
        name = population + DEAD_ZONE
        if name not in found:
            continue
        zone = found[name].to_float().reshape(size).copy()
        if below := int(np.count_nonzero(zone < 0)):
            raise UnsupportedInput(
                f"{path}: {name} holds {below} negative values, expected thresholds of 0 or more"
            )
        zone.flags.writeable = False
        yield population, zone


def _inside(raw: Mapping[str, RawTensor], path: Path) -> Iterator[Statement]:
    """What a file says beside its tensors."""
    if isinstance(raw, Entries) and raw.settings:
        yield Statement(str(path), raw.settings, path.name)


def check_exists(path: Path) -> None:
    """Raise a clear error for what is missing or no regular file (a pipe would be waited for)."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UnsupportedInput(f"{path}: cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise UnsupportedInput(f"{path}: no regular file; give a file, or a folder that holds it")


def check_readable(path: Path) -> None:
    """Raise a clear error for what is no file, is missing, empty, or something else by its bytes.

    A Git LFS pointer, an HTML page, a file of another tool: see
    :mod:`spikegpt_neuro.signatures`.
    """
    check_exists(path)
    try:
        with path.open("rb") as file:
            head = file.read(FIRST_BYTES)
    except OSError as error:
        raise UnsupportedInput(f"{path}: cannot be read: {error.strerror}") from error
    if not head:
        raise UnsupportedInput(f"{path}: the file is empty")
    if what := what_it_is(head, (FOREIGN,)):
        raise UnsupportedInput(f"{path}: {what}")


def joined(parts: Mapping[Path, Entries], path: Path) -> Entries:
    """The tensors of several files; one that two of them hold is an error."""
    openers: dict[str, Callable[[], RawTensor]] = {}
    holder: dict[str, Path] = {}
    for file, entries in parts.items():
        for name, opener in entries.openers.items():
            if name in holder:
                raise UnsupportedInput(
                    f"{path}: {name} is stored twice, in {holder[name].name} and in {file.name}"
                )
            openers[name], holder[name] = opener, file
    others = {name: kind for entries in parts.values() for name, kind in entries.others.items()}
    stated = {key: value for entries in parts.values() for key, value in entries.settings.items()}
    return Entries(openers, others, stated)


def check_dimensions(shape: Sequence[int], where: str) -> None:
    """Raise for a shape that is no model's and that numpy may not take, be it an empty one."""
    if len(shape) > DIMENSIONS:
        raise UnsupportedInput(f"{where} has {len(shape)} dimensions, a model's have {DIMENSIONS}")
    if math.prod(filter(None, shape)) > VALUES:
        raise UnsupportedInput(f"{where} has shape {tuple(shape)}, more than any memory holds")


def printable(name: str) -> str:
    """A name from a file as it may stand in a line: escaped and cut where it must be."""
    shown = name if name.isprintable() else name.encode("unicode_escape", "replace").decode()
    return shown if len(shown) <= NAME_CHARACTERS else f"{shown[:NAME_CHARACTERS]}..."


def _selected(
    raw: Mapping[str, RawTensor], statements: Sequence[Statement], path: Path
) -> tuple[dict[str, RawTensor], tuple[str, ...]]:
    """The model's tensors under their canonical names, and remarks."""

    def same(one: str, other: str) -> bool:
        """Whether two names stand for one place in memory (which is the file's)."""
        first, second = raw[one].array, raw[other].array
        return first.__array_interface__ == second.__array_interface__

    tied = any(each.of_model.get("tie_word_embeddings") is True for each in statements)
    others = raw.others if isinstance(raw, Entries) else {}
    found = select(raw, others, path, same, tied=tied)
    return {name: raw[stored] for name, stored in found.names.items()}, found.remarks


def _infer_shape(tensors: Mapping[str, RawTensor], options: Options, path: Path) -> ModelShape:
    embedding = tensors["emb.weight"].array
    if embedding.ndim != 2 or embedding.size == 0:
        empty = "; an empty shard of DeepSpeed's ZeRO? join them with its zero_to_fp32.py"
        raise UnsupportedInput(
            f"{path}: emb.weight has shape {embedding.shape}, expected (vocabulary, width)"
            f"{'' if embedding.size else empty}"
        )
    return ModelShape(
        layers=len({block for name in tensors if (block := block_of(name)) is not None}),
        width=int(embedding.shape[1]),
        vocab_size=int(embedding.shape[0]),
        ffn_pre=any(name.startswith("blocks.0.ffnPre.") for name in tensors),
        spike_embedding=options.spike_embedding,
        spike_input=options.spike_input,
        lif=options.lif,
    )


def _check_shapes(tensors: Mapping[str, RawTensor], shape: ModelShape, path: Path) -> None:
    zones = {name + DEAD_ZONE: (size,) for name, size in shape.dead_zone_sizes().items()}
    stored = {name: size for name, size in zones.items() if name in tensors}
    for name, expected in (shape.tensor_shapes() | stored).items():
        found = tensors[name].array.shape
        if found == expected or _is_vector(name, found, expected):
            continue
        classes = name == "head.weight" and found[1:] == expected[1:]
        advice = (
            "; a classifier's head? convert the language model, whose head has a row per token"
            if classes
            else ""
        )
        raise UnsupportedInput(f"{path}: {name} has shape {found}, expected {expected}{advice}")


def _is_vector(name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether a vector is stored as (1, 1, d), as upstream's ``time_mix_*`` are.

    Or ``time_*`` as (d, 1), since upstream squeezes those.
    """
    row = found[-1:] == expected and all(length == 1 for length in found[:-1])
    return row or (".time_" in name and found == (*expected, 1))


def _check_size(tensors: Mapping[str, RawTensor], files: Sequence[Path], path: Path) -> None:
    """A small file cannot describe a huge model by naming the same bytes over and over."""
    stored = sum(file.stat().st_size for file in files)
    taken = sum(tensor.array.nbytes for tensor in tensors.values())
    if taken > max(SHARED_BYTES, SHARED_AT_MOST * stored):
        raise UnsupportedInput(
            f"{path}: its tensors have {taken:,} bytes, the file has {stored:,}; tensors that "
            f"share their values take at most {SHARED_AT_MOST} times what is stored"
        )


def _check_finite(tensors: Mapping[str, RawTensor], path: Path) -> None:
    for name, tensor in tensors.items():
        array = tensor.to_float()
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        tensor.release()
        if bad:
            raise UnsupportedInput(f"{path}: {name} holds {bad} NaN or infinite values")
