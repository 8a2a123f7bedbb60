"""Checkpoint readers: every format, and every damaged or foreign file in one clear line."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro import plugins
from spikegpt_neuro.converters import reader
from spikegpt_neuro.converters.checkpoint import LazyTensors, Reader
from spikegpt_neuro.converters.reader import read_checkpoint
from spikegpt_neuro.errors import MissingBackend, SpikeGPTError, UnsupportedInput
from spikegpt_neuro.model.float_forward import FloatModel
from spikegpt_neuro.model.spikegpt import LIFParameters, SpikeGPT
from spikegpt_neuro.vocabulary import ByteVocabulary

from random_models import (
    EVERY_PRINTABLE,
    byte_level_tokenizer,
    myelin_payload,
    random_model,
    random_tokens,
    save_safetensors,
    save_upstream,
    torch_state_dict,
    write_vocabulary,
)

torch = pytest.importorskip("torch")

MODEL = random_model(2, 8, 96)
CHARACTERS = {"type": "character", "tokens": list(EVERY_PRINTABLE)}
BYTE = {"type": "byte"}
FLOATS = ["float64", "float32", "float16", "bfloat16"]
StateDict = dict[str, Any]


def assert_same(found: SpikeGPT, expected: SpikeGPT, dtype: str = "float32") -> None:
    """``found`` has the shape of ``expected`` and its tensors rounded to ``dtype``."""
    assert found.shape == expected.shape
    assert list(found.tensors) == list(expected.shape.tensor_shapes())
    stored = torch_state_dict(expected, dtype)
    for name, size in expected.shape.tensor_shapes().items():
        tensor = found.tensors[name]
        assert tensor.shape == size
        assert tensor.dtype == (np.float64 if dtype == "float64" else np.float32)
        np.testing.assert_array_equal(tensor, stored[name].double().reshape(size).numpy())


def refused(path: Path, **options: Any) -> str:
    """The one line with which ``path`` is refused."""
    with pytest.raises(UnsupportedInput) as error:
        read_checkpoint(path, **options)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    assert error.value.exit_code == 3
    return message


def save(path: Path, payload: object, **options: Any) -> Path:
    torch.save(payload, path, **options)
    return path


# Formats that are read


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_upstream(tmp_path: Path, dtype: str, prefix: str) -> None:
    path = save_upstream(tmp_path / "model.pth", MODEL, dtype, prefix)
    model = read_checkpoint(path)
    assert_same(model, MODEL, dtype)
    assert model.vocabulary is None
    assert model.provenance.file == "model.pth"
    assert model.provenance.format == "upstream-pth"
    assert model.provenance.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_upstream_ffn_pre_is_inferred(tmp_path: Path) -> None:
    expected = random_model(2, 8, 96, ffn_pre=True)
    assert_same(read_checkpoint(save_upstream(tmp_path / "m.pth", expected)), expected)


@pytest.mark.parametrize("writer", ["upstream", "safetensors"])
def test_tensors_are_read_only_views_of_the_file(tmp_path: Path, writer: str) -> None:
    save_as = save_upstream if writer == "upstream" else save_safetensors
    tensor = read_checkpoint(save_as(tmp_path / "m", MODEL)).tensors["head.weight"]
    assert not tensor.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        tensor[0, 0] = 1


def test_one_file_may_mix_float_types(tmp_path: Path) -> None:
    state = torch_state_dict(MODEL)
    state["emb.weight"] = state["emb.weight"].half()
    state["blocks.0.att.time_decay"] = state["blocks.0.att.time_decay"].bfloat16()
    model = read_checkpoint(save(tmp_path / "m.pth", state))
    assert {model.tensors[name].dtype for name in model.tensors} == {np.dtype(np.float32)}


def test_a_transposed_tensor_is_read_in_its_own_order(tmp_path: Path) -> None:
    state = torch_state_dict(MODEL)
    state["head.weight"] = state["head.weight"].T.contiguous().T
    assert_same(read_checkpoint(save(tmp_path / "m.pth", state)), MODEL)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ffn_pre": True},
        {"spike_embedding": False, "spike_input": True},
        {"lif": LIFParameters(4.0, 0.7, 0.1, decay_input=False)},
    ],
)
def test_myelin(tmp_path: Path, options: dict[str, Any]) -> None:
    lif = LIFParameters(decay_input=False)
    expected = random_model(2, 8, 96, **({"lif": lif} | options))
    path = save(tmp_path / "model.pt", myelin_payload(expected, CHARACTERS))
    model = read_checkpoint(path)
    assert_same(model, expected)
    assert model.provenance.format == "myelin-pt"
    assert model.vocabulary is not None
    assert model.vocabulary.decode([0, 1, 34]) == "\n A"
    tokens = random_tokens(expected, 20)
    found, wanted = (FloatModel(m).logits(tokens) for m in (model, expected))
    np.testing.assert_array_equal(found, wanted)


def myelin_model(**options: Any) -> SpikeGPT:
    return random_model(2, 8, lif=LIFParameters(decay_input=False), **options)


def test_myelin_compiled_blocks_and_upstream_spelling(tmp_path: Path) -> None:
    expected = myelin_model(ffn_pre=True)
    payload = myelin_payload(expected, CHARACTERS)
    payload["state_dict"] = {
        name.replace("embedding.", "emb.").replace("blocks.0.", "blocks.0._orig_mod."): tensor
        for name, tensor in payload["state_dict"].items()
    }
    assert_same(read_checkpoint(save(tmp_path / "m.pt", payload)), expected)


def test_myelin_configuration_may_be_short(tmp_path: Path) -> None:
    payload = myelin_payload(MODEL, CHARACTERS)
    payload["config"] = {"vocab_size": 96, "context_length": 32}
    shape = read_checkpoint(save(tmp_path / "m.pt", payload)).shape
    assert shape.lif == LIFParameters(decay_input=False)
    assert (shape.spike_embedding, shape.spike_input) == (True, False)


def test_myelin_byte_and_bpe_vocabularies(tmp_path: Path) -> None:
    expected = myelin_model(vocab_size=256)
    model = read_checkpoint(save(tmp_path / "b.pt", myelin_payload(expected, BYTE)))
    assert model.vocabulary == ByteVocabulary()
    bpe = {"type": "bpe", "tokenizer_json": byte_level_tokenizer(), "vocab_size": 300}
    expected = myelin_model(vocab_size=320)
    model = read_checkpoint(save(tmp_path / "t.pt", myelin_payload(expected, bpe)))
    assert model.vocabulary is not None
    assert (model.vocabulary.kind, model.vocabulary.size) == ("bpe", 320)
    assert model.vocabulary.decode(model.vocabulary.encode("the spike")) == "the spike"


@pytest.mark.parametrize("dtype", FLOATS)
def test_safetensors_directory(tmp_path: Path, dtype: str) -> None:
    lif = LIFParameters(3.0, 1.5, 0.0, decay_input=False)
    expected = random_model(2, 8, 96, lif=lif, spike_embedding=False, spike_input=True)
    folder = save_safetensors(tmp_path / "model", expected, dtype)
    write_vocabulary(folder / "vocab.json")
    model = read_checkpoint(folder)
    assert_same(model, expected, dtype)
    assert model.vocabulary is not None
    weights = folder / "model.safetensors"
    assert model.provenance.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert read_checkpoint(weights).shape == expected.shape


def test_safetensors_without_a_configuration_means_upstream(tmp_path: Path) -> None:
    folder = save_safetensors(tmp_path / "model", random_model(2, 8, 96, ffn_pre=True))
    (folder / "config.json").unlink()
    assert read_checkpoint(folder).shape == random_model(2, 8, 96, ffn_pre=True).shape
    bare = (folder / "model.safetensors").rename(tmp_path / "other.safetensors")
    assert read_checkpoint(bare).shape.lif == LIFParameters()


def test_safetensors_need_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_safetensors(tmp_path / "model", MODEL, "bfloat16")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert read_checkpoint(folder).shape == MODEL.shape


def test_torch_files_need_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither to unpickle nor to see what a file is."""
    path = save_upstream(tmp_path / "m.pth", MODEL, "bfloat16")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "torch.serialization", raising=False)
    assert read_checkpoint(path).shape == MODEL.shape


def test_a_third_party_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.foreign"
    path.write_text("foreign")
    foreign = Reader("foreign", lambda p: p.suffix == ".foreign", lambda _path, _vocab: MODEL)
    monkeypatch.setattr(reader, "FOREIGN", foreign, raising=False)
    entry = EntryPoint("foreign", f"{reader.__name__}:FOREIGN", reader.ENTRY_POINT_GROUP)
    monkeypatch.setattr(plugins, "entries", lambda group: (entry,))
    assert read_checkpoint(path) is MODEL


READERS = """
from pathlib import Path
from spikegpt_neuro.converters.checkpoint import Reader
def look(path: Path) -> bool:
    raise RuntimeError("no idea")
def read(path, vocab):
    return "theirs"
FIRST = Reader("upstream-pth", lambda path: True, read)
FAILING = Reader("failing", look, read)
NOTHING = object()
"""


@pytest.mark.parametrize(
    ("target", "kind", "said"),
    [
        ("readers_of_others:FIRST", None, ""),
        ("readers_of_others:NOTHING", UnsupportedInput, r"is none; expected a .*\.Reader$"),
        ("readers_of_others:ABSENT", MissingBackend, "cannot be imported: .*ABSENT"),
        ("no_such_package:READER", MissingBackend, "cannot be imported: No module named"),
        ("readers_of_others:FAILING", UnsupportedInput, "failed to look at .*RuntimeError: no ide"),
    ],
)
def test_readers_of_other_packages_are_asked_first_and_named_where_they_fail(
    target: str,
    kind: type[SpikeGPTError] | None,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "readers_of_others.py").write_text(READERS)
    metadata = tmp_path / "others-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Name: others\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        f"[{reader.ENTRY_POINT_GROUP}]\nupstream-pth = {target}"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    path = save_safetensors(tmp_path / "model", MODEL)
    if kind is None:
        theirs: object = read_checkpoint(path)
        assert theirs == "theirs"
        return
    title = f"reader upstream-pth ({target}) of the package others"
    with pytest.raises(kind, match=re.escape(title) + " " + said) as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


# Vocabularies


@pytest.mark.parametrize("name", ["vocab.json", "m-vocab.json", "m.vocab.json", "some_vocab.json"])
def test_vocabulary_beside_the_checkpoint(tmp_path: Path, name: str) -> None:
    path = save_upstream(tmp_path / "m.pth", MODEL)
    write_vocabulary(tmp_path / name)
    vocabulary = read_checkpoint(path).vocabulary
    assert vocabulary is not None
    assert vocabulary.encode("A").tolist() == [34]


def test_the_vocabulary_named_after_the_checkpoint_comes_first(tmp_path: Path) -> None:
    path = save_upstream(tmp_path / "m.pth", MODEL)
    write_vocabulary(tmp_path / "vocab.json")
    write_vocabulary(tmp_path / "m-vocab.json", EVERY_PRINTABLE[::-1])
    vocabulary = read_checkpoint(path).vocabulary
    assert vocabulary is not None
    assert vocabulary.decode([0]) == "~"


def test_two_strangers_that_fit_are_not_guessed_between(tmp_path: Path) -> None:
    path = save_upstream(tmp_path / "m.pth", MODEL)
    write_vocabulary(tmp_path / "a-vocab.json")
    write_vocabulary(tmp_path / "b-vocab.json", EVERY_PRINTABLE[::-1])
    assert read_checkpoint(path).vocabulary is None


def test_a_vocabulary_of_another_size_beside_it_is_left_alone(tmp_path: Path) -> None:
    path = save_upstream(tmp_path / "m.pth", random_model(1, 8, 256))
    write_vocabulary(tmp_path / "vocab.json")
    assert read_checkpoint(path).vocabulary == ByteVocabulary()


def test_a_given_vocabulary_wins(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt", myelin_payload(myelin_model(), CHARACTERS))
    given = write_vocabulary(tmp_path / "given.json", EVERY_PRINTABLE[::-1])
    vocabulary = read_checkpoint(path, vocab=given).vocabulary
    assert vocabulary is not None
    assert vocabulary.decode([0]) == "~"


def test_a_given_vocabulary_of_another_size(tmp_path: Path) -> None:
    path = save_upstream(tmp_path / "m.pth", MODEL)
    given = write_vocabulary(tmp_path / "given.json", "abc")
    with pytest.raises(UnsupportedInput, match=r"given.json: has 3 characters, the model has 96"):
        read_checkpoint(path, vocab=given)


# Files that are refused


def test_no_such_file(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "none.pth")


@pytest.mark.parametrize("name", ["m.pth", "m.pt", "m.safetensors"])
def test_git_lfs_pointer(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    assert "Git LFS pointer" in refused(path)


def test_git_lfs_pointer_in_a_directory(tmp_path: Path) -> None:
    folder = save_safetensors(tmp_path / "model", MODEL)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    (folder / "model.safetensors").write_text(pointer)
    assert "git lfs pull" in refused(folder / "model.safetensors")
    with pytest.raises(UnsupportedInput, match="Git LFS pointer"):
        read_checkpoint(folder)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_truncated_pth(tmp_path: Path, share: float) -> None:
    path = save_upstream(tmp_path / "m.pth", MODEL)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert ("truncated" if share else "empty") in refused(path)


def test_every_flipped_byte_of_the_pickle_is_read_or_refused(tmp_path: Path) -> None:
    """Damage inside the archive never surfaces as another exception."""
    path = save_upstream(tmp_path / "m.pth", random_model(1, 2, 3))
    content = path.read_bytes()
    start = content.index(b"collections\nOrderedDict")
    for offset in range(start - 20, start + 600, 7):
        damaged = bytearray(content)
        damaged[offset] ^= 0x15
        path.write_bytes(damaged)
        try:
            read_checkpoint(path)
        except UnsupportedInput as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_old_torch_file(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pth", {"a": 1}, _use_new_zipfile_serialization=False)
    assert "old torch" in refused(path)


def test_zip_that_is_no_torch_file(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    assert "not from torch.save" in refused(path)


def test_text_file(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    path.write_text("not a checkpoint")
    assert "known format" in refused(path)


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("kind", ["upstream", "myelin"])
def test_a_pickle_that_wants_to_run_code_does_not(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "was-here"
    payload = torch_state_dict(MODEL) if kind == "upstream" else myelin_payload(MODEL, CHARACTERS)
    path = save(tmp_path / "m.pth", payload | {"metadata": Malicious(target)})
    message = refused(path)
    assert "more than tensors" in message
    assert "system" in message
    assert not target.exists()


def test_no_dictionary(tmp_path: Path) -> None:
    assert "holds a list" in refused(save(tmp_path / "m.pth", [torch.zeros(2)]))


def test_no_blocks(tmp_path: Path) -> None:
    state = {n: t for n, t in torch_state_dict(MODEL).items() if not n.startswith("blocks.")}
    message = refused(save(tmp_path / "m.pth", state))
    assert "holds no blocks.* tensors" in message
    assert "emb.weight" in message


def change(name: str, value: Any) -> Callable[[StateDict], StateDict]:
    return lambda state: state | {name: value}


def without(*names: str) -> Callable[[StateDict], StateDict]:
    return lambda state: {name: t for name, t in state.items() if name not in names}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (without("ln_out.bias"), "missing tensors: ln_out.bias"),
        (without("emb.weight"), "missing tensors: emb.weight"),
        (without("blocks.1.att.key.weight"), "missing tensors: blocks.1.att.key.weight"),
        (change("blocks.1.extra.weight", 0), "blocks.1.extra.weight is a int, expected a tensor"),
        (change("extra", torch.zeros(2)), "unexpected tensors: extra"),
        (change("blocks.1.ln0.bias", torch.zeros(8)), "unexpected tensors: blocks.1.ln0.bias"),
        (change("blocks.3.ln1.bias", torch.zeros(8)), "tensors of blocks.2 are missing"),
        (change("blocks.999999999.x", torch.zeros(8)), "tensors of blocks.2 are missing"),
        (change("head_q.weight", torch.zeros(2)), "head_q.weight: the QK head"),
        (change("copy_mask", torch.zeros(2)), "copy_mask: the QK head"),
        (change("pos_emb_x", torch.zeros(2)), "pos_emb_x: a position embedding is not supported"),
        (change("module.emb.weight", torch.zeros(96, 8)), "emb.weight is stored twice"),
        (change("emb.weight", torch.zeros(8)), r"emb.weight has shape \(8,\), expected"),
        (change("emb.weight", torch.zeros(0, 8)), r"emb.weight has shape \(0, 8\), expected"),
        (
            change("blocks.1.ffn.key.weight", torch.zeros(32, 7)),
            r"blocks.1.ffn.key.weight has shape \(32, 7\), expected \(32, 8\)",
        ),
        (
            change("blocks.0.att.time_mix_k", torch.zeros(1, 8, 1)),
            r"time_mix_k has shape \(1, 8, 1\), expected \(8,\)",
        ),
        (change("head.weight", torch.zeros(95, 8)), r"has shape \(95, 8\), expected \(96, 8\)"),
        (change("ln_out.bias", torch.full((8,), torch.nan)), "ln_out.bias holds 8 NaN or inf"),
        (change("ln_out.bias", torch.tensor([0.0] * 7 + [-torch.inf])), "ln_out.bias holds 1 NaN"),
        (
            change("ln_out.bias", torch.tensor([0.0] * 7 + [torch.inf]).bfloat16()),
            "ln_out.bias holds 1 NaN",
        ),
        (change("ln_out.bias", torch.zeros(8, dtype=torch.int8)), "ln_out.bias is int8, expected"),
        (change("ln_out.bias", torch.zeros(8).to_sparse()), "ln_out.bias is not a plain dense"),
    ],
)
def test_tensors_that_do_not_fit(
    tmp_path: Path, edit: Callable[[StateDict], StateDict], message: str
) -> None:
    path = save(tmp_path / "m.pth", edit(torch_state_dict(MODEL)))
    with pytest.raises(UnsupportedInput, match=message):
        read_checkpoint(path)
    refused(path)


def test_many_missing_tensors_are_counted(tmp_path: Path) -> None:
    state = {n: t for n, t in torch_state_dict(MODEL).items() if ".ffn." not in n}
    assert "blocks.0.ffn.key.weight and 7 more" in refused(save(tmp_path / "m.pth", state))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"attention": "vanilla"}, "attention is 'vanilla'; only the recurrent 'rwkv'"),
        ({"spiking": False}, "a model without LIF neurons is not supported"),
        ({"model_type": "gpt"}, "model_type is 'gpt', expected one of rwkv, rwkv-ffn-pre"),
        ({"model_type": "rwkv-ffn-pre"}, "but the tensors have no blocks.0.ffnPre"),
        ({"n_layer": 3}, "n_layer is 3 in the config, the tensors have 2"),
        ({"n_embd": 9}, "n_embd is 9 in the config, the tensors have 8"),
        ({"vocab_size": 97}, "vocab_size is 97 in the config, the tensors have 96"),
        ({"lif_tau": 0.5}, "lif_tau is 0.5, expected at least 1"),
        ({"lif_tau": "2"}, "lif_tau is '2', expected a finite number"),
        ({"lif_threshold": float("nan")}, "lif_threshold is nan, expected a finite number"),
        ({"lif_reset": 1.0}, "lif_threshold 1.0 does not exceed lif_reset 1.0"),
        ({"spike_input": 1}, "spike_input is 1, expected true or false"),
    ],
)
def test_configurations_that_are_refused(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    path = save(tmp_path / "m.pt", myelin_payload(MODEL, CHARACTERS, **config))
    assert message in refused(path)
    if "model_type" not in config:
        folder = save_safetensors(tmp_path / "model", MODEL)
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(UnsupportedInput) as error:
            read_checkpoint(folder)
        assert message in str(error.value)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"format": "myelin.spike_language_checkpoint.v2"}, "v2', expected 'myelin"),
        ({"config": [1]}, "config is a list, expected a dictionary"),
        ({"state_dict": None}, "state_dict is a NoneType, expected a dictionary"),
        ({"vocabulary": None}, "vocabulary is a NoneType, expected a dictionary"),
        ({"vocabulary": {"type": "morse"}}, "type 'morse', expected character, byte or bpe"),
        ({"vocabulary": {"type": "bpe"}}, "a bpe vocabulary without its tokens"),
        ({"vocabulary": {"type": "character", "tokens": ["a"]}}, "has 1 characters, the model"),
        ({"vocabulary": BYTE}, "has 256 ids, the model has 96"),
    ],
)
def test_myelin_files_that_are_refused(tmp_path: Path, edit: dict[str, Any], message: str) -> None:
    path = save(tmp_path / "m.pt", myelin_payload(MODEL, CHARACTERS) | edit)
    assert message in refused(path)


def test_safetensors_that_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no model.safetensors in it" in refused(empty)

    folder = save_safetensors(tmp_path / "model", MODEL)
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-5])
    assert "damaged safetensors file" in refused(weights)
    weights.write_bytes(content[:4])
    assert "damaged safetensors file" in refused(weights)
    state = {n: t.contiguous() for n, t in torch_state_dict(MODEL).items()}
    save_file(state | {"ln_out.bias": torch.zeros(8, dtype=torch.int32)}, weights)
    assert "ln_out.bias is I32, expected one of F64, F32, F16, BF16" in refused(weights)


@pytest.mark.parametrize(
    ("config", "message"), [("{", "not JSON"), ("[]", "expected a JSON object, found list")]
)
def test_broken_configuration(tmp_path: Path, config: str, message: str) -> None:
    folder = save_safetensors(tmp_path / "model", MODEL)
    (folder / "config.json").write_text(config)
    with pytest.raises(UnsupportedInput, match=f"config.json: {message}"):
        read_checkpoint(folder)


@pytest.mark.parametrize("save", [save_upstream, save_safetensors])
def test_a_tensor_survives_that_its_pages_are_dropped(save: Any, tmp_path: Path) -> None:
    """Large files are released piece by piece; what is asked for again is read again."""
    model = random_model(2, 64)
    path = save(tmp_path / "model", model)
    read = read_checkpoint(path)
    head = read.tensors["head.weight"]
    assert isinstance(read.tensors, LazyTensors)
    raw = read.tensors.raw.values()
    assert any(tensor.mapped for tensor in raw) == Path("/proc/self/maps").exists()
    for _ in range(2):
        for name, expected in model.tensors.items():
            assert np.array_equal(read.tensors[name], expected), name
    assert np.array_equal(head, model.tensors["head.weight"])
