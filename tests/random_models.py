"""Random SpikeGPT models of any shape, and writers for every checkpoint format.

The weights are scaled so that the LIF neurons fire at 10 to 40 % as in trained models, and
the time constants follow RWKV's initialization.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from spikegpt_neuro.model.spikegpt import (
    FloatArray,
    LIFParameters,
    ModelShape,
    Provenance,
    SpikeGPT,
)

EVERY_PRINTABLE = "\n" + "".join(chr(code) for code in range(32, 127))

BEFORE_LIF = {"att.output.weight": 4.0, "ffn.value.weight": 4.5, "ffnPre.value.weight": 4.5}
MATRIX_GAIN = {"head.weight": 2.0, "att.value.weight": 2.0} | BEFORE_LIF


def random_model(
    layers: int = 3,
    width: int = 32,
    vocab_size: int = 96,
    *,
    seed: int = 0,
    ffn_pre: bool = False,
    spike_embedding: bool = True,
    spike_input: bool = False,
    lif: LIFParameters | None = None,
) -> SpikeGPT:
    """A float32 model with random weights, without a vocabulary."""
    shape = ModelShape(
        layers=layers,
        width=width,
        vocab_size=vocab_size,
        ffn_pre=ffn_pre,
        spike_embedding=spike_embedding,
        spike_input=spike_input,
        lif=lif or LIFParameters(),
    )
    rng = np.random.default_rng(seed)
    tensors = {
        name: _random_tensor(name, size, shape, rng).astype(np.float32)
        for name, size in shape.tensor_shapes().items()
    }
    return SpikeGPT(shape, tensors, Provenance(f"random-{seed}", "random", "0" * 64))


def random_tokens(model: SpikeGPT, count: int, seed: int = 1) -> np.ndarray[Any, Any]:
    """Token ids (count,) drawn with the skew of a text: few ids make up most of it."""
    rng = np.random.default_rng(seed)
    return (model.shape.vocab_size * rng.random(count) ** 3).astype(np.int64)


def _random_tensor(
    name: str, size: tuple[int, ...], shape: ModelShape, rng: np.random.Generator
) -> FloatArray:
    """Tensor ``name`` of the given size."""
    parts = name.split(".")
    layer = int(parts[1]) if parts[0] == "blocks" else 0
    kind = ".".join(parts[2:]) if parts[0] == "blocks" else name
    noise: FloatArray = rng.standard_normal(size)
    if ".ln" in f".{kind}":
        level = _norm_weight(kind, shape) if kind.endswith("weight") else 0.0
        return level + 0.1 * noise
    if parts[-1].startswith("time_"):
        return _time_constant(parts[-1], layer, shape, noise)
    gain = MATRIX_GAIN.get(kind, 1.0)
    if kind in BEFORE_LIF and not shape.spike_input:
        # LIF variants that scale their input or threshold are driven correspondingly.
        gain *= shape.lif.threshold / (2 * shape.lif.gain)
    fan_in = 1 if kind == "emb.weight" else size[-1]
    return noise * float(gain / np.sqrt(fan_in))


def _norm_weight(kind: str, shape: ModelShape) -> float:
    """LayerNorm feeds the LIF directly where spikes are the input, so it drives it there."""
    if shape.spike_input and kind in ("ln1.weight", "ln2.weight"):
        return 0.8 * shape.lif.threshold / shape.lif.gain
    return 1.0


def _time_constant(leaf: str, layer: int, shape: ModelShape, noise: FloatArray) -> FloatArray:
    """RWKV's initial time constants with a little noise."""
    d = shape.width
    depth = layer / max(1, shape.layers - 1)
    position: FloatArray = np.arange(d) / d
    if leaf == "time_decay":
        share: FloatArray = np.arange(d) / max(1, d - 1)
        return -5 + 8 * share ** (0.7 + 1.3 * depth) + 0.1 * noise
    if leaf == "time_first":
        zigzag: FloatArray = 0.5 * ((np.arange(d) + 1) % 3 - 1)
        return float(np.log(0.3)) + zigzag + 0.1 * noise
    power = (1 - layer / shape.layers) * (0.5 if leaf == "time_mix_r" else 1.0)
    shift = 0.3 * depth if leaf == "time_mix_v" else 0.0
    mix: FloatArray = position**power + shift + 0.02 * noise
    return mix


def write_vocabulary(path: Path, characters: str = EVERY_PRINTABLE) -> Path:
    """Upstream's vocabulary file: UTF-16 with byte order mark."""
    table = {str(index): character for index, character in enumerate(characters)}
    path.write_text(json.dumps(table, ensure_ascii=False), encoding="utf-16")
    return path


def byte_level_tokenizer() -> str:
    """A small byte-level BPE of the kind of the 20B tokenizer, as ``tokenizer.json``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(["the spike of the neuron and the spike"] * 4, trainer)
    return str(tokenizer.to_str())


def torch_state_dict(model: SpikeGPT, dtype: str = "float32", prefix: str = "") -> dict[str, Any]:
    """Tensors as upstream stores them: ``time_mix_*`` as (1, 1, d)."""
    import torch

    state: dict[str, Any] = {}
    for name in model.tensors:
        tensor = torch.from_numpy(np.array(model.tensors[name])).to(getattr(torch, dtype))
        state[prefix + name] = tensor.reshape(1, 1, -1) if "time_mix" in name else tensor
    return state


def save_upstream(path: Path, model: SpikeGPT, dtype: str = "float32", prefix: str = "") -> Path:
    """Write an upstream ``.pth``."""
    import torch

    torch.save(torch_state_dict(model, dtype, prefix), path)
    return path


def myelin_payload(model: SpikeGPT, vocabulary: Mapping[str, Any], **config: Any) -> dict[str, Any]:
    """The dictionary that spikegpt-myelin saves, with its own tensor names."""
    shape = model.shape
    settings = {
        "vocab_size": shape.vocab_size,
        "context_length": 64,
        "n_layer": shape.layers,
        "n_embd": shape.width,
        "dropout": 0.03,
        "model_type": "rwkv-ffn-pre" if shape.ffn_pre else "rwkv",
        "attention": "rwkv",
        "lif_tau": shape.lif.tau,
        "lif_threshold": shape.lif.threshold,
        "lif_reset": shape.lif.reset,
        "spike_embedding": shape.spike_embedding,
        "spiking": True,
        "spike_input": shape.spike_input,
    }
    names = {
        name: name.replace("emb.", "embedding.").replace(".ffnPre.", ".ffn_pre.")
        for name in model.tensors
    }
    state = torch_state_dict(model)
    return {
        "format": "myelin.spike_language_checkpoint.v1",
        "config": settings | config,
        "vocabulary": dict(vocabulary),
        "state_dict": {new: state[name] for name, new in names.items()},
        "metadata": {"step": 7},
    }


def save_safetensors(folder: Path, model: SpikeGPT, dtype: str = "float32") -> Path:
    """Write a directory of ``config.json`` and ``model.safetensors``."""
    from safetensors.torch import save_file

    folder.mkdir()
    state = {n: t.contiguous() for n, t in torch_state_dict(model, dtype).items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    shape, lif = model.shape, asdict(model.shape.lif)
    config = {
        "n_layer": shape.layers,
        "n_embd": shape.width,
        "vocab_size": shape.vocab_size,
        "spike_embedding": shape.spike_embedding,
        "spike_input": shape.spike_input,
        "lif_tau": lif["tau"],
        "lif_threshold": lif["threshold"],
        "lif_reset": lif["reset"],
        "decay_input": lif["decay_input"],
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder
