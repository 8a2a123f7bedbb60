"""Checkpoints as training leaves them: wrapped, prefixed, with more or less in them."""

from __future__ import annotations

import argparse
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.converters.reader import read_checkpoint
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.model.spikegpt import SpikeGPT

from random_models import myelin_payload, random_model, torch_state_dict

torch = pytest.importorskip("torch")

MODEL = random_model(2, 8, 96)
STATE = torch_state_dict(MODEL)
StateDict = dict[str, Any]


def save(folder: Path, payload: object, name: str = "m.pth") -> Path:
    torch.save(payload, folder / name)
    return folder / name


def assert_same(found: SpikeGPT) -> None:
    assert found.shape == MODEL.shape
    for name, expected in MODEL.tensors.items():
        np.testing.assert_array_equal(found.tensors[name], expected, err_msg=name)


def refused(path: Path) -> str:
    with pytest.raises(UnsupportedInput) as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def prefixed(prefix: str, state: StateDict = STATE) -> StateDict:
    return {prefix + name: tensor for name, tensor in state.items()}


def nested(state: StateDict) -> StateDict:
    """Each module a dictionary of its own, as trees of parameters are."""
    tree: StateDict = {}
    for name, tensor in state.items():
        *path, last = name.split(".")
        inner = tree
        for step in path:
            inner = inner.setdefault(step, {})
        inner[last] = tensor
    return tree


OPTIMIZER = {
    "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(96, 8)}},
    "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.99), "params": [0, 1]}],
}


@pytest.mark.parametrize(
    ("payload", "left_out"),
    [
        ({"model": STATE, "optim": {}, "epoch": 3}, "optim, epoch"),
        ({"model": STATE, "optimizer": OPTIMIZER, "epoch": 3}, "optimizer, epoch"),
        ({"model_state": STATE, "config": {"n": 1}}, "config"),
        ({"model_state_dict": STATE, "loss": [0.5, 0.4]}, "loss"),
        ({"net": STATE, "acc": 0.5}, "acc"),
        ({"ema": {"shadow": STATE, "decay": 0.99}}, "ema/decay"),
        ({"state": {"model": STATE}, "step": 7}, "step"),
        (
            {"state_dict": prefixed("model."), "hyper_parameters": {}, "loops": {}},
            "hyper_parameters, loops",
        ),
        ({"module": STATE, "ds_config": {}, "dtype": torch.float16}, "ds_config, dtype"),
        ({**STATE, "epoch": 3, "optimizer": OPTIMIZER}, "optimizer, epoch"),
        ({"params": nested(STATE), "step": 3}, "step"),
        ({"models": [prefixed("module.")], "seed": defaultdict(dict)}, "seed"),
        # An optimizer that keeps its state by the parameters' names is no second model.
        ({"model": STATE, "optim": {n: {"exp_avg": t} for n, t in STATE.items()}}, "optim"),
        ({"model": STATE, "optim": {"exp_avg": {n: t + 1 for n, t in STATE.items()}}}, "optim"),
        ({"model": STATE, "ema": STATE}, "ema"),  # the very same tensors
    ],
)
def test_the_model_is_found_in_what_training_saves(
    tmp_path: Path, payload: StateDict, left_out: str
) -> None:
    model = read_checkpoint(save(tmp_path, payload))
    assert_same(model)
    (remark,) = model.remarks
    assert remark.startswith(f"{tmp_path / 'm.pth'}: the model")
    assert sorted(remark.partition("left out beside it: ")[2].split(", ")) == sorted(
        left_out.split(", ")
    )


@pytest.mark.parametrize(
    "prefix",
    ["_forward_module.", "model.", "module.model.", "_fsdp_wrapped_module.", "rwkv.", "gpt.",
     "model._orig_mod.", "a.b.c.", "_fpw_module.module.", "blocks_of.net."],
)  # fmt: skip
def test_any_prefix(tmp_path: Path, prefix: str) -> None:
    model = read_checkpoint(save(tmp_path, prefixed(prefix)))
    assert_same(model)
    assert model.remarks == ()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda n: n.replace("blocks.0.", "blocks.0._checkpoint_wrapped_module."),
        lambda n: n.replace("blocks.", "blocks._orig_mod."),
        lambda n: n.replace(".att.", "._fsdp_wrapped_module.att._orig_mod."),
        lambda n: n.replace(".weight", ".module.weight"),
        lambda n: n if n.startswith("head") else f"rwkv.{n}",
        lambda n: n if n.startswith(("head", "ln_out")) else f"model.body.{n}",
    ],
)
def test_wrappers_within_names(tmp_path: Path, wrap: Callable[[str], str]) -> None:
    assert_same(read_checkpoint(save(tmp_path, {wrap(n): t for n, t in STATE.items()})))


def test_dictionaries_and_parameters_of_torch(tmp_path: Path) -> None:
    state = OrderedDict((n, torch.nn.Parameter(t)) for n, t in STATE.items())
    state._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    state["ln_out.bias"].note = "an attribute"
    assert_same(read_checkpoint(save(tmp_path, state)))
    torch.save(STATE, tmp_path / "p4.pth", pickle_protocol=4)
    assert_same(read_checkpoint(tmp_path / "p4.pth"))


def test_an_embedding_that_is_the_head(tmp_path: Path) -> None:
    """Two names of one stored tensor are two tensors; none is guessed."""
    shared = STATE | {"head.weight": STATE["emb.weight"]}
    model = read_checkpoint(save(tmp_path, shared))
    np.testing.assert_array_equal(model.tensors["head.weight"], MODEL.tensors["emb.weight"])
    alone = {n: t for n, t in STATE.items() if n != "head.weight"}
    message = refused(save(tmp_path, alone))
    assert message.endswith(
        "missing tensors: head.weight; where the head shares the embedding's weights, save them "
        "under both names: state['head.weight'] = state['emb.weight']"
    )
    message = refused(save(tmp_path, alone | {"classifier.weight": torch.zeros(2, 8)}))
    assert "classifier.weight is another head" in message


def test_several_models_are_listed(tmp_path: Path) -> None:
    other = {n: t + 1 for n, t in STATE.items()}
    message = refused(save(tmp_path, {"model": STATE, "ema": other, "epoch": 1}))
    count = len(STATE)
    assert f"holds 2 models: 'model' ({count} tensors), 'ema' ({count} tensors)" in message
    message = refused(save(tmp_path, prefixed("model.") | prefixed("ema_model.", other)))
    assert "'model' " in message
    assert "'ema_model' " in message


def test_part_of_another_model_beside_it_is_left_out(tmp_path: Path) -> None:
    teacher = {"teacher.blocks.0.attn.qkv.weight": torch.zeros(8, 8)}
    model = read_checkpoint(save(tmp_path, STATE | teacher))
    assert_same(model)
    assert model.remarks[0].endswith("left out beside it: teacher")


@pytest.mark.parametrize(
    "head",
    ["classifier.weight", "score.weight", "cls_head.0.weight", "v_head.summary.weight",
     "model.head_2.bias", "critic.fc.weight"],
)  # fmt: skip
def test_a_whole_model_with_another_head_is_read_without_it(tmp_path: Path, head: str) -> None:
    model = read_checkpoint(save(tmp_path, prefixed("model.") | {head: torch.zeros(2, 8)}))
    assert_same(model)
    assert head.split(".")[0] in model.remarks[0].partition("left out")[2]


KEY = "blocks.0.att.key"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (
            "blocks.0.lif1.log_tau",
            "LIF neurons.*state the values .lif_tau=...",
        ),
        ("blocks.1.lif2.w", "LIF neurons"),
        ("blocks.1.att.beta", "LIF neurons"),
        ("blocks.0.neuron.v_threshold", "LIF neurons"),
        ("lif.tau", "LIF neurons"),
        (f"{KEY}.lora_A", "LoRA .*merge it first"),
        (f"{KEY}.lora_B.default.weight", "LoRA .*merge it first"),
        ("lora_blocks_0_att_key.lora_down.weight", "LoRA"),
        (f"{KEY}.weight_mask", "stored in parts"),
        (f"{KEY}.parametrizations.weight.original", "stored in parts"),
        (f"{KEY}.qweight", "another tool has quantized"),
        (f"{KEY}.weight_scale", "another tool has quantized"),
        ("blocks.0._flat_param", "FULL_STATE_DICT"),
        ("blocks.0.att.time_faaaa", "RWKV-5 or later"),
        ("blocks.0.att.ln_x.weight", "RWKV-5 or later"),
        ("blocks.0.attn.qkv.weight", "blocks of another architecture"),
        ("head.bias", "a bias; SpikeGPT's linear layers have none"),
        ("pos_emb", "a position embedding"),
        ("head_q.weight", "the QK head"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_tensors_that_change_the_model_are_refused_with_the_reason(
    tmp_path: Path, name: str, why: str, prefix: str
) -> None:
    path = save(tmp_path, prefixed(prefix, STATE | {name: torch.zeros(8)}))
    with pytest.raises(UnsupportedInput, match=f"{prefix}{name}: .*{why}"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["time_decay", "time_first"])
def test_vectors_of_time_may_be_columns(tmp_path: Path, name: str) -> None:
    state = {n: t.reshape(-1, 1) if n.endswith(name) else t for n, t in STATE.items()}
    assert_same(read_checkpoint(save(tmp_path, state)))
    norm = STATE | {"ln_out.bias": STATE["ln_out.bias"].reshape(-1, 1)}
    assert "ln_out.bias has shape (8, 1), expected (8,)" in refused(save(tmp_path, norm))


def test_a_head_over_classes(tmp_path: Path) -> None:
    message = refused(save(tmp_path, STATE | {"head.weight": torch.zeros(2, 8)}))
    assert "head.weight has shape (2, 8), expected (96, 8); a classifier's head?" in message


def test_blocks_of_something_else_are_not_called_none(tmp_path: Path) -> None:
    state = {"vit.blocks.0.norm.weight": torch.zeros(8), "vit.emb.weight": torch.zeros(9, 8)}
    message = refused(save(tmp_path, state))
    assert "no SpikeGPT" not in message
    assert "missing tensors: blocks.0.ln0.weight" in message


def test_shards_of_zero_3(tmp_path: Path) -> None:
    message = refused(save(tmp_path, {"module": {n: torch.empty(0) for n in STATE}}))
    assert "zero_to_fp32.py" in message


def test_values_in_place_of_tensors(tmp_path: Path) -> None:
    message = refused(save(tmp_path, {"model": STATE | {"head.weight": [1.0]}}))
    assert "model/head.weight is a list, expected a tensor" in message


def test_classes_in_the_file_are_named(tmp_path: Path) -> None:
    message = refused(save(tmp_path, {"model": STATE, "args": argparse.Namespace(lr=1)}))
    assert "holds more than tensors (argparse.Namespace); refused" in message
    message = refused(save(tmp_path, torch.nn.Linear(2, 2)))
    assert "is a whole object" in message
    assert "torch.nn.modules.linear.Linear" in message
    assert "torch.save(model.state_dict(), file)" in message


def test_quantized_tensors_are_refused_without_a_warning(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantized = torch.quantize_per_tensor(STATE["head.weight"], 0.1, 0, torch.qint8)
        path = save(tmp_path, STATE | {"head.weight": quantized})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message = refused(path)
    assert "head.weight is not a plain dense tensor (quantized); dequantize() it" in message


def test_a_program_is_not_run(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(2)), tmp_path / "m.pt")
    assert "a TorchScript archive, which holds a program; save" in refused(tmp_path / "m.pt")


def test_myelin_finds_its_model_likewise(tmp_path: Path) -> None:
    payload = myelin_payload(MODEL, {"type": "byte"})
    payload["vocabulary"] = {"type": "character", "tokens": [chr(i + 200) for i in range(96)]}
    payload["state_dict"] = prefixed("model.", payload["state_dict"])
    model = read_checkpoint(save(tmp_path, payload, "m.pt"))
    np.testing.assert_array_equal(model.tensors["emb.weight"], MODEL.tensors["emb.weight"])


@pytest.mark.parametrize("where", ["state", "file"])
def test_names_from_files_stay_in_the_line(tmp_path: Path, where: str) -> None:
    name = "a\nb\0" if where == "state" else "blocks." + "9" * 5000 + ".x"
    message = refused(save(tmp_path, STATE | {name: torch.zeros(1)}))
    assert "unexpected tensors: " in message
    assert len(message) < 500


def test_what_is_said_beside_the_tensors_is_kept(tmp_path: Path) -> None:
    """For whoever looks for a configuration."""
    from spikegpt_neuro.converters import torch_file

    config = {"lif_tau": 4.0, "names": ["a", "b"]}
    path = save(tmp_path, {"model": STATE, "config": config, "optimizer": OPTIMIZER, "epoch": 3})
    file = torch_file.load(path)
    found = torch_file.entries(torch_file.dictionary(file), file).settings
    assert found["config"] == config
    assert found["epoch"] == 3
    assert "model" not in found
