"""Folders of weights: one file of any name, or shards with or without an index."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.converters.reader import read_checkpoint
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.model.spikegpt import SpikeGPT

from random_models import random_model, save_safetensors, torch_state_dict

torch = pytest.importorskip("torch")

MODEL = random_model(2, 8, 96)
STATE = {name: tensor.contiguous() for name, tensor in torch_state_dict(MODEL).items()}
NAMES = list(STATE)
HALVES = tuple({n: STATE[n] for n in part} for part in (NAMES[:20], NAMES[20:]))
Save = Callable[[dict[str, Any], Path], None]


def save_safe(state: dict[str, Any], path: Path) -> None:
    from safetensors.torch import save_file

    save_file(state, path)


KINDS: dict[str, tuple[Save, str]] = {
    "safetensors": (save_safe, "model-{:05d}-of-00002.safetensors"),
    "bin": (torch.save, "pytorch_model-{:05d}-of-00002.bin"),
    "pth": (torch.save, "part_{}_of_2.pth"),
}


def write_index(folder: Path, shards: dict[str, dict[str, Any]], name: str) -> Path:
    weight_map = {tensor: file for file, state in shards.items() for tensor in state}
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder / name


def shards_of(folder: Path, kind: str) -> list[Path]:
    save, pattern = KINDS[kind]
    files = [folder / pattern.format(number) for number in (1, 2)]
    for state, file in zip(HALVES, files, strict=True):
        save(state, file)
    return files


def assert_same(found: SpikeGPT) -> None:
    assert found.shape == MODEL.shape
    for name, expected in MODEL.tensors.items():
        np.testing.assert_array_equal(found.tensors[name], expected, err_msg=name)


def refused(path: Path) -> str:
    with pytest.raises(UnsupportedInput) as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("indexed", [True, False])
def test_shards(tmp_path: Path, kind: str, indexed: bool) -> None:
    files = shards_of(tmp_path, kind)
    given = [tmp_path, *files]
    if indexed:
        shards = {file.name: state for file, state in zip(files, HALVES, strict=True)}
        given.append(write_index(tmp_path, shards, "model.index.json"))
    for path in given:
        model = read_checkpoint(path)
        assert_same(model)
        both = b"".join(file.read_bytes() for file in files)
        assert model.provenance.sha256 == hashlib.sha256(both).hexdigest()


def test_shards_of_any_name_with_an_index(tmp_path: Path) -> None:
    for name, state in zip(("first", "second"), HALVES, strict=True):
        save_safe(state, tmp_path / f"{name}.safetensors")
    assert "holds 2 checkpoints: first.safetensors, second.safetensors" in refused(tmp_path)
    shards = {f"{n}.safetensors": s for n, s in zip(("first", "second"), HALVES, strict=True)}
    index = write_index(tmp_path, shards, "x.safetensors.index.json")
    for path in (tmp_path, index, tmp_path / "second.safetensors"):
        assert_same(read_checkpoint(path))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("indexed", [True, False])
def test_a_missing_shard_is_named(tmp_path: Path, kind: str, indexed: bool) -> None:
    files = shards_of(tmp_path, kind)
    if indexed:
        shards = {file.name: state for file, state in zip(files, HALVES, strict=True)}
        write_index(tmp_path, shards, "model.index.json")
    files[0].unlink()
    for path in (tmp_path, files[1]):
        assert f"2 shards, of which 1 are missing: {files[0].name}" in refused(path)


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    files = shards_of(tmp_path, "safetensors")
    save_safe(STATE, files[1])
    message = refused(tmp_path)
    assert f" is stored twice, in {files[0].name} and in {files[1].name}" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"weight_map": {"a": "../secret.safetensors"}}', "outside its folder; refused"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "outside its folder; refused"),
        ('{"weight_map": {"a": "b\\u0000"}}', "outside its folder; refused"),
        ('{"weight_map": {"a": 3}}', "weight_map.a: expected a text, found 3"),
        ("{", "not valid JSON"),
        ("{}", "lists no weights"),
    ],
)
def test_indices_that_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    assert said in refused(tmp_path)
    assert said in refused(tmp_path / "model.safetensors.index.json")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "SpikeGPT-216M.pth", "last.ckpt", "m.pt"])
def test_the_only_weights_of_any_name(tmp_path: Path, name: str) -> None:
    torch.save(STATE, tmp_path / name)
    for other in ("training_args.bin", "optimizer.pt", "rng_state_0.pth", "tokenizer.json"):
        (tmp_path / other).write_text("something else")
    model = read_checkpoint(tmp_path)
    assert_same(model)
    assert model.provenance.file == name
    assert model.provenance.sha256 == read_checkpoint(tmp_path / name).provenance.sha256


def test_several_weights_are_listed(tmp_path: Path) -> None:
    for name in ("rwkv-10.pth", "rwkv-20.pth", "pytorch_model.bin"):
        torch.save(STATE, tmp_path / name)
    shards_of(tmp_path, "safetensors")
    message = refused(tmp_path)
    names = "model-00001-of-00002.safetensors, pytorch_model.bin, rwkv-10.pth, rwkv-20.pth"
    assert f"holds 4 checkpoints: {names}; give one of these files" in message


def test_model_safetensors_comes_first_with_a_remark(tmp_path: Path) -> None:
    folder = save_safetensors(tmp_path / "model", MODEL)
    assert read_checkpoint(folder).remarks == ()
    torch.save(STATE, folder / "older.pth")
    (remark,) = read_checkpoint(folder).remarks
    assert remark.endswith("model.safetensors: read; other weights in its folder: older.pth")


def test_the_format_is_told_from_the_content(tmp_path: Path) -> None:
    save_safe(STATE, tmp_path / "pytorch_model.bin")
    assert read_checkpoint(tmp_path).provenance.format == "safetensors"
    torch.save(STATE, tmp_path / "other.safetensors")
    assert read_checkpoint(tmp_path / "other.safetensors").provenance.format == "upstream-pth"


def test_prefixes_and_other_heads_in_safetensors(tmp_path: Path) -> None:
    state = {f"model.{name}": tensor for name, tensor in STATE.items()}
    more = {"position_ids": torch.arange(3), "score.weight": torch.zeros(2, 8)}
    save_safe(state | more, tmp_path / "model.safetensors")
    model = read_checkpoint(tmp_path)
    assert_same(model)
    assert "left out beside it: position_ids, score" in model.remarks[0]


def test_a_tied_head_that_the_configuration_states(tmp_path: Path) -> None:
    save_safe(
        {n: t for n, t in STATE.items() if n != "head.weight"}, tmp_path / "model.safetensors"
    )
    assert "missing tensors: head.weight" in refused(tmp_path)
    (tmp_path / "config.json").write_text('{"tie_word_embeddings": true}')
    head = read_checkpoint(tmp_path).tensors["head.weight"]
    np.testing.assert_array_equal(head, MODEL.tensors["emb.weight"])


def test_folders_without_weights(tmp_path: Path) -> None:
    inner = tmp_path / "global_step10"
    inner.mkdir()
    torch.save({"module": STATE}, inner / "mp_rank_00_model_states.pt")
    assert "there are weights in global_step10" in refused(tmp_path)
    assert_same(read_checkpoint(inner))
    (tmp_path / ".metadata").write_bytes(b"\x80")
    assert "dcp_to_torch" in refused(tmp_path)


def test_an_artifact_is_no_checkpoint(small_artifact: Path) -> None:
    assert "an artifact, which is converted already" in refused(small_artifact)


@pytest.fixture
def small_artifact(tmp_path: Path) -> Path:
    """A directory that says it is an artifact."""
    from spikegpt_neuro.graph.artifact import CONFIG, FORMAT

    (tmp_path / CONFIG).write_text(json.dumps({"format": FORMAT}))
    (tmp_path / "weights.safetensors").write_bytes(b"")
    return tmp_path


def test_names_and_kinds_of_files_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    assert "no regular file" in refused(tmp_path / "pipe.pth")
    assert "no model.safetensors in it" in refused(tmp_path)  # a pipe is none of its files
    assert "no regular file" in refused(Path("/dev/zero"))
    assert "NUL" in refused(Path("a\0b.pth"))
    assert "File name too long" in refused(tmp_path / ("x" * 5000))


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
         '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', "a is stored twice"),
        ('{"a\\n":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', "no SpikeGPT checkpoint"),
        ('{"a":' + "[" * 100_000, "damaged safetensors file"),
        ('{"a":["F32",[1],[0,4]]}', "a: expected an object, found a list of 3; copy or download"),
        ('{"a":{"dtype":{"F32":null},"shape":[1],"data_offsets":[0,4]}}',
         "a.dtype: expected a text, found an object; copy or download it again"),
    ],
)  # fmt: skip
def test_headers_of_safetensors_that_are_refused(tmp_path: Path, header: str, said: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(4))
    assert said in refused(path)


def rewritten(path: Path, change: Callable[[dict[str, Any], int], None]) -> Path:
    """The file with another header; ``change`` takes its values and the length of the data."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    change(header, len(data))
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_a_header_may_say_that_it_has_no_metadata(tmp_path: Path) -> None:
    save_safe(STATE, tmp_path / "m.safetensors")
    path = rewritten(
        tmp_path / "m.safetensors", lambda header, _: header.update({"__metadata__": None})
    )
    assert_same(read_checkpoint(path))


@pytest.mark.parametrize("shape", [[0, 1 << 62, 1 << 62], [0, (1 << 64) - 1]])
def test_tensors_without_values_in_a_shape_beyond_memory(tmp_path: Path, shape: list[int]) -> None:
    def change(header: dict[str, Any], end: int) -> None:
        entry = {"dtype": "F32", "shape": shape, "data_offsets": [end, end]}
        header["ln_out.bias"] = entry

    save_safe({n: t for n, t in STATE.items() if n != "ln_out.bias"}, tmp_path / "m.safetensors")
    said = refused(rewritten(tmp_path / "m.safetensors", change))
    assert f"ln_out.bias has shape {tuple(shape)}, more than any memory holds" in said


def test_tensors_of_many_dimensions(tmp_path: Path) -> None:
    save_safe(STATE | {"ln_out.bias": torch.zeros([1] * 65)}, tmp_path / "m.safetensors")
    assert "ln_out.bias has 65 dimensions" in refused(tmp_path / "m.safetensors")
    torch.save(STATE | {"ln_out.bias": torch.zeros([1] * 65)}, tmp_path / "m.pth")
    assert "ln_out.bias has 65 dimensions" in refused(tmp_path / "m.pth")
    torch.save({"model": STATE, "of_optimizer": torch.zeros([1] * 65)}, tmp_path / "m.pth")
    assert_same(read_checkpoint(tmp_path / "m.pth"))
