"""A written checkpoint is read as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load as load_safetensors

from spikegpt_neuro.converters.reader import read_checkpoint
from spikegpt_neuro.converters.writer import (
    checkpoint_files,
    config_of,
    is_checkpoint,
    weights_blocks,
    write_checkpoint,
)
from spikegpt_neuro.errors import CannotWrite, UnsupportedInput
from spikegpt_neuro.files import atomic_file, write_blocks
from spikegpt_neuro.model.spikegpt import LIFOrigin, LIFParameters, SpikeGPT
from spikegpt_neuro.vocabulary import BPEVocabulary, ByteVocabulary, CharacterVocabulary

from dead_zones import pruned, with_real_dead_zones
from places import CHECKPOINT, EXAMPLES
from random_models import EVERY_PRINTABLE, byte_level_tokenizer, random_model

MODEL = random_model(2, 8, 96)
STATED = LIFOrigin(*["stated: config.json"] * 4)
MODELS = {
    "plain": MODEL,
    "sparse": pruned(with_real_dead_zones(MODEL)),
    "ffnPre": with_real_dead_zones(random_model(1, 8, 11, ffn_pre=True)),
    "spike input": random_model(1, 8, 11, spike_embedding=False, spike_input=True),
    "another LIF": random_model(1, 8, 11, lif=LIFParameters(3.7, 0.1 + 0.2, -0.1, False)),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_read_as_it_was(name: str, tmp_path: Path) -> None:
    model = MODELS[name]
    write_checkpoint(model, tmp_path / "model")
    found = read_checkpoint(tmp_path / "model")
    assert (found.shape, found.pruned) == (model.shape, model.pruned)
    assert found.lif_origin == STATED
    assert (found.remarks, found.refused_vocabularies) == ((), ())
    assert list(found.stored) == list(model.stored)
    for tensor, values in model.stored.items():
        assert found.stored[tensor].dtype == np.float32
        np.testing.assert_array_equal(found.stored[tensor], values, err_msg=tensor)


def test_what_was_read_is_written_again_byte_by_byte(tmp_path: Path) -> None:
    write_checkpoint(MODELS["sparse"], tmp_path / "first")
    write_checkpoint(read_checkpoint(tmp_path / "first"), tmp_path / "second")
    names = sorted(file.name for file in (tmp_path / "first").iterdir())
    assert names == ["config.json", "model.safetensors"]
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_the_example(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    model = read_checkpoint(CHECKPOINT, vocab=EXAMPLES / "pydoc-vocab.json")
    write_checkpoint(model, tmp_path / "model")
    found = read_checkpoint(tmp_path / "model")
    assert (found.shape, found.vocabulary) == (model.shape, model.vocabulary)
    for tensor in model.tensors:
        np.testing.assert_array_equal(found.tensors[tensor], model.tensors[tensor])


@pytest.mark.parametrize(
    ("vocabulary", "size", "file"),
    [
        (lambda: CharacterVocabulary(tuple(EVERY_PRINTABLE)), 96, "vocab.json"),
        (lambda: CharacterVocabulary(("\n", "é", "\U0001f40d", "\ud800")), 4, "vocab.json"),
        (lambda: CharacterVocabulary(tuple(map(chr, range(256)))), 256, "vocab.json"),
        (lambda: BPEVocabulary(byte_level_tokenizer(), 320), 320, "tokenizer.json"),
        (ByteVocabulary, 256, None),
        (lambda: None, 96, None),
    ],
)
def test_every_vocabulary_is_found_beside_it(
    vocabulary: Any, size: int, file: str | None, tmp_path: Path
) -> None:
    model = replace(random_model(1, 8, size), vocabulary=vocabulary())
    write_checkpoint(model, tmp_path / "model")
    found = read_checkpoint(tmp_path / "model")
    assert found.vocabulary == model.vocabulary
    assert found.provenance.vocabulary_file == file
    assert read_checkpoint(tmp_path / "model" / "model.safetensors").vocabulary == found.vocabulary


def test_a_compat_mode_is_chosen_by_who_reads(tmp_path: Path) -> None:
    model = random_model(7, 8, 77).with_compat("upstream-run")
    write_checkpoint(model, tmp_path / "model")
    found = read_checkpoint(tmp_path / "model")
    assert found.shape.rescale_every == 0
    assert found.with_compat("upstream-run").shape == model.shape


def test_half_and_double_precision_are_written_as_float32(tmp_path: Path) -> None:
    wide = {name: tensor.astype(np.float64) + 1e-12 for name, tensor in MODEL.tensors.items()}
    write_checkpoint(replace(MODEL, tensors=wide), tmp_path / "model")
    found = read_checkpoint(tmp_path / "model")
    for name, tensor in wide.items():
        np.testing.assert_array_equal(found.tensors[name], tensor.astype(np.float32))


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e39])
def test_what_nobody_could_read_is_not_written(value: float, tmp_path: Path) -> None:
    norm = MODEL.tensors["ln_out.bias"].astype(np.float64)
    norm[3] = value
    model = replace(MODEL, tensors=dict(MODEL.tensors) | {"ln_out.bias": norm})
    with pytest.raises(UnsupportedInput, match=r"^ln_out\.bias: 1 of 8 values are not finite"):
        write_checkpoint(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_only_a_checkpoint_of_ours_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_checkpoint(MODEL, folder)
    assert is_checkpoint(folder)
    with pytest.raises(CannotWrite, match="exists; choose another output or pass force=True"):
        write_checkpoint(MODELS["sparse"], folder)
    write_checkpoint(MODELS["sparse"], folder, force=True)
    assert read_checkpoint(folder).pruned
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "format": "another"}))
    with pytest.raises(CannotWrite, match="holds something else"):
        write_checkpoint(MODEL, folder, force=True)
    assert not is_checkpoint(tmp_path)


def test_the_pieces_serve_alone(tmp_path: Path) -> None:
    """Weights are the library's format, and may be replaced beside a configuration that stays."""
    model: SpikeGPT = MODELS["sparse"]
    files = {name: b"".join(blocks) for name, blocks in checkpoint_files(model)}
    tensors = load_safetensors(files["model.safetensors"])
    assert tensors.keys() == set(model.stored)
    assert json.loads(files["config.json"])["pruned"] is True
    assert "pruned" not in config_of(MODEL)

    write_checkpoint(model, tmp_path / "model")
    raised = {name: zone + 1 for name, zone in model.dead_zones.items()}
    weights = tmp_path / "model" / "model.safetensors"
    with atomic_file(weights) as new:
        stored = replace(model, dead_zones=raised).stored
        write_blocks(new, weights_blocks(stored, {"step": "7"}))
    found = read_checkpoint(tmp_path / "model")
    assert found.pruned
    for name, zone in found.dead_zones.items():
        np.testing.assert_array_equal(zone, raised[name])
