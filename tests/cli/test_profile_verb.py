"""``profile`` as a user types it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spikegpt_neuro as sgn
from spikegpt_neuro.cli import run as run_cli
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.energy.record import CATEGORIES
from spikegpt_neuro.hardware.profile import load_profile
from spikegpt_neuro.mapping.mapper import Mapped, place
from spikegpt_neuro.vocabulary import ByteVocabulary

from loihi_setting import with_double
from random_models import random_model, random_tokens, save_upstream, write_vocabulary
from verbs import verb

TEXT = "The quick brown fox jumps over the lazy dog. " * 3
DESIGNED = (
    *("tokens", "synops_per_token", "effective_acs_per_token", "effective_macs_per_token"),
    *("dense_per_token", "joules_per_token", "joules", "seconds_per_token", "tokens_per_second"),
    *("chips", "cores", "constants"),
)
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of one layer that speaks bytes."""
    model = random_model(1, 16, 256)
    graph = replace(lower(model, random_tokens(model, 64)), vocabulary=ByteVocabulary())
    path = tmp_path_factory.mktemp("profile") / "model.sgn"
    graph.save(str(path))
    return path


@pytest.fixture
def call(artifact: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the verb on the artifact."""

    def profile(*options: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run_cli(["profile", str(artifact), *map(str, options)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return profile


def _json(done: tuple[int, str, str]) -> Any:
    code, out, err = done
    assert code == 0, err
    assert out.count("\n") == 1
    return json.loads(out)


def _one_line(done: tuple[int, str, str], code: int) -> str:
    assert done[0] == code, done
    assert done[2].startswith("error: ")
    assert done[2].count("\n") == 1
    return done[2]


@pytest.mark.parametrize("schedule", ["pipelined", "fall-through"])
def test_the_figures_that_callers_rely_on(call: Call, schedule: str) -> None:
    options = ("--hw", "loihi2", "--prompt", TEXT, "--tokens", 40, "--schedule", schedule)
    found = _json(call(*options, "--json"))
    assert [key for key in DESIGNED if key not in found] == []
    assert tuple(found["joules"]) == CATEGORIES
    assert found["tokens"] == 40
    assert found["joules_per_token"] == pytest.approx(sum(found["joules"].values()), rel=1e-12)
    assert (
        found["joules_per_token_low"] < found["joules_per_token"] < found["joules_per_token_high"]
    )
    assert found["joules"]["static"] > 0
    assert found["seconds_per_token"] * found["tokens_per_second"] == pytest.approx(1)
    assert found["effective_macs_per_token"] <= found["dense_per_token"]
    for key in ("key", "value", "unit", "kind", "source"):
        assert all(constant[key] for constant in found["constants"] if key != "value")
    assert {c["key"] for c in found["constants"]} >= {"energy.synaptic_operation"}
    assert sum(found["shares_by_kind"].values()) == pytest.approx(1, rel=1e-12)
    assert found["not_modelled"]
    assert 0 <= found["time_assumed"] <= 1
    assert found["share_assumed"] == found["shares_by_kind"].get("assumed", 0)
    accuracy = found["accuracy"]
    assert set(accuracy) == {"joules", "seconds"}
    assert set(accuracy["joules"]) == {"within", "near", "runs", "said"}
    assert 1 < accuracy["joules"]["within"] <= 2
    assert found["joules"]["network"] > 0  # a chip's step is in it


def test_schedules_do_the_same_operations_at_another_cost(call: Call) -> None:
    options = ("--hw", "loihi2", "--prompt", TEXT, "--tokens", 40)
    compared = _json(call(*options, "--compare", "schedule=pipelined,fall-through", "--json"))
    reading, writing = compared
    assert reading["schedule"] == "pipelined"
    assert writing["schedule"] == "fall-through"
    assert reading["synops_per_token"] == writing["synops_per_token"]
    assert reading["joules"]["synapse"] == writing["joules"]["synapse"]
    assert reading["seconds_per_token"] < writing["seconds_per_token"]
    assert writing["filling"]["steps"] == 0 < reading["filling"]["steps"]
    depth = reading["filling"]["steps"]
    assert writing["steps"] == 40 * (depth + 1)
    assert _json(call(*options, "--json")) == reading


def test_backends_agree_number_by_number(call: Call) -> None:
    options = ("--hw", "loihi2", "--prompt", TEXT, "--tokens", 30, "--timing", "bound")
    compared = _json(call(*options, "--compare", "backend=reference,cycle", "--json"))
    reference, cycle = ({**c, "backend": ""} for c in compared)
    assert [c["backend"] for c in compared] == ["reference", "cycle"]
    assert reference == cycle


def test_lava_gives_the_same_activity(call: Call) -> None:
    pytest.importorskip("lava")
    options = ("--hw", "loihi2", "--prompt", TEXT, "--tokens", 30, "--json")
    lava = _json(call(*options, "--backend", "lava", "--granularity", "block"))
    assert {**lava, "backend": "reference"} == _json(call(*options))


def test_comparisons_multiply_and_keep_what_does_not_fit(call: Call) -> None:
    options = ("--hw", "loihi2", "--prompt", TEXT, "--tokens", 30, "--json")
    more = ("--compare", "hw=loihi2,loihi1", "--compare", "accounting=as-arrives,kerasspiking")
    code, out, err = call(*options, *more)
    found = json.loads(out)
    assert code == 1
    assert "loihi1: " in err
    assert [(f["hardware"], f["accounting"].split(":")[0], "error" in f) for f in found] == [
        ("loihi2", "as-arrives", False),
        ("loihi2", "kerasspiking", False),
        ("loihi1", "as-arrives", True),
        ("loihi1", "kerasspiking", True),
    ]
    assert found[1]["joules"]["static"] == 0 < found[0]["joules"]["static"]


def test_a_person_reads_tables(call: Call) -> None:
    code, out, err = call("--hw", "loihi2", "--prompt", TEXT, "--tokens", 30)
    assert (code, err) == (0, "")
    for words in ("by layer", "by operation", "by kind of constant", "not modelled: "):
        assert words in out
    assert re.search(r"energy model .* within x\d\.\d on \d+ of \d+ published runs", out)
    assert "blocks.0" in out
    assert "spike-driven" in out
    code, out, _ = call("--hw", "loihi2", "--prompt", TEXT, "--compare", "timing=bound,simple")
    assert code == 0
    assert "simple" in out


def test_a_short_text_says_that_it_is_no_steady_state(call: Call) -> None:
    code, out, _ = call("--hw", "loihi2", "--prompt", "Hi")
    assert code == 0
    assert "2 tokens never fill the pipeline" in out


def test_a_placement_is_used_and_checked(call: Call, artifact: Path, tmp_path: Path) -> None:
    from spikegpt_neuro import api

    graph = api.load(artifact)
    rates = {p.name: np.full(p.size, 0.5) for p in graph.populations}
    placed = place(graph, load_profile("loihi2"), rates, head="host")
    assert isinstance(placed, Mapped)
    file = tmp_path / "placement.json"
    placed.placement.save(file)
    options = ("--prompt", TEXT, "--tokens", 30, "--placement", file)
    found = _json(call("--hw", "loihi2", *options, "--json"))
    assert found["head"] == "host"
    assert any("of the head" in words for words in found["not_modelled"])
    assert "placement is for loihi2" in _one_line(call("--hw", "loihi2-1", *options), 3)
    conflict = call("--hw", "loihi2", *options, "--compare", "head=chip,host")
    assert "--placement" in _one_line(conflict, 2)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--hw", "loihi1"), 1, "carry binary spikes only"),
        (("--hw", "nothing"), 2, "no hardware profile named"),
        (("--hw", "spinnaker2"), 3, "latency"),
        (("--hw", "loihi2", "--accounting", "wishes"), 2, "no accounting named 'wishes'"),
        (("--hw", "loihi2", "--compare", "colour=red"), 2, "expected one of backend, hw"),
        (("--hw", "loihi2", "--compare", "schedule=never"), 2, "expected one of pipelined"),
        (("--hw", "loihi2", "--compare", "bits=4,8"), 2, "rounded already; give the checkpoint"),
        (("--hw", "loihi2", "--compare", "bits=4,5"), 2, "expected one of 4, 6, 8"),
        (("--hw", "loihi2", "--vocab", "v.json"), 2, "--compare by bits"),
        (("--hw", "loihi2", "--backend", "wishes"), 2, "no backend named"),
        (("--hw", "loihi2", "--text", "nowhere.txt"), 2, "give one of"),
        (("--hw", "loihi2", "--backend", "loihi"), 4, "oihi"),
    ],
)
def test_mistakes_get_one_line(call: Call, options: tuple[str, ...], code: int, said: str) -> None:
    assert said in _one_line(call("--prompt", TEXT, "--tokens", 20, *options), code)


def test_a_checkpoint_is_compared_by_the_bits_of_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="torch writes the checkpoint")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    checkpoint, vocab = tmp_path / "model.pth", tmp_path / "letters.json"
    save_upstream(checkpoint, random_model(layers=1, width=16))
    write_vocabulary(vocab)
    options = ("--hw", "loihi2", "--vocab", vocab, "--prompt", "The quick", "--compare", "bits=4,8")
    said = verb("profile", checkpoint, *options, "--compare", "hw=loihi2,loihi1", "--json")
    assert said.code == 1  # graded events do not fit Loihi 1
    found = json.loads(said.out)
    asked = [(cost["weight_bits"], cost["hardware"]) for cost in found]
    assert asked == [(bits, hw) for bits in (4, 8) for hw in ("loihi2", "loihi1")]
    for cost in found[::2]:
        bits = cost["weight_bits"]
        graph = sgn.convert(checkpoint, vocab=vocab, weight_bits=bits)
        alone = sgn.profile(graph, "The quick", hw="loihi2").to_dict() | {"weight_bits": bits}
        assert cost == json.loads(json.dumps(alone))
    assert len(list((tmp_path / "caches" / "spikegpt-neuro").iterdir())) == 2
    shown = verb("profile", checkpoint, *options)
    assert re.search(r"weight bits\W+energy", shown.out), shown.out
    assert verb("profile", checkpoint, *options[:-2], "--placement", "p", *options[-2:]).code == 2


@pytest.mark.slow
def test_what_hardware_measures_takes_the_same_form(artifact: Path, tmp_path: Path) -> None:
    """With a test double of the Loihi extension, which says what it is told."""
    pytest.importorskip("lava")
    program = Path(sys.executable).with_name("spikegpt-neuro")
    options = ("--hw", "loihi2", "--backend", "loihi", "--prompt", "Hi", "--json")
    done = subprocess.run(
        [program, "profile", artifact, *options],
        env=dict(with_double(tmp_path / "journal", SPIKEGPT_NEURO_LOIHI_HOST="10.0.0.1")),
        capture_output=True,
        text=True,
    )
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert [key for key in DESIGNED if key not in found] == []
    assert found["is_measured"]
    assert found["shares_by_kind"] == {"measured": 1}
    static, rest = found["joules"]["static"], found["joules_undivided"]
    assert found["joules_per_token"] == pytest.approx(static + rest, rel=1e-12)
    assert sum(row["joules_per_token"] for row in found["by_layer"]) == found["joules_per_token"]
    assert (done.returncode == 0) == found["matches_reference"]
