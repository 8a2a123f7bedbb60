"""LIF settings that files state beside the weights or inside: used or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spikegpt_neuro as sgn
from spikegpt_neuro.converters.lif_keys import meaning_of
from spikegpt_neuro.converters.reader import read_checkpoint
from spikegpt_neuro.converters.settings import (
    GivenLIF,
    Options,
    Statement,
    settle,
    statements_beside,
)
from spikegpt_neuro.errors import UnsupportedInput, UsageError
from spikegpt_neuro.model.float_forward import FloatModel
from spikegpt_neuro.model.spikegpt import LIFOrigin, LIFParameters

from random_models import (
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
TAU_4 = {"lif_tau": 4.0, "lif_threshold": 0.8}
BESIDE = "stated: config.json"


def stated(**settings: Any) -> Options:
    """The options of a configuration."""
    return settle(Options(), [Statement("c.json", settings, "c.json")])


def refused(**settings: Any) -> str:
    with pytest.raises(UnsupportedInput) as error:
        stated(**settings)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("c.json: ")
    return message


# Where a configuration may lie


def bare_safetensors(path: Path) -> Path:
    from safetensors.torch import save_file

    save_file({n: t.contiguous() for n, t in torch_state_dict(MODEL).items()}, path)
    return path


@pytest.mark.parametrize(
    ("weights", "config"),
    [
        ("model.pth", "config.json"),
        ("model.pth", "model-config.json"),
        ("model.pth", "model.config.json"),
        ("other.safetensors", "config.json"),
        ("model.safetensors", "config.json"),
    ],
)
def test_a_configuration_beside_the_weights_is_used(
    tmp_path: Path, weights: str, config: str
) -> None:
    path = tmp_path / weights
    if path.suffix == ".pth":
        save_upstream(path, MODEL)
    else:
        bare_safetensors(path)
    assert read_checkpoint(path).lif_origin == LIFOrigin()
    (tmp_path / config).write_text(json.dumps(TAU_4))
    model = read_checkpoint(path)
    assert model.shape.lif == LIFParameters(tau=4.0, threshold=0.8)
    origin = f"stated: {config}"
    assert model.lif_origin == LIFOrigin(tau=origin, threshold=origin)
    tokens = random_tokens(MODEL, 50)
    with_settings = random_model(2, 8, 96, lif=LIFParameters(4.0, 0.8))
    expected = FloatModel(type(MODEL)(with_settings.shape, MODEL.tensors, MODEL.provenance)).logits(
        tokens
    )
    assert np.array_equal(FloatModel(model).logits(tokens), expected)


def test_metadata_of_a_safetensors_file_is_heard(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = {n: t.contiguous() for n, t in torch_state_dict(MODEL).items()}
    metadata = {"format": "pt", "lif_tau": "4.0", "config": json.dumps({"v_threshold": 0.8})}
    save_file(state, tmp_path / "m.safetensors", metadata=metadata)
    model = read_checkpoint(tmp_path / "m.safetensors")
    assert model.shape.lif == LIFParameters(4.0, 0.8)
    assert model.lif_origin.tau == "stated: m.safetensors"


@pytest.mark.parametrize("key", ["hyper_parameters", "config", "args", "hparams"])
def test_what_training_saved_beside_the_weights_is_heard(tmp_path: Path, key: str) -> None:
    settings = {"lif_tau": 4.0, "v_threshold": 0.8, "n_layer": 2, "betas": (0.9, 0.99)}
    content = {
        "state_dict": torch_state_dict(MODEL),
        "epoch": 3,
        "lr_schedulers": [{"threshold": 1e-4}],
        "optimizer": {"tau": 0.1, "threshold": 7},
        key: {"model": settings},
    }
    torch.save(content, tmp_path / "last.ckpt")
    model = read_checkpoint(tmp_path / "last.ckpt")
    assert model.shape.lif == LIFParameters(4.0, 0.8)
    assert model.lif_origin.tau == "stated: last.ckpt"
    (tmp_path / "config.json").write_text('{"tau": 2.0}')
    place = rf"last.ckpt: {key}.model.lif_tau is 4, but tau is 2 in .*config.json"
    with pytest.raises(UnsupportedInput, match=place):
        read_checkpoint(tmp_path / "last.ckpt")
    (tmp_path / "config.json").unlink()
    torch.save({**content, key: {"lif_decay": 0.5}}, tmp_path / "last.ckpt")
    with pytest.raises(UnsupportedInput, match=rf"{key}.lif_decay looks like a setting of the LIF"):
        read_checkpoint(tmp_path / "last.ckpt")


def test_what_a_checkpoint_states_inside_and_beside_must_agree(tmp_path: Path) -> None:
    payload = myelin_payload(MODEL, {"type": "character", "tokens": list(map(chr, range(96)))})
    torch.save(payload, tmp_path / "m.pt")
    (tmp_path / "config.json").write_text(json.dumps({"tau": 2.0}))
    assert read_checkpoint(tmp_path / "m.pt").lif_origin.tau == "stated: config"
    (tmp_path / "config.json").write_text(json.dumps({"tau": 4.0}))
    with pytest.raises(
        UnsupportedInput, match=r"m.pt: config: lif_tau is 2, but tau is 4 in .*config.json"
    ):
        read_checkpoint(tmp_path / "m.pt")
    (tmp_path / "m-config.json").write_text("{}")
    assert [s.brief for s in statements_beside(tmp_path / "m.pt")] == [
        "config.json",
        "m-config.json",
    ]


def test_onnx_float_keeps_the_lif(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    save_upstream(tmp_path / "m.pth", MODEL)
    file = tmp_path / "m.onnx"
    sgn.export(tmp_path / "m.pth", "onnx-float", file, lif_tau=4.0, lif_threshold=0.8)
    model = read_checkpoint(file)
    assert model.shape.lif == LIFParameters(4.0, 0.8)
    assert model.lif_origin.tau == "stated: m.onnx"
    with pytest.raises(UnsupportedInput, match="leave the option out, or correct the file"):
        read_checkpoint(file, lif=GivenLIF(tau=3.0))


# What is understood


@pytest.mark.parametrize(
    ("settings", "lif"),
    [
        ({"tau": 4.0, "v_threshold": 0.8, "v_reset": 0.0}, LIFParameters(4.0, 0.8)),
        ({"tau": 4, "threshold": 0.8, "reset": 0}, LIFParameters(4.0, 0.8)),
        ({"lif": {"tau": 4.0, "v_threshold": 0.8}}, LIFParameters(4.0, 0.8)),
        ({"lif.tau": 4.0, "lif.vThreshold": 0.8}, LIFParameters(4.0, 0.8)),
        ({"model": {"lifTau": 4.0, "neuron": {"v_th": 0.8}}}, LIFParameters(4.0, 0.8)),
        ({"LIF_TAU": 4.0, "lif-threshold": 0.8, "lif_reset": -0.5}, LIFParameters(4.0, 0.8, -0.5)),
        ({"lif_tau": [4.0, 4.0, 4.0], "lif_threshold": 0.8}, LIFParameters(4.0, 0.8)),
        ({"lif_tau": 4.0, "decay_input": False}, LIFParameters(4.0, decay_input=False)),
        ({"lif": {"type": "MultiStepLIFNode", "detach_reset": True}}, LIFParameters()),
        ({"reset": "zero", "reset_mechanism": "zero", "soft_reset": False}, LIFParameters()),
        ({"neuron": "spikingjelly.activation_based.neuron.LIFNode"}, LIFParameters()),
        ({"tau": 4.0, "lif": {"tau": 4.0}}, LIFParameters(4.0)),
        ({"tau": 1.0}, LIFParameters(1.0)),
        ({"scheduler": {"threshold": 1e-4, "factor": 0.5}}, LIFParameters()),
        ({"optimizer": {"tau": 0.1, "beta": 0.9}, "betas": [0.9, 0.99]}, LIFParameters()),
        (
            {"weight_decay": 0.1, "grad_clip_threshold": 1.0, "reset_optimizer": True},
            LIFParameters(),
        ),
        ({"model_type": "RWKV-ffnPre"}, LIFParameters()),
        ({"architectures": ["SpikeGPTForCausalLM"], "layer_norm_epsilon": 1e-5}, LIFParameters()),
    ],
)
def test_settings_that_are_understood(settings: dict[str, Any], lif: LIFParameters) -> None:
    assert stated(**settings).lif == lif


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lif_tau": 4.0, "tau": 2.0}, "lif_tau is 4, but tau is 2 in c.json"),
        (
            {"v_threshold": 1.0, "lif": {"threshold": 2}},
            "v_threshold is 1, but lif.threshold is 2 in c.json",
        ),
        ({"v_reset": None}, "v_reset is null, a soft reset"),
        ({"v_reset": 0.1}, "SpikingJelly's membrane also leaks to it"),
        ({"v_rest": -0.5}, "v_rest is -0.5"),
        ({"soft_reset": True}, "only a hard reset to 0"),
        ({"reset_mechanism": "subtract"}, "reset_mechanism is 'subtract'; only a reset to 0"),
        ({"reset": True}, "reset is True, expected a finite number"),
        ({"lif_tau": True}, "lif_tau is True, expected a finite number"),
        ({"tau": float("nan")}, "tau is nan, expected a finite number"),
        ({"tau": 10**400}, "expected a finite number"),
        ({"tau": 0.5}, "tau is 0.5, expected at least 1 token"),
        ({"tau": [2.0, 4.0]}, "tau is a list of 2, which differ, expected a finite number for all"),
        ({"lif_threshold": 0.0}, "lif_threshold 0.0 does not exceed lif_reset 0.0"),
        ({"lif_threshold": -1}, "lif_threshold -1.0 does not exceed lif_reset 0.0"),
        ({"lif_tau": {"value": 2.0}}, "lif_tau is {'value': 2.0}, expected a finite number"),
        ({"lif": {"reset": {}}}, "lif.reset is {}, expected a finite number"),
        ({"beta": 0.9}, "state lif_tau 10 and decay_input false instead"),
        ({"neuron_type": "ParametricLIFNode"}, "'ParametricLIFNode'; only the LIF is supported"),
        ({"lif": {"type": "IFNode"}}, "lif.type is 'IFNode'; only the LIF"),
        ({"lif_decay": 0.5}, "lif_decay looks like a setting of the LIF"),
        ({"init_tau": 2.0}, "init_tau looks like"),
        ({"tau_syn": 2.0}, "tau_syn looks like"),
        ({"tau1": 2.0}, "tau1 looks like"),
        ({"lif": {"refractory_period": 2}}, "lif.refractory_period looks like"),
        ({"model": {"membrane_decay": 0.5}}, "model.membrane_decay looks like"),
        ({"model_type": "llama"}, "the configuration of another architecture"),
        ({"architectures": ["GPT2LMHeadModel"]}, "the configuration of another architecture"),
        ({"attention": "vanilla"}, "only the recurrent 'rwkv'"),
        ({"model": {"spiking": False}}, "a model without LIF neurons"),
        ({"layer_norm_epsilon": 1e-6}, "only SpikeGPT's 1e-05"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], message: str) -> None:
    assert message in refused(**settings)


@pytest.mark.parametrize("key", ["n_layer", "num_layers", "n_embd", "vocab_size"])
def test_sizes_that_contradict_the_tensors_are_refused(tmp_path: Path, key: str) -> None:
    path = save_upstream(tmp_path / "m.pth", MODEL)
    (tmp_path / "config.json").write_text(json.dumps({"model": {key: 7}}))
    with pytest.raises(UnsupportedInput, match=rf"config.json: {key} is 7 in the config, the tens"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "config.json: not JSON"),
        ("[2]", "config.json: expected a JSON object, found list"),
        ('{"tau": 2, "tau": 4}', "'tau' is stated twice"),
        ("[" * 100_000, "config.json: not JSON"),
        ('{"tau": ' + "9" * 5000 + "}", "config.json: not JSON"),
    ],
)
def test_a_configuration_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    path = save_upstream(tmp_path / "m.pth", MODEL)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UnsupportedInput) as error:
        read_checkpoint(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_short_names_mean_the_lif_only_where_the_model_is_spoken_of() -> None:
    assert meaning_of((), "tau", 2.0) == "tau"
    assert meaning_of(("hyper_parameters", "model"), "tau", 2.0) == "tau"
    assert meaning_of(("optimizer",), "tau", 2.0) == "nothing"
    assert meaning_of(("optimizer",), "lif_tau", 2.0) == "tau"


# Options for files that cannot say


def test_options_stand_in_for_what_no_file_states(tmp_path: Path) -> None:
    path = save_upstream(tmp_path / "m.pth", MODEL)
    (tmp_path / "config.json").write_text('{"lif_tau": 4}')
    model = read_checkpoint(path, lif=GivenLIF(tau=4.0, threshold=0.8))
    assert model.shape.lif == LIFParameters(4.0, 0.8)
    assert model.lif_origin == LIFOrigin(tau=BESIDE, threshold="stated: option")
    with pytest.raises(UnsupportedInput, match=r"m.pth: tau is 4 \(stated: config.json\), but"):
        read_checkpoint(path, lif=GivenLIF(tau=2.0))


@pytest.mark.parametrize(
    "given",
    [
        GivenLIF(tau=0.5),
        GivenLIF(tau=float("nan")),
        GivenLIF(threshold=float("inf")),
        GivenLIF(threshold=0.0),
        GivenLIF(reset=1.0),
    ],
)
def test_options_out_of_range_are_usage_errors(tmp_path: Path, given: GivenLIF) -> None:
    path = save_upstream(tmp_path / "m.pth", MODEL)
    with pytest.raises(UsageError, match="lif_"):
        read_checkpoint(path, lif=given)


def test_an_option_gives_what_a_configuration_gives(tmp_path: Path) -> None:
    """Same integers, and the artifact tells where the LIF came from."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_upstream(tmp_path / name / "m.pth", MODEL)
        write_vocabulary(tmp_path / name / "vocab.json")
    (tmp_path / "a" / "config.json").write_text(json.dumps(TAU_4))
    text = tmp_path / "text.txt"
    text.write_text("The return value is a string, and the default is None. " * 8)
    beside = sgn.convert(tmp_path / "a" / "m.pth", calibration=text)
    given = sgn.convert(tmp_path / "b" / "m.pth", calibration=text, lif_tau=4.0, lif_threshold=0.8)
    assumed = sgn.convert(tmp_path / "b" / "m.pth", calibration=text)
    for graph, name in ((beside, "x"), (given, "y"), (assumed, "z")):
        sgn.save(graph, tmp_path / name)

    def bytes_of(name: str) -> tuple[bytes, bytes]:
        files = ("graph.json", "weights.safetensors")
        first, second = ((tmp_path / name / file).read_bytes() for file in files)
        return first, second

    assert bytes_of("x") == bytes_of("y") != bytes_of("z")
    found = [sgn.describe(tmp_path / name) for name in "xyz"]
    assert [f.lif_tau for f in found] == [4.0, 4.0, 2.0]
    assert [f.lif_threshold for f in found] == [0.8, 0.8, 1.0]
    assert [f.lif_tau_from for f in found] == [BESIDE, "stated: option", "assumed"]
    assert {f.lif_reset_from for f in found} == {"assumed"}
    # Compared with its checkpoint, the graph says what the file cannot.
    score = sgn.evaluate(given, "The return value is None. " * 4, against=tmp_path / "b" / "m.pth")
    assert score.float_bits_per_token is not None
    with pytest.raises(UnsupportedInput, match=r"LIF of the graph \(tau 2, .*convert it again"):
        sgn.evaluate(assumed, "The return value is None.", against=tmp_path / "a" / "m.pth")


def test_a_directory_states_its_lif(tmp_path: Path) -> None:
    expected = random_model(2, 8, 96, lif=LIFParameters(3.0, 1.5, decay_input=False))
    model = read_checkpoint(save_safetensors(tmp_path / "model", expected))
    assert model.shape == expected.shape
    assert model.lif_origin == LIFOrigin(BESIDE, BESIDE, BESIDE, BESIDE)
