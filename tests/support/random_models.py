"""Writers for every checkpoint format, for the synthetic models of the product."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.model.synthetic import random_model, random_tokens

__all__ = ["random_model", "random_tokens"]

EVERY_PRINTABLE = "\n" + "".join(chr(code) for code in range(32, 127))


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
