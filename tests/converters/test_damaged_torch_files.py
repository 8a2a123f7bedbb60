"""Torch files that are damaged, or built to take memory and time: refused, never believed."""

from __future__ import annotations

import logging
import random
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.converters.reader import read_checkpoint
from spikegpt_neuro.converters.torch_pickle import INSTRUCTIONS, Unreadable, describe
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.memory import peak_rss_bytes

from random_models import random_model, save_upstream, torch_state_dict

torch = pytest.importorskip("torch")

MODEL = random_model(1, 4, 8)
Change = Callable[[str, bytes], bytes]


def refused(path: Path) -> str:
    with pytest.raises(UnsupportedInput) as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value)


def saved(folder: Path) -> Path:
    return save_upstream(folder / "m.pth", MODEL)


def rewritten(path: Path, change: Change, compression: int = zipfile.ZIP_STORED) -> Path:
    """The archive with some records changed, its checksums right."""
    with zipfile.ZipFile(path) as old:
        records = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, content in records.items():
            new.writestr(name, change(name, content))
    return path


def test_every_byte_of_every_record_counts(tmp_path: Path) -> None:
    path = saved(tmp_path)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        members = {i.filename.partition("/")[2]: archive.read(i) for i in archive.infolist()}
    data = {name: record for name, record in members.items() if name.startswith("data/")}
    for name, record in data.items():
        at = content.index(record)
        damaged = bytearray(content)
        damaged[at + len(record) // 2] ^= 0x10
        path.write_bytes(damaged)
        assert f"record {name} does not have the checksum" in refused(path)


def test_a_flipped_bit_anywhere_changes_nothing_or_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    content, chance = path.read_bytes(), random.Random(13)
    accepted = 0
    for _ in range(400):
        damaged = bytearray(content)
        damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            found = read_checkpoint(path)
        except UnsupportedInput as error:
            assert "\n" not in str(error)  # noqa: PT017
            continue
        accepted += 1  # in the padding between records
        for name, expected in MODEL.tensors.items():
            np.testing.assert_array_equal(found.tensors[name], expected, err_msg=name)
    assert accepted < 200


@pytest.mark.parametrize("length", [0, 4, 200])
def test_a_record_of_another_length(tmp_path: Path, length: int) -> None:
    def change(name: str, content: bytes) -> bytes:
        return (content * 20)[:length] if name.endswith("/data/3") else content

    path = rewritten(saved(tmp_path), change)
    assert f"record data/3 holds {length} bytes, its tensor has 16" in refused(path)


def test_a_record_that_is_missing(tmp_path: Path) -> None:
    def change(name: str, content: bytes) -> bytes:
        return content.replace(b"X\x01\x00\x00\x003", b"X\x01\x00\x00\x00z")

    assert "record data/z is missing" in refused(rewritten(saved(tmp_path), change))


def test_packed_records(tmp_path: Path) -> None:
    path = rewritten(saved(tmp_path), lambda _, content: content)
    read_checkpoint(path)  # zipped again, as it was
    rewritten(path, lambda _, content: content, zipfile.ZIP_DEFLATED)
    assert "record data.pkl is compressed" in refused(path)


def test_records_in_one_place(tmp_path: Path) -> None:
    """Two entries of the archive's directory that lead to the same bytes."""
    path = saved(tmp_path)
    with zipfile.ZipFile(path) as archive:
        by_name = {i.filename.partition("/")[2]: i.header_offset for i in archive.infolist()}
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"m/data/3")  # in the directory at the end
    content[entry - 4 : entry] = struct.pack("<I", by_name["data/2"])
    path.write_bytes(content)
    assert "record data/3 is not where the archive says" in refused(path)
    twice = tmp_path / "twice.pth"
    with zipfile.ZipFile(twice, "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02}.")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("m/data.pkl", b"\x80\x02}.")
    assert "record data.pkl is stored twice" in refused(twice)


def test_files_without_checksums_say_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "spikegpt_neuro")
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(tmp_path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_checkpoint(path).shape == MODEL.shape
    assert "saved without checksums" in caplog.text


def test_bytes_in_the_other_order(tmp_path: Path) -> None:
    def change(name: str, content: bytes) -> bytes:
        if name.endswith("byteorder"):
            return b"big"
        is_data = "/data/" in name
        return np.frombuffer(content, "<f8").byteswap().tobytes() if is_data else content

    path = rewritten(save_upstream(tmp_path / "m.pth", MODEL, "float64"), change)
    found = read_checkpoint(path)
    for name, expected in MODEL.tensors.items():
        np.testing.assert_array_equal(found.tensors[name], np.float64(expected), err_msg=name)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(2**31, 8),
        torch.zeros(4).expand(8, 4),
        torch.zeros(40)[:36].as_strided((8, 4), (1, 8)).expand(3, 8, 4),
    ],
)
def test_tensors_larger_than_their_storage(tmp_path: Path, tensor: Any) -> None:
    torch.save(torch_state_dict(MODEL) | {"emb.weight": tensor}, tmp_path / "m.pth")
    before = peak_rss_bytes()
    message = refused(tmp_path / "m.pth")
    assert "emb.weight has shape" in message
    assert "an expanded tensor is saved after .clone()" in message
    assert peak_rss_bytes() - before < 200 << 20


def test_strides_where_there_is_nothing_to_step_to(tmp_path: Path) -> None:
    """Along a dimension of one value they may be any number, and torch saves and loads that."""
    values = torch.tensor([0.25, 0.5, 0.75, 1.0])
    tensor = values.as_strided((1, 1, 4), (2**63 - 1, 2**62, 1))
    torch.save(torch_state_dict(MODEL) | {"blocks.0.att.time_mix_k": tensor}, tmp_path / "m.pth")
    found = read_checkpoint(tmp_path / "m.pth")
    np.testing.assert_array_equal(found.tensors["blocks.0.att.time_mix_k"], values.numpy())


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((0, 4), "emb.weight has shape (0, 4), expected (vocabulary, width); an empty shard"),
        ((0, 2**62), "emb.weight has shape (0, 4611686018427387904), more than any memory holds"),
    ],
)
def test_tensors_without_values(tmp_path: Path, shape: tuple[int, ...], said: str) -> None:
    tensor = torch.zeros(0).as_strided(shape, (2**63 - 1, 2**63 - 1))
    torch.save(torch_state_dict(MODEL) | {"emb.weight": tensor}, tmp_path / "m.pth")
    assert said in refused(tmp_path / "m.pth")


@pytest.mark.parametrize("at", ["offset", "shape", "stride"])
def test_tensors_that_reach_beyond_their_storage(tmp_path: Path, at: str) -> None:
    """The numbers stand in the pickle; torch itself would refuse to save them."""
    numbers = {"offset": b"K\x01K\x08K\x04\x86", "shape": b"K\x00K\x09K\x04\x86"}
    numbers["stride"] = b"K\x00K\x08K\x04\x86"

    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("data.pkl"):
            return content
        found = content.index(b"K\x00K\x08K\x04\x86")
        changed = content[:found] + numbers[at] + content[found + 7 :]
        if at == "stride":
            strides = changed.index(b"K\x04K\x01\x86", found)
            changed = changed[:strides] + b"K\x09" + changed[strides + 2 :]
        return changed

    path = rewritten(saved(tmp_path), change)
    assert "emb.weight has shape" in refused(path)


def test_layers_that_share_their_values_without_end(tmp_path: Path) -> None:
    values = torch.zeros(4 * 512 * 512)
    wide = random_model(1, 512, 8)
    state = torch_state_dict(wide)
    for layer in range(1, 100):
        for name, size in wide.shape.tensor_shapes().items():
            if name.startswith("blocks.0.") and ".ln0." not in name:
                count = int(np.prod(size))
                state[name.replace(".0.", f".{layer}.", 1)] = values[:count].view(size)
    torch.save(state, tmp_path / "m.pth")
    assert "tensors that share their values" in refused(tmp_path / "m.pth")


# Pickles


def archive_of(folder: Path, pickle: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    path = folder / "m.pth"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("m/data.pkl", pickle)
    return path


START = b"\x80\x02"
DOUBLED = b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(60))
TUPLES = b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(60))
BOMBS = {
    "lists of the same list": (b"]q\x00" + DOUBLED + b".", "it unfolds to more than"),
    "a key that takes for ever to hash": (
        b"}q\xfe)q\x00" + TUPLES + b"q\xfdh\xfeh\xfdNs.",
        "it unfolds to more than|holds no blocks",
    ),
    "a dictionary in itself": (b"}q\x00X\x01\x00\x00\x00ah\x00s.", "nested deeper than"),
    "lists in lists": (b"]" * 50_000 + b"a" * 49_999 + b".", "nested deeper than"),
    "instructions without end": (
        b"](" + b"K\x01" * (INSTRUCTIONS + 1) + b"e.",
        "more than 500,000",
    ),
    "an array of 2 GB": (b"c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R.", "builtins.bytearray"),
    "a tensor of 2 GB": (b"ctorch\nFloatTensor\nJ\xff\xff\xff\x7f\x85R.", "torch.FloatTensor"),
    "a text that is not there": (b"X\xff\xff\xff\xff.", "cannot be followed"),
    "a far place in the memo": (b"}r\xff\xff\xff\xff.", "no blocks"),
    "no end": (b"}", "cannot be followed"),
    "an empty stack": (b"R.", "cannot be followed"),
    "an instruction of pickle's own": (b"(i__builtin__\neval\n.", "instruction INST"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_pickles_take_bounded_time_and_memory(tmp_path: Path, bomb: str) -> None:
    pickle, said = BOMBS[bomb]
    path = archive_of(tmp_path, START + pickle)
    begin, before = time.perf_counter(), peak_rss_bytes()
    with pytest.raises(UnsupportedInput, match=said):
        read_checkpoint(path)
    assert time.perf_counter() - begin < 10
    assert peak_rss_bytes() - before < 500 << 20


def test_a_pickle_that_inflates_or_is_huge(tmp_path: Path) -> None:
    path = archive_of(tmp_path, bytes(80 << 20), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    assert "record data.pkl is compressed" in refused(path)
    path = archive_of(tmp_path, bytes(65 << 20))
    assert "larger than 67,108,864 bytes" in refused(path)


def test_pickles_of_nonsense_are_unreadable_and_nothing_else() -> None:
    """Random changes of a real pickle: understood, or :class:`Unreadable`."""
    import io

    file = io.BytesIO()
    torch.save({"model": torch_state_dict(MODEL), "lr": [0.1], "n": {1: (2, b"x")}}, file)
    with zipfile.ZipFile(file) as archive:
        pickle = archive.read("archive/data.pkl")
    chance = random.Random(4)
    for _ in range(1500):
        changed = bytearray(pickle)
        for _ in range(chance.randrange(1, 4)):
            at, other = chance.randrange(len(changed)), chance.randrange(len(changed))
            if chance.random() < 0.5:
                changed[at] = chance.randrange(256)
            else:
                changed[at:at] = changed[other : other + chance.randrange(1, 30)]
        try:
            describe(bytes(changed))
        except Unreadable as error:
            assert "\n" not in str(error)  # noqa: PT017


# What is no checkpoint at all


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".onnx", ".bin"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n <!DOCTYPE html>\n<html>", "an HTML page"),
        (b"<?xml version='1.0'?><Error/>", "an HTML page"),
        (b"GGUF\x03\0\0\0", "a GGUF model"),
        (b"tjgg\x01\0\0\0", "a GGML model"),
        (b"\x1f\x8b\x08\0", "a gzip archive; unpack it first"),
        (bytes(257) + b"ustar\0" + bytes(300), "a tar archive; unpack it first"),
        (b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02", "a SentencePiece model"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    ],
)
def test_other_files_are_told_by_their_first_bytes(
    tmp_path: Path, content: bytes, said: str, suffix: str
) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    assert refused(path).startswith(f"{path}: {said}")


def test_a_file_of_an_old_torch_is_told(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    torch.save(torch_state_dict(MODEL), path, _use_new_zipfile_serialization=False)
    assert "a file of an old torch (before 1.6)" in refused(path)
    assert "torch.save(torch.load(file, weights_only=True), new_file)" in refused(path)
