"""The command line as a user types it."""

from __future__ import annotations

import json
import os
import pickle
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import metadata
from itertools import count
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from spikegpt_neuro.cli import VERBS, group
from spikegpt_neuro.cli import run as run_cli
from spikegpt_neuro.cli.common import in_words, with_unit
from spikegpt_neuro.cli.session import as_typed
from spikegpt_neuro.model.spikegpt import SpikeGPT

from children import child
from places import ROOT
from random_models import myelin_payload, random_model, save_upstream, write_vocabulary

torch = pytest.importorskip("torch")

EXAMPLE = ROOT / "examples" / "pydoc-4x128.pth"
EXAMPLE_VOCAB = ROOT / "examples" / "pydoc-vocab.json"
PROGRAM = Path(sys.executable).with_name("spikegpt-neuro")
TEXT = "The quick brown fox returns a list of all items, if any.\n" * 12


class Done:
    """What one call left: exit code, standard output, standard error."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> dict[str, Any]:
        """The one object on standard output."""
        assert self.code in (0, 1), self.err
        assert self.out.count("\n") == 1
        return dict(json.loads(self.out))


Cli = Callable[..., Done]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run one verb in this process."""

    def call(*arguments: object) -> Done:
        capsys.readouterr()
        code = run_cli([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call


def typed(*arguments: object, **options: Any) -> Done:
    """Run the installed program."""
    done = subprocess.run(
        [str(PROGRAM), *map(str, arguments)], capture_output=True, text=True, **options
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random 1-layer checkpoint, its vocabulary, a text, and its artifact."""
    folder = tmp_path_factory.mktemp("small")
    save_upstream(folder / "model.pth", random_model(layers=1, width=16))
    write_vocabulary(folder / "vocab.json")
    (folder / "text.txt").write_text(TEXT)
    arguments = ["convert", folder / "model.pth", "--vocab", folder / "vocab.json"]
    options = ["--calibrate", folder / "text.txt", "-o", folder / "model.sgn", "-q"]
    assert run_cli([str(argument) for argument in arguments + options]) == 0
    return folder


def one_error_line(done: Done, code: int) -> str:
    assert done.code == code, done.err
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1, done.err
    return done.err


# Each verb, and the keys a caller relies on.


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """The example, converted by the installed program without a calibration text."""
    path = tmp_path_factory.mktemp("example") / "pydoc.sgn"
    return path, typed("convert", EXAMPLE, "--vocab", EXAMPLE_VOCAB, "-o", path, "--json")


def test_convert_reports_what_it_wrote(converted: tuple[Path, Done]) -> None:
    path, done = converted
    report = done.json
    assert list(report) == [
        *("artifact", "layers", "width", "vocab_size"),
        *("parameters", "vocabulary", "vocabulary_file"),
        *("lif_tau", "lif_tau_from", "lif_threshold", "lif_threshold_from"),
        *("lif_reset", "lif_reset_from", "bytes", "seconds", "peak_rss_bytes"),
        *("weight_density", "synops_over_dense", "calibration_delta_bits"),
        *("calibration_predicted_delta_bits", "remarks"),
    ]
    assert (report["weight_density"], report["synops_over_dense"]) == (1.0, None)
    assert (report["layers"], report["width"], report["vocab_size"]) == (4, 128, 96)
    assert report["parameters"] == 882_688
    assert report["artifact"] == str(path)
    assert report["bytes"] == sum(file.stat().st_size for file in path.iterdir())
    assert report["peak_rss_bytes"] > EXAMPLE.stat().st_size
    assert report["remarks"] == []
    assert all(line.startswith("converting: ") for line in done.err.splitlines())


def test_a_sparse_artifact_says_what_it_lost(cli: Cli, small: Path, tmp_path: Path) -> None:
    command = ("convert", small / "model.pth", "--vocab", small / "vocab.json", "--calibrate")
    done = cli(*command, small / "text.txt", "-o", tmp_path / "s.sgn", "--sparsity", 0.5, "--json")
    keys = ("synops_over_dense", "calibration_delta_bits", "calibration_predicted_delta_bits")
    assert done.code == 0, done.err
    assert all(isinstance(done.json[key], float) for key in keys)
    described = cli("info", tmp_path / "s.sgn", "--json").json
    assert {key: described[key] for key in keys} == {key: done.json[key] for key in keys}
    assert described["thresholds"]["head.input"]["payload"] == 127
    assert "threshold of head.input" in cli("info", tmp_path / "s.sgn").out
    found = cli("evaluate", tmp_path / "s.sgn", small / "text.txt", "--json").json
    assert found["synops_over_dense"] == pytest.approx(0.5, abs=0.05)
    assert found["weight_density"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--sparsity", 1), "--sparsity 1: expected a share"),
        (("--sparsity", -0.5), "--sparsity -0.5: expected a share"),
        (("--prune", 1.5), "--prune 1.5: expected a share"),
        (("--sparsity-budget", 0), "--sparsity-budget 0: expected a loss above 0"),
    ],
)
def test_a_share_or_a_budget_out_of_range_is_a_usage_error(
    cli: Cli, small: Path, tmp_path: Path, options: tuple[str, float], said: str
) -> None:
    done = cli("convert", small / "model.pth", "-o", tmp_path / "never.sgn", *options)
    assert said in one_error_line(done, code=2)
    assert not (tmp_path / "never.sgn").exists()


def test_a_budget_of_a_model_without_a_clue_is_refused(
    cli: Cli, small: Path, tmp_path: Path
) -> None:
    command = ("convert", small / "model.pth", "--vocab", small / "vocab.json", "--calibrate")
    done = cli(*command, small / "text.txt", "-o", tmp_path / "n", "--sparsity-budget", 0.02, "-q")
    assert "--sparsity-budget means nothing" in one_error_line(done, code=3)


def test_info_of_an_artifact_and_of_its_checkpoint(cli: Cli, converted: tuple[Path, Done]) -> None:
    keys = {"kind", "layers", "width", "vocab_size", "parameters", "embedding", "source_sha256"}
    artifact = cli("info", converted[0], "--json").json
    checkpoint = cli("info", EXAMPLE, "--vocab", EXAMPLE_VOCAB, "--json").json
    assert (artifact["kind"], checkpoint["kind"]) == ("artifact", "checkpoint")
    for key in keys - {"kind"}:
        assert artifact[key] == checkpoint[key]
    assert artifact["embedding"] == "binary"
    assert artifact["vocabulary"] == "character"


def test_evaluate_example_beside_its_float_model(cli: Cli, converted: tuple[Path, Done]) -> None:
    arguments = ["--corpus", "python-docs", "--against", EXAMPLE, "--limit", 4096, "--json"]
    report = cli("evaluate", converted[0], *arguments).json
    assert set(report) >= {
        *("bits_per_token", "bits_per_byte", "perplexity", "float_bits_per_token"),
        *("delta_bits_per_token", "spike_mismatch", "saturations", "tokens", "protocol"),
    }
    assert report["tokens"] == 4095
    assert report["saturations"] == 0
    assert 1 < report["bits_per_token"] < 3
    assert abs(report["delta_bits_per_token"]) < 0.02
    assert 0 < report["spike_mismatch"] < 0.1


def test_evaluate_reads_a_file_or_standard_input(cli: Cli, small: Path) -> None:
    from_file = cli("evaluate", small / "model.sgn", small / "text.txt", "--json").json
    piped = typed("evaluate", small / "model.sgn", "-", "--json", input=TEXT).json
    assert from_file == piped
    assert from_file["tokens"] == len(TEXT) - 1
    assert from_file["float_bits_per_token"] is None


def test_evaluate_follows_the_compat_of_the_artifact(cli: Cli, small: Path, tmp_path: Path) -> None:
    checkpoint = save_upstream(tmp_path / "deep.pth", random_model(layers=7, width=16))
    options = ["--vocab", small / "vocab.json", "--calibrate", small / "text.txt"]
    artifact = tmp_path / "deep.sgn"
    assert (
        cli("convert", checkpoint, *options, "-o", artifact, "--compat", "upstream-run").code == 0
    )
    report = cli("evaluate", artifact, small / "text.txt", "--against", checkpoint, "--json").json
    assert abs(report["delta_bits_per_token"]) < 0.1


def test_generate_streams_the_same_text_as_it_reports(cli: Cli, small: Path) -> None:
    arguments = ["generate", small / "model.sgn", "The quick", "-n", 30, "--seed", 5]
    report = cli(*arguments, "--json").json
    assert set(report) == {"text", "tokens", "tokens_per_second"}
    assert report["tokens"] == len(report["text"]) == 30
    plain = cli(*arguments)
    assert plain.out == report["text"] + "\n"
    assert "30 tokens" in plain.err
    assert cli(*arguments, "--quiet").err == ""
    other = cli(*arguments[:-1], 6, "--json").json
    assert other["text"] != report["text"]


def test_generation_at_temperature_zero_needs_no_seed(cli: Cli, small: Path) -> None:
    arguments = ["generate", small / "model.sgn", "a", "-n", 20, "--temperature", 0, "--json"]
    assert cli(*arguments).json["text"] == cli(*arguments).json["text"]


def test_simulate_reference_agrees_with_itself_token_by_token(cli: Cli, small: Path) -> None:
    arguments = ["simulate", small / "model.sgn", "--text", small / "text.txt", "--tokens", 40]
    report = cli(*arguments, "--verify", "--json").json
    assert set(report) >= {
        *("backend", "tokens", "seconds", "startup_seconds"),
        *("matches_reference", "first_mismatch"),
    }
    assert (report["backend"], report["tokens"]) == ("reference", 40)
    assert report["matches_reference"] is True
    assert report["first_mismatch"] is None
    assert cli(*arguments, "--json").json["matches_reference"] is None


def test_a_backend_that_differs_is_named_and_ends_with_1(
    cli: Cli, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spikegpt_neuro.backends.reference import ReferenceBackend

    class Wrong(ReferenceBackend):
        def run(self, *arguments: Any, **options: Any) -> Any:
            run = super().run(*arguments, **options)
            run.events["blocks.0.lif1"][3, 2] ^= 1
            return run

    def made(name: str, **options: Any) -> ReferenceBackend:
        return ReferenceBackend(**options) if options else Wrong()

    monkeypatch.setattr("spikegpt_neuro.api.running.get_backend", made)
    done = cli("simulate", small / "model.sgn", "--prompt", "The quick", "--verify", "--json")
    assert done.code == 1
    assert done.json["matches_reference"] is False
    assert done.json["first_mismatch"].startswith("blocks.0.lif1, token 3, neuron 2")
    assert done.err.startswith("error: backend reference differs")


def test_simulate_lava_by_block_is_verified(cli: Cli, small: Path) -> None:
    pytest.importorskip("lava")
    arguments = ["--backend", "lava", "--granularity", "block", "--prompt", "The quick brown fox"]
    done = cli("simulate", small / "model.sgn", *arguments, "--verify", "--json")
    assert done.json["matches_reference"] is True
    assert (done.json["granularity"], done.json["frame"]) == ("block", 256)


def test_lava_and_reference_write_the_same_text(cli: Cli, small: Path) -> None:
    pytest.importorskip("lava")
    arguments = ["generate", small / "model.sgn", "The", "-n", 12, "--seed", 1, "--json"]
    texts = [cli(*arguments, "--backend", name).json["text"] for name in ("reference", "lava")]
    assert texts[0] == texts[1]


def test_doctor_tells_versions_and_what_is_missing(cli: Cli) -> None:
    report = cli("doctor", "--json").json
    assert {"python", "torch", "lava", "onnxruntime", "loihi", "profiles"} <= set(report)
    assert report["python"].split(".")[0] == "3"
    assert report["torch"].startswith("2.")
    assert {"lava", "reference"} <= set(report["backends"])
    assert report["products"]
    assert report["products_because"]
    for name, line in report["missing"].items():
        assert report[name] is None
        assert "pip install" in line
    for name, extra in report["extras"].items():
        assert name in extra["install"]
        assert "pip install" in extra["install"]
    assert report["extras"]["torch"]["lacking"] == []


def test_doctor_lists_every_extra_of_the_project(cli: Cli) -> None:
    declared = metadata("spikegpt-neuro").get_all("Provides-Extra")
    out = cli("doctor").out
    assert declared
    for extra in declared:
        assert f"pip install 'spikegpt-neuro[{extra}]'" in out


def test_a_checkpoint_in_place_of_an_artifact_is_to_be_converted(cli: Cli, small: Path) -> None:
    checkpoint = small / "model.pth"
    line = one_error_line(cli("generate", checkpoint, "The"), 3)
    (command,) = re.findall(r"convert a checkpoint first: (spikegpt-neuro convert .*)", line)
    assert shlex.split(command) == [*("spikegpt-neuro", "convert", str(checkpoint)),
                                    *("-o", "model.sgn")]  # fmt: skip
    awkward = small / "it's mine.pth"
    shutil.copy(checkpoint, awkward)
    line = one_error_line(cli("generate", awkward, "The"), 3)
    assert shlex.split(line.split("first: ")[1])[2:] == [str(awkward), "-o", "it's mine.sgn"]
    line = one_error_line(cli("map", "hf:owner/name@main", "--hw", "loihi2"), 3)
    assert "convert hf:owner/name@main -o name.sgn" in line


def test_a_folder_of_weights_is_to_be_converted_and_a_damaged_artifact_is_not(
    cli: Cli, small: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    shutil.copy(small / "model.pth", folder)
    assert "convert a checkpoint first" in one_error_line(cli("generate", folder, "The"), 3)
    artifact = tmp_path / "broken.sgn"
    shutil.copytree(small / "model.sgn", artifact)
    (artifact / "graph.json").unlink()
    assert "convert a checkpoint first" not in one_error_line(cli("generate", artifact, "The"), 3)


def test_figures_have_units_and_words() -> None:
    shown = {
        ("peak_rss_bytes", 286_654_464): ("peak memory", "287 MB"),
        ("seconds_per_token", 0.000_131_4): ("seconds per token", "131 µs"),
        ("joules_per_token", 1.38e-4): ("joules per token", "138 µJ"),
        ("tokens_per_second", 7610.6): ("tokens per second", "7,611 tokens/s"),
        ("synops_over_dense", 0.706): ("synaptic operations over dense", "0.706"),
        ("lif_tau", 2.0): ("LIF tau", "2"),
        ("seconds", None): ("seconds", "-"),
        ("threshold of a_b", "1 of 2"): ("threshold of a_b", "1 of 2"),
        ("synaptic_memory_used", 962_560): ("synaptic memory used", "963 kB"),
        ("spike_mismatch", 0.036_227): ("spike mismatch", "3.62 %"),
    }
    for given, wanted in shown.items():
        assert (in_words(given[0]), with_unit(*given)) == wanted
    by_schedule = {"pipelined": 1.131e-5, "fall-through": 1.058e-4}
    assert with_unit("seconds_per_token", by_schedule) == "pipelined 11.3 µs, fall-through 106 µs"
    busiest = {"name": "chip 0 core 62", "busy_seconds": 8.95e-6}
    assert with_unit("busiest_core", busiest) == "name chip 0 core 62, busy seconds 8.95 µs"


# Output that a person or a program can read.


def test_plain_output_names_each_figure(cli: Cli, small: Path) -> None:
    lines = cli("info", small / "model.sgn").out.splitlines()
    assert ["layers", "1"] in [line.split() for line in lines]
    assert ["vocabulary", "size", "96"] in [line.split() for line in lines]
    assert not any("_" in line.split("  ")[0] for line in lines)


def test_no_escape_codes_off_a_terminal(small: Path) -> None:
    done = typed("evaluate", small / "model.sgn", small / "text.txt")
    assert "\x1b" not in done.out + done.err


def test_a_terminal_with_another_encoding_does_not_break_generate(small: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = typed("generate", small / "model.sgn", "a", "-n", 5, env=environment)
    assert done.code == 0


def test_a_reader_that_leaves_early_is_no_error(small: Path) -> None:
    command = f"{PROGRAM} info {small / 'model.sgn'} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "error" not in done.stderr


def test_a_librarys_end_of_file_is_no_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cut(*_: object) -> None:
        raise EOFError("Ran out of input")

    monkeypatch.setattr("spikegpt_neuro.api.doctor", cut)
    assert run_cli(["doctor"]) == 70
    assert capsys.readouterr().err.strip().startswith("error: EOFError: Ran out of input")


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [(signal.SIGINT, 130, "error: interrupted"), (signal.SIGTERM, 143, "error: terminated")],
)
def test_an_interrupt_and_what_slurm_sends_end_alike(
    small: Path, end: signal.Signals, code: int, said: str
) -> None:
    arguments = ["generate", str(small / "model.sgn"), "a", "-n", "100000000"]
    with child(
        [str(PROGRAM), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        process.send_signal(end)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert errors.decode().strip() == said


@pytest.mark.parametrize(("end", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_the_steps_that_were_finished(
    small: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, end: signal.Signals, code: int
) -> None:
    from spikegpt_neuro.backends.cycle import simulator
    from spikegpt_neuro.backends.cycle.crew import Crew
    from spikegpt_neuro.backends.cycle.timing.models import timing_model

    real = timing_model

    def ending_at_step_20(name: Any, machine: Any) -> Any:
        model = real(name, machine)
        steps, step = count(), model.step

        def signalled(messages: Any) -> Any:
            if next(steps) == 20:
                signal.raise_signal(end)
            return step(messages)

        monkeypatch.setattr(model, "step", signalled)
        return model

    monkeypatch.setattr(simulator, "timing_model", ending_at_step_20)
    monkeypatch.setattr(simulator, "Crew", lambda: Crew(1))  # no others in the making
    before = signal.getsignal(signal.SIGTERM)
    arguments = ("--backend", "cycle", "--hw", "loihi2", "--timing", "detailed", "--json")
    done = cli("simulate", small / "model.sgn", "--prompt", TEXT, *arguments)
    assert done.code == code
    found = json.loads(done.out)["simulation"]
    assert found["interrupted"] is True
    assert found["steps"] == 20
    assert signal.getsignal(signal.SIGTERM) == before


def test_debug_shows_the_traceback(cli: Cli) -> None:
    done = cli("info", "missing.pth", "--debug")
    assert done.code == 3
    assert "Traceback" in done.err
    assert done.err.splitlines()[-1].startswith("error: missing.pth")


def test_an_error_of_the_program_is_one_line_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr("spikegpt_neuro.api.models.read_model", broken)
    line = one_error_line(cli("info", "model.pth"), 70)
    assert "ZeroDivisionError: by zero" in line
    assert "--debug" in line


# Wrong usage: 2.


@pytest.mark.parametrize(
    "arguments",
    [
        "nothing",
        "convert model.pth",
        "convert model.pth -o out.sgn --weight-bits 5",
        "convert model.pth -o out.sgn --compat other",
        "evaluate model.sgn",
        "evaluate model.sgn text.txt --corpus python-docs",
        "evaluate model.sgn text.txt --window 0",
        "generate model.sgn a --temperature -1",
        "generate model.sgn a --top-p 0",
        "generate model.sgn a -n 0",
        "simulate model.sgn",
        "simulate model.sgn --prompt a --text text.txt",
        "simulate model.sgn --prompt a --backend nothing",
        "simulate model.sgn --prompt a --granularity block",
    ],
)
def test_wrong_usage(
    cli: Cli, small: Path, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    monkeypatch.chdir(small)
    one_error_line(cli(*arguments.split()), 2)
    assert not (small / "out.sgn").exists()


def test_no_verb_shows_the_help(cli: Cli) -> None:
    done = cli()
    assert done.code == 2
    assert "Usage: spikegpt-neuro" in done.err


# Bad input: one line, exit code 3, nothing half-written.


def _pickle_that_runs_code(path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.system, (f"touch {path}.ran",))

    torch.save({"emb.weight": Payload()}, path)


def _changed(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    model = random_model(layers=1, width=16)
    save_upstream(path, model)
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)


def _set(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda state: state.update({name: value})


def _not_a_number(state: dict[str, Any]) -> None:
    state["blocks.0.att.key.weight"][3, 2] = float("nan")


def _infinite(state: dict[str, Any]) -> None:
    state["head.weight"][0, 0] = float("inf")


def _no_blocks(state: dict[str, Any]) -> None:
    for name in [name for name in state if name.startswith("blocks.")]:
        del state[name]


def _vanilla(path: Path) -> None:
    model: SpikeGPT = random_model(layers=1, width=16)
    characters = write_vocabulary(path.with_suffix(".json")).read_text(encoding="utf-16")
    vocabulary = {"type": "char", "characters": list(json.loads(characters).values())}
    torch.save(myelin_payload(model, vocabulary, attention="vanilla"), path)


BAD_CHECKPOINTS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "missing file": (lambda path: None, ["model.pth"]),
    "empty file": (lambda path: path.write_bytes(b""), ["model.pth"]),
    "truncated": (
        lambda path: path.write_bytes(EXAMPLE.read_bytes()[:200_000]),
        ["truncated"],
    ),
    "not a zip": (lambda path: path.write_bytes(pickle.dumps({"a": 1})), ["not a checkpoint"]),
    "git lfs pointer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        ["LFS"],
    ),
    "pickle that runs code": (_pickle_that_runs_code, ["model.pth"]),
    "no blocks": (lambda path: _changed(path, _no_blocks), ["block"]),
    "missing tensor": (
        lambda path: _changed(path, lambda state: state.pop("blocks.0.ln2.bias")),
        ["blocks.0.ln2.bias"],
    ),
    "extra tensor": (
        lambda path: _changed(path, _set("blocks.0.att.extra", torch.zeros(3))),
        ["blocks.0.att.extra"],
    ),
    "wrong shape": (
        lambda path: _changed(path, _set("blocks.0.ffn.key.weight", torch.zeros(63, 16))),
        ["blocks.0.ffn.key.weight", "63", "64"],
    ),
    "nan": (lambda path: _changed(path, _not_a_number), ["blocks.0.att.key.weight"]),
    "infinity": (lambda path: _changed(path, _infinite), ["head.weight"]),
    "vanilla attention": (_vanilla, ["vanilla"]),
}


@pytest.mark.parametrize("case", sorted(BAD_CHECKPOINTS))
def test_bad_checkpoints(cli: Cli, small: Path, tmp_path: Path, case: str) -> None:
    make, words = BAD_CHECKPOINTS[case]
    checkpoint = tmp_path / "in" / "model.pth"
    checkpoint.parent.mkdir()
    make(checkpoint)
    options = [] if case == "vanilla attention" else ["--vocab", small / "vocab.json"]
    before = sorted(tmp_path.rglob("*"))
    line = one_error_line(cli("convert", checkpoint, *options, "-o", tmp_path / "out.sgn"), 3)
    for word in words:
        assert word in line
    assert sorted(tmp_path.rglob("*")) == before


def test_vocabulary_of_another_size(cli: Cli, small: Path, tmp_path: Path) -> None:
    vocab = write_vocabulary(tmp_path / "other.json", "abc")
    line = one_error_line(
        cli("convert", small / "model.pth", "--vocab", vocab, "-o", tmp_path / "o.sgn"), 3
    )
    assert "3" in line
    assert "96" in line
    assert not (tmp_path / "o.sgn").exists()


def test_no_vocabulary_at_all(cli: Cli, small: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "alone.pth"
    shutil.copy(small / "model.pth", checkpoint)
    line = one_error_line(cli("convert", checkpoint, "-o", tmp_path / "o.sgn"), 3)
    assert "--vocab" in line


def test_characters_outside_the_vocabulary(cli: Cli, small: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.txt"
    foreign.write_text("naïve café\n" * 30, encoding="utf-8")
    vocab = ["--vocab", small / "vocab.json"]
    calls = [
        ["evaluate", small / "model.sgn", foreign],
        ["generate", small / "model.sgn", "naïve café", "-n", 3],
        ["simulate", small / "model.sgn", "--text", foreign],
        ["convert", small / "model.pth", *vocab, "--calibrate", foreign, "-o", tmp_path / "o.sgn"],
    ]
    for call in calls:
        line = one_error_line(cli(*call), 3)
        assert "U+00EF" in line or "\\xef" in line
        assert "--unknown replace" in line
        assert not (tmp_path / "o.sgn").exists()
        assert cli(*call, "--unknown", "replace").code == 0


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\xfd abc", b"a"])
def test_texts_that_cannot_be_scored(cli: Cli, small: Path, tmp_path: Path, content: bytes) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(content)
    one_error_line(cli("evaluate", small / "model.sgn", text), 3)
    one_error_line(cli("evaluate", small / "model.sgn", tmp_path / "absent.txt"), 3)


def test_an_empty_prompt(cli: Cli, small: Path) -> None:
    assert "empty" in one_error_line(cli("generate", small / "model.sgn", ""), 3)
    assert "empty" in one_error_line(cli("simulate", small / "model.sgn", "--prompt", ""), 3)


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def _other_schema(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"schema_version": 99}))


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda folder: _flip(folder / "weights.safetensors"), "checksum"),
        (lambda folder: _flip(folder / "graph.json"), "checksum"),
        (lambda folder: (folder / "graph.json").unlink(), "graph.json"),
        (_other_schema, "schema"),
    ],
)
def test_damaged_artifacts(
    cli: Cli, small: Path, tmp_path: Path, damage: Callable[[Path], None], word: str
) -> None:
    folder = tmp_path / "model.sgn"
    shutil.copytree(small / "model.sgn", folder)
    damage(folder)
    for call in (
        ["info", folder],
        ["generate", folder, "a"],
        ["simulate", folder, "--prompt", "a"],
    ):
        assert word in one_error_line(cli(*call), 3)


def test_an_output_that_exists_is_kept_without_force(cli: Cli, small: Path, tmp_path: Path) -> None:
    arguments = ["convert", small / "model.pth", "--vocab", small / "vocab.json"]
    arguments += ["--calibrate", small / "text.txt", "-o", tmp_path / "o.sgn"]
    assert cli(*arguments).code == 0
    stamp = (tmp_path / "o.sgn" / "config.json").stat().st_mtime_ns
    begin = time.perf_counter()
    assert "--force" in one_error_line(cli(*arguments), 3)
    assert time.perf_counter() - begin < 1  # told before the work, not after
    assert (tmp_path / "o.sgn" / "config.json").stat().st_mtime_ns == stamp
    assert cli(*arguments, "--force", "--weight-bits", 4).code == 0
    assert cli("info", tmp_path / "o.sgn", "--json").json["weight_bits"] == 4


def test_an_output_that_is_not_ours_or_cannot_be_written(
    cli: Cli, small: Path, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("")
    arguments = ["convert", small / "model.pth", "--vocab", small / "vocab.json", "--force"]
    for output in (precious, tmp_path / "file", tmp_path / "file" / "o", tmp_path / "no" / "o"):
        one_error_line(cli(*arguments, "-o", output), 3)
    assert (precious / "thesis.tex").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "precious"]


def test_missing_lava_is_4_with_the_install_line(cli: Cli, small: Path, tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    arguments = ["--backend", "lava", "--lava-python", bare, "--prompt", "abc"]
    line = one_error_line(cli("simulate", small / "model.sgn", *arguments), 4)
    assert "pip install" in line


def test_token_ids_out_of_range_are_named(small: Path) -> None:
    import spikegpt_neuro as sgn
    from spikegpt_neuro.errors import UnsupportedInput

    graph = sgn.load(small / "model.sgn")
    with pytest.raises(UnsupportedInput, match=r"token id 96 at position 1 .*0\.\.95"):
        sgn.run(graph, np.array([0, 96]))


@pytest.mark.parametrize(("options", "shown"), [([], True), (["--quiet"], False)])
def test_progress_shows_on_a_terminal_only(small: Path, options: list[str], shown: bool) -> None:
    ours, theirs = os.openpty()
    arguments = ["evaluate", str(small / "model.sgn"), str(small / "text.txt"), *options]
    with open(ours, "rb", buffering=0) as terminal:
        subprocess.run(
            [str(PROGRAM), *arguments], stdout=subprocess.PIPE, stderr=theirs, check=True
        )
        os.write(theirs, b"end")
        assert (b"evaluating" in terminal.read(1 << 16)) is shown
    os.close(theirs)


# The LIF and remarks on a conversion


@pytest.fixture
def untold(small: Path, tmp_path: Path) -> Path:
    """The small checkpoint with a time mix beyond its format, beside a configuration."""
    state = torch.load(small / "model.pth", weights_only=True)
    state["blocks.0.att.time_mix_k"] = torch.full_like(state["blocks.0.att.time_mix_k"], 20.0)
    torch.save(state, tmp_path / "model.pth")
    shutil.copy(small / "vocab.json", tmp_path)
    (tmp_path / "config.json").write_text('{"lif_tau": 4.0}')
    return tmp_path


def test_convert_and_info_tell_the_lif_and_the_remarks(cli: Cli, untold: Path) -> None:
    artifact = untold / "model.sgn"
    text = ("--calibrate", untold.parent / "text.txt")
    (untold.parent / "text.txt").write_text("The return value is the same. " * 20)
    given = ("--lif-threshold", "0.8")
    done = cli("convert", untold / "model.pth", *given, *text, "-o", artifact, "--json")
    assert done.code == 0
    told = {
        "lif_tau": 4.0,
        "lif_tau_from": "stated: config.json",
        "lif_threshold": 0.8,
        "lif_threshold_from": "stated: option",
        "lif_reset": 0.0,
        "lif_reset_from": "assumed",
    }
    assert told.items() <= done.json.items()
    clipped = "blocks.0.att.time_mix_k: 16 of 16 values lie beyond +-7.99976"
    assert sum(text.startswith(clipped) for text in done.json["remarks"]) == 1
    assert clipped in done.err
    info = cli("info", artifact, "--json")
    assert told.items() <= info.json.items()
    assert sum(text.startswith(clipped) for text in info.json["remarks"]) == 1
    lines = cli("info", untold / "model.pth").out.splitlines()
    shown = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in lines)
    assert (shown["LIF tau"], shown["LIF tau from"]) == ("4", "stated: config.json")
    assert (shown["LIF threshold"], shown["LIF threshold from"]) == ("1", "assumed")


def test_options_that_contradict_a_file_or_make_no_neuron(cli: Cli, untold: Path) -> None:
    model = untold / "model.pth"
    line = one_error_line(cli("info", model, "--lif-tau", "2"), 3)
    assert "tau is 4 (stated: config.json), but --lif-tau gives 2" in line
    assert cli("info", model, "--lif-tau", "4").code == 0
    assert "--lif-threshold" in one_error_line(cli("info", model, "--lif-threshold", "nan"), 2)


@pytest.mark.parametrize(
    "name", ["convert", "info", "evaluate", "export", "finetune", "report", "bench"]
)
def test_every_verb_that_reads_a_checkpoint_takes_the_lif(cli: Cli, name: str) -> None:
    text = cli(name, "--help").out
    assert all(option in text for option in ("--lif-tau", "--lif-threshold", "--lif-reset"))


def test_a_changed_logit_scale_is_3(cli: Cli, small: Path, tmp_path: Path) -> None:
    shutil.copytree(small / "model.sgn", tmp_path / "a.sgn")
    file = tmp_path / "a.sgn" / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"logit_scale": 2 * config["logit_scale"]}))
    line = one_error_line(cli("info", tmp_path / "a.sgn"), 3)
    assert "config.json: its content differs from its checksum" in line


def test_options_that_errors_name_can_be_typed() -> None:
    """What a message of the library spells ``name=...`` is an option of some verb."""
    spelled = re.compile(r"[\"' (]([a-z]+(?:_[a-z]+)*)=\.\.\.")
    sources = [*(ROOT / "spikegpt_neuro").rglob("*.py"), *(ROOT / "converters").rglob("*.py")]
    named = {name for file in sources for name in spelled.findall(file.read_text())}
    typed = {
        flag
        for verb in VERBS
        for option in group.get_command(click.Context(group), verb).params  # type: ignore[union-attr]
        for flag in option.opts
    }
    assert "calibration" in named
    assert {as_typed(f"{name}=...") for name in named} - typed == set()
