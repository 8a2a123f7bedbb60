"""Opening a file of ``torch.save`` without running what is in it, and without torch.

The file is a zip archive: a pickle that describes the tensors, and one record of bytes for each.
Before anything is believed, every record's place, length and checksum are verified; the pickle is
then followed as a description (:mod:`~spikegpt_neuro.converters.torch_pickle`), and tensors are
views of the memory-mapped file.
"""

from __future__ import annotations

import logging
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.converters.checkpoint import Entries, RawTensor, check_dimensions, printable
from spikegpt_neuro.converters.mapped_file import Mappings
from spikegpt_neuro.converters.selection import some
from spikegpt_neuro.converters.torch_pickle import (
    ITEM_BYTES,
    Described,
    Named,
    Other,
    StoredTensor,
    Unreadable,
    describe,
)
from spikegpt_neuro.errors import UnsupportedInput

PICKLE_MEMBER = "data.pkl"
PICKLE_BYTES = 64 << 20
"""What describes tensors takes kilobytes; a vocabulary beside them, megabytes."""
SCRIPT_MEMBER = "constants.pkl"
BYTE_ORDER = "byteorder"
ZIP_MAGIC = b"PK\x03\x04"
OLD_TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9"
ENCRYPTED = 1
LOCAL_HEADER = struct.Struct("<4s22xHH")
BLOCK_BYTES = 1 << 20
LOG = logging.getLogger(__name__)
COPY_AGAIN = "the file is damaged; copy or download it again"
SAVE_STATE_DICT = "save a plain state_dict instead: torch.save(model.state_dict(), file)"
STORED_AS = {"float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "u2"}
CANNOT_OPEN = (
    zipfile.BadZipFile,
    OSError,
    ValueError,
    RuntimeError,
    EOFError,
    OverflowError,
    struct.error,
)


@dataclass(frozen=True)
class Record:
    """Where the bytes of a record lie in the file."""

    offset: int
    length: int
    crc: int


@dataclass(frozen=True)
class TorchFile:
    """A verified file: what its pickle holds, and where its records lie.

    ``big_endian``: values are stored most significant byte first.
    """

    path: Path
    value: Any
    records: Mapping[str, Record]
    big_endian: bool


def is_torch_file(path: Path) -> bool:
    """Whether ``path`` is a zip archive with a pickle as torch writes it."""
    return _members(path) is not None


def pickle_of(path: Path) -> bytes | None:
    """The pickle of a torch file, not followed; None where there is none, or it is no plain one."""
    members = _members(path)
    if members is None:
        return None
    member = members[PICKLE_MEMBER]
    if member.compress_type != zipfile.ZIP_STORED or member.file_size > PICKLE_BYTES:
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(member)
    except CANNOT_OPEN:
        return None


def load(path: Path) -> TorchFile:
    """Verify a torch file and follow its pickle; raises :class:`UnsupportedInput`."""
    records = _records(path)
    checked = records if any(record.crc for record in records.values()) else {}
    if not checked:
        LOG.info("%s: saved without checksums (set_crc32_options), damage cannot be seen", path)
    with path.open("rb") as file:
        for name, record in checked.items():
            _check_crc(file, name, record, path)
        pickle = _bytes_of(file, records[PICKLE_MEMBER])
        order = _bytes_of(file, records.get(BYTE_ORDER, Record(0, 0, 0)))
    described = _described(pickle, path)
    _check_storages(described, records, path)
    return TorchFile(path, described.value, records, order == b"big")


def dictionary(file: TorchFile) -> Mapping[Any, Any]:
    """What a torch file holds, which must be a dictionary."""
    if not isinstance(file.value, Mapping):
        raise UnsupportedInput(
            f"{file.path}: holds a {kind_of(file.value)}, expected a dictionary of tensors; "
            f"{SAVE_STATE_DICT}"
        )
    return file.value


def entries(content: Mapping[Any, Any], file: TorchFile) -> Entries:
    """The tensors in ``content`` and the dictionaries in it, as views of the memory map.

    A tensor of a dictionary within a dictionary is named ``outer/inner``. They are opened when
    they are asked for.
    """
    data = np.asarray(np.memmap(file.path, dtype=np.uint8, mode="r"))
    mappings = Mappings.of(file.path)
    leaves = {printable(name): value for name, value in _leaves("", content)}
    tensors = {name: value for name, value in leaves.items() if _is_tensor(value)}
    return Entries(
        {name: partial(_opened, name, t, file, data, mappings) for name, t in tensors.items()},
        {name: kind_of(value) for name, value in leaves.items() if name not in tensors},
        settings(content),
    )


def settings(content: Mapping[Any, Any]) -> dict[str, Any]:
    """What ``content`` says beside its tensors: configurations, epochs, names."""
    plain: dict[str, Any] = {}
    for key, value in content.items():
        inner = settings(value) if isinstance(value, Mapping) else value
        if not _is_tensor(inner) and (inner or not isinstance(value, Mapping)):
            plain[str(key)] = inner
    return plain


def kind_of(value: object) -> str:
    """The type of a value, for a reader of errors."""
    if _is_tensor(value):
        return "tensor"
    return value.name if isinstance(value, (Named, Other)) else type(value).__name__


def _is_tensor(value: object) -> bool:
    return isinstance(value, StoredTensor) or bool(isinstance(value, Other) and value.unusual)


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What is no dictionary, under its path; lists count as leaves unless they hold tensors."""
    holds = isinstance(value, (list, tuple)) and any(
        isinstance(each, Mapping) or _is_tensor(each) for each in value
    )
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if holds else ()
    if not items or not value:
        yield name, value
        return
    for key, inner in items:
        yield from _leaves(f"{name}/{key}" if name else str(key), inner)


def _opened(
    name: str,
    value: StoredTensor | Other,
    file: TorchFile,
    data: NDArray[np.uint8],
    mappings: Mappings,
) -> RawTensor:
    """A tensor as a view of the mapped file."""
    where = f"{file.path}: {name}"
    if isinstance(value, Other):
        quantized = value.unusual == "quantized"
        advice = "dequantize() it, convert quantizes by itself" if quantized else "save it densely"
        raise UnsupportedInput(f"{where} is not a plain dense tensor ({value.unusual}); {advice}")
    stored_as = STORED_AS.get(value.dtype)
    if stored_as is None:
        raise UnsupportedInput(
            f"{where} is {value.dtype}, expected float64, float32, float16 or bfloat16"
        )
    check_dimensions(value.shape, where)
    _check_extent(value, where)
    record = file.records[f"data/{value.storage.record}"]
    size = ITEM_BYTES[value.dtype]
    array: NDArray[Any] = np.ndarray(
        value.shape,
        f"{'>' if file.big_endian else '<'}{stored_as}",
        buffer=data[record.offset : record.offset + record.length],
        offset=value.offset * size if 0 not in value.shape else 0,
        strides=tuple(step * size for step in _steps(value)),
    )
    return RawTensor(array, value.dtype == "bfloat16", mapped=mappings.hold(array))


def _steps(tensor: StoredTensor) -> tuple[int, ...]:
    """The strides where there is something to step to, else 0: there the file may say anything."""
    empty = 0 in tensor.shape
    dimensions = zip(tensor.shape, tensor.strides, strict=True)
    return tuple(0 if empty or length == 1 else stride for length, stride in dimensions)


def _check_extent(tensor: StoredTensor, where: str) -> None:
    """A tensor has the values of its storage at most once each."""
    size = ITEM_BYTES[tensor.dtype]
    values = 1
    for length in tensor.shape:
        values *= length
    last = tensor.offset + sum(
        (length - 1) * stride for length, stride in zip(tensor.shape, tensor.strides, strict=True)
    )
    has = tensor.storage.nbytes
    if values and (values * size > has or (last + 1) * size > has):
        raise UnsupportedInput(
            f"{where} has shape {tensor.shape}, {values * size:,} bytes, but data/"
            f"{tensor.storage.record} holds {has:,}; an expanded tensor is saved after .clone()"
        )


# The archive


def _members(path: Path) -> dict[str, zipfile.ZipInfo] | None:
    """Record -> its entry in the archive's directory; None unless there is a torch pickle.

    A record that is listed twice gets its name once more with an apostrophe.
    """
    try:
        if not path.is_file() or not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            listed = archive.infolist()
    except CANNOT_OPEN:
        return None
    members: dict[str, zipfile.ZipInfo] = {}
    for member in listed:
        name = printable(member.filename.partition("/")[2])
        while name in members:
            name += "'"
        members[name] = member
    return members if PICKLE_MEMBER in members else None


def _records(path: Path) -> dict[str, Record]:
    """The records, each in a place of its own, stored as it is."""
    members = _members(path)
    if members is None:
        raise UnsupportedInput(f"{path}: not a torch file")
    if SCRIPT_MEMBER in members:
        raise UnsupportedInput(
            f"{path}: a TorchScript archive, which holds a program; {SAVE_STATE_DICT}"
        )
    end_of_file = path.stat().st_size
    records: dict[str, Record] = {}
    with path.open("rb") as file:
        for name, member in members.items():
            if name.endswith("'"):
                raise UnsupportedInput(f"{path}: record {name[:-1]} is stored twice; {COPY_AGAIN}")
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & ENCRYPTED:
                how = "encrypted" if member.flag_bits & ENCRYPTED else "compressed"
                raise UnsupportedInput(
                    f"{path}: record {name} is {how}, torch.save stores records as they are; "
                    "unzip the archive and zip it without compression, or save again"
                )
            offset = _data_offset(file, member)
            fits = offset is not None and offset + member.file_size <= end_of_file
            if offset is None or not fits or member.file_size != member.compress_size:
                raise UnsupportedInput(
                    f"{path}: record {name} is not where the archive says; {COPY_AGAIN}"
                )
            records[name] = Record(offset, member.file_size, member.CRC)
    _check_apart(records, path)
    return records


def _data_offset(file: BinaryIO, member: zipfile.ZipInfo) -> int | None:
    """Where a member's bytes begin, which only the header before them tells."""
    if member.header_offset < 0:
        return None
    file.seek(member.header_offset)
    header = file.read(LOCAL_HEADER.size)
    if len(header) < LOCAL_HEADER.size:
        return None
    magic, name_length, extra_length = LOCAL_HEADER.unpack(header)
    name = member.orig_filename.encode("utf-8" if member.flag_bits & 0x800 else "cp437", "replace")
    if magic != ZIP_MAGIC or file.read(name_length) != name:
        return None
    return member.header_offset + LOCAL_HEADER.size + int(name_length) + int(extra_length)


def _check_apart(records: Mapping[str, Record], path: Path) -> None:
    end = 0
    for name, record in sorted(records.items(), key=lambda item: item[1].offset):
        if record.offset < end:
            raise UnsupportedInput(
                f"{path}: record {name} overlaps the one before it; {COPY_AGAIN}"
            )
        end = record.offset + record.length


def _check_crc(file: BinaryIO, name: str, record: Record, path: Path) -> None:
    file.seek(record.offset)
    left, crc = record.length, 0
    while left and (block := file.read(min(left, BLOCK_BYTES))):
        crc = zlib.crc32(block, crc)
        left -= len(block)
    if left or crc != record.crc:
        raise UnsupportedInput(
            f"{path}: record {name} does not have the checksum that it was saved with; {COPY_AGAIN}"
        )


def _bytes_of(file: BinaryIO, record: Record) -> bytes:
    file.seek(record.offset)
    return file.read(min(record.length, PICKLE_BYTES + 1))


def _described(pickle: bytes, path: Path) -> Described:
    if len(pickle) > PICKLE_BYTES:
        raise UnsupportedInput(
            f"{path}: record {PICKLE_MEMBER} is larger than {PICKLE_BYTES:,} bytes, more than "
            f"describes tensors; {SAVE_STATE_DICT}"
        )
    try:
        described = describe(pickle)
    except Unreadable as error:
        raise UnsupportedInput(
            f"{path}: damaged torch file: {PICKLE_MEMBER} cannot be followed: {error}"
        ) from error
    if described.foreign:
        whole = isinstance(described.value, Other)
        what = (
            "is a whole object, which is more than tensors" if whole else "holds more than tensors"
        )
        raise UnsupportedInput(
            f"{path}: the pickle {what} ({some(map(printable, described.foreign))}); refused, "
            f"because loading it could run code; {SAVE_STATE_DICT}"
        )
    return described


def _check_storages(described: Described, records: Mapping[str, Record], path: Path) -> None:
    """Every storage that the pickle describes is there, and as long as it says."""
    for storage in described.storages:
        record = records.get(f"data/{storage.record}")
        if record is None:
            missing = printable(f"data/{storage.record}")
            raise UnsupportedInput(f"{path}: record {missing} is missing; {COPY_AGAIN}")
        if record.length != storage.nbytes:
            raise UnsupportedInput(
                f"{path}: record data/{storage.record} holds {record.length:,} bytes, its tensor "
                f"has {storage.nbytes:,}; {COPY_AGAIN}"
            )
