"""``finetune`` as a user types it: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from spikegpt_neuro.converters.reader import read_checkpoint  # noqa: E402

from children import child  # noqa: E402
from random_models import random_model, save_upstream, write_vocabulary  # noqa: E402
from verbs import Answer, verb  # noqa: E402

PROGRAM = Path(sys.executable).with_name("spikegpt-neuro")
TEXT = "The quick brown fox returns a list of all items, if any.\n" * 12
SMALL = ("--steps", 24, "--batch", 2, "--window", 16, "--threads", 1, "--device", "cpu")
SPARSE = ("--synops", 0.4, "--prune", 0.5)
PATIENCE = 60.0


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random checkpoint, its vocabulary, a text, and what came of them."""
    folder = tmp_path_factory.mktemp("small")
    save_upstream(folder / "model.pth", random_model(layers=1, width=16))
    write_vocabulary(folder / "vocab.json")
    (folder / "text.txt").write_text(TEXT)
    done = finetune(folder, "sparse", *SPARSE, "--json")
    assert done.code == 0, done.err
    (folder / "sparse.json").write_text(done.out)
    return folder


def words(small: Path, output: object, *options: object, text: object = None) -> list[object]:
    """A command line; what ``options`` say holds."""
    place = output if isinstance(output, Path) else small / str(output)
    source = (small / "model.pth", "--vocab", small / "vocab.json")
    return [
        "finetune",
        *source,
        "--text",
        text or small / "text.txt",
        "-o",
        place,
        *SMALL,
        *options,
    ]


def finetune(small: Path, output: object, *options: object, text: object = None) -> Answer:
    return verb(*words(small, output, *options, text=text))


def one_line(done: Answer, code: int) -> str:
    assert done.code == code, done.err
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1, done.err
    return done.err


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_what_it_reports(small: Path) -> None:
    found = json.loads((small / "sparse.json").read_text())
    assert list(found) == [
        *("checkpoint", "steps", "seconds", "tokens_per_second"),
        *("bits_per_token", "bits_per_token_before", "synops_over_dense", "weight_density"),
    ]
    assert (found["checkpoint"], found["steps"]) == (str(small / "sparse"), 24)
    assert found["tokens_per_second"] == pytest.approx(24 * 2 * 16 / found["seconds"])
    assert 0 < found["synops_over_dense"] < 0.6
    assert found["weight_density"] == pytest.approx(0.5, abs=0.001)
    assert found["bits_per_token"] > 0
    assert found["bits_per_token_before"] > 0


def test_what_a_person_reads(small: Path, tmp_path: Path) -> None:
    done = finetune(small, tmp_path / "t", "--corpus", "python-docs")
    assert "give one of --text or --corpus" in one_line(done, 2)
    done = finetune(small, tmp_path / "t", *SPARSE, "-q")
    assert (done.code, done.err) == (0, "")
    assert [line.split()[0] for line in done.out.splitlines()][:2] == ["checkpoint", "steps"]
    assert weights(tmp_path / "t") == weights(small / "sparse")


def test_what_was_written_goes_through_the_other_verbs(small: Path, tmp_path: Path) -> None:
    sparse, artifact = small / "sparse", tmp_path / "s.sgn"
    found = json.loads((small / "sparse.json").read_text())
    described = verb("info", sparse, "--json").figures
    assert described["weight_density"] == pytest.approx(found["weight_density"])
    assert described["dead_zones"]["populations"] == 8
    assert (described["vocabulary_file"], described["remarks"]) == ("vocab.json", [])
    shown = verb("info", sparse).out
    assert "weight density" in shown
    assert "neurons of 8 populations; thresholds" in shown

    done = verb("convert", sparse, "--calibrate", small / "text.txt", "-o", artifact, "--json")
    assert done.figures["weight_density"] == pytest.approx(0.5, abs=0.02)
    (tmp_path / "held-out.txt").write_text(TEXT[len(TEXT) * 9 // 10 :])
    scored = verb(
        *("evaluate", artifact, tmp_path / "held-out.txt", "--window", 16),
        *("--against", sparse, "--json"),
    ).figures
    assert scored["synops_over_dense"] == pytest.approx(found["synops_over_dense"], abs=0.02)
    assert scored["delta_bits_per_token"] == pytest.approx(0, abs=0.2)


def test_it_is_exported_in_floating_point(small: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    path = tmp_path / "m.onnx"
    assert verb("export", small / "sparse", "--to", "onnx-float", "-o", path, "-q").code == 0
    again, model = read_checkpoint(path), read_checkpoint(small / "sparse")
    assert again.dead_zones.keys() == model.dead_zones.keys()
    for name, tensor in model.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], tensor)


# What is refused


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--synops", 0], 2, "synops 0: expected a share above 0"),
        (["--synops", -1], 2, "synops -1: expected"),
        (["--synops", 1.5], 2, "synops 1.5: expected"),
        (["--synops", "nan"], 2, "synops nan: expected"),
        (["--prune", 1], 2, "prune 1: expected a share"),
        (["--prune", "nan"], 2, "prune nan: expected"),
        (["--distill", "nan"], 2, "distill nan: expected 0 to 1"),
        (["--steps", 0], 2, "steps 0: expected at least 1"),
        (["--batch", 0], 2, "batch 0: expected"),
        (["--window", 0], 2, "window 0: expected"),
        (["--learning-rate", "inf"], 2, "learning-rate inf: expected above 0, at most 1"),
        (["--learning-rate", "nan"], 2, "learning-rate nan: expected"),
        (["--learning-rate", 1e25], 2, "learning-rate 1e+25: expected"),
        (["--seed", -1], 2, "--seed"),
        (["--threads", 0], 2, "threads 0: expected at least 1"),
        (["--save-every", 0], 2, "save-every 0: expected at least 1"),
        (["--weight-bits", 5], 2, "--weight-bits"),
        (["--device", "tpu"], 2, "--device"),
        (["--window", 10_000], 3, "too few for a window of 10000"),
        (["--vocab", "missing.json"], 3, "missing.json"),
        (["--lif-tau", -2], 2, "lif-tau"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line(
    small: Path, tmp_path: Path, options: list[object], code: int, said: str
) -> None:
    assert said in one_line(finetune(small, tmp_path / "t", *options), code)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_such_device(small: Path, tmp_path: Path) -> None:
    said = one_line(finetune(small, tmp_path / "t", "--device", "cuda"), 2)
    assert "torch finds no CUDA device; choose --device cpu" in said


def test_texts(small: Path, tmp_path: Path) -> None:
    """Outside the vocabulary, too short, empty, missing, no text."""
    strange, short = tmp_path / "strange.txt", tmp_path / "short.txt"
    strange.write_text(TEXT + "caf\u00e9\n")
    short.write_text(TEXT[:18])
    said = one_line(finetune(small, tmp_path / "t", text=strange), 3)
    assert "\u00e9" in said
    assert "--unknown replace" in said
    assert "too few for a window of 16" in one_line(finetune(small, tmp_path / "t", text=short), 3)
    for content in (b"", b"\xff\xfe\xff"):
        short.write_bytes(content)
        one_line(finetune(small, tmp_path / "t", text=short), 3)
    one_line(finetune(small, tmp_path / "t", text=tmp_path / "missing"), 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["short.txt", "strange.txt"]
    options = ("--unknown", "replace", "--steps", 1, "-q")
    assert finetune(small, tmp_path / "t", *options, text=strange).code == 0


def test_a_resumption_of_something_else(small: Path, tmp_path: Path) -> None:
    shutil.copytree(small / "sparse", tmp_path / "t")
    resumed = (*SPARSE, "--resume")
    said = one_line(finetune(small, tmp_path / "t", *resumed, "--seed", 3), 2)
    assert "with --seed 0, not 3: go on with the same" in said
    assert "begin anew with --force" in said
    (tmp_path / "text.txt").write_text(TEXT * 2)
    said = one_line(finetune(small, tmp_path / "t", *resumed, text=tmp_path / "text.txt"), 2)
    assert "is a fine-tuning on another text" in said
    state = tmp_path / "t" / "optimizer.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    said = one_line(finetune(small, tmp_path / "t", *resumed), 3)
    assert "optimizer.safetensors: damaged: " in said
    assert said.endswith("begin anew with --force\n")
    assert weights(tmp_path / "t") == weights(small / "sparse")


def test_outputs(small: Path, tmp_path: Path) -> None:
    """Something else, a fine-tuning, what is read, and a stream."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("text")
    said = one_line(finetune(small, tmp_path / "other", "--force"), 3)
    assert "holds something else" in said
    said = one_line(finetune(small, "sparse", *SPARSE), 3)
    assert "go on with --resume, begin anew with --force, or choose another output" in said
    assert "is read by this command" in one_line(finetune(small, "model.pth", "--force"), 3)
    assert "is a stream" in one_line(finetune(small, Path("/dev/stdout")), 3)
    again = ["finetune", small / "sparse", "--text", small / "text.txt", "-o", small / "sparse"]
    assert "is read by this command" in one_line(verb(*again, *SMALL, "--force"), 3)


def test_what_was_fine_tuned_is_fine_tuned_again(small: Path, tmp_path: Path) -> None:
    again = ["finetune", small / "sparse", "--text", small / "text.txt", "-o", tmp_path / "t"]
    found = verb(*again, *SMALL, "--synops", 0.2, "--json").figures
    assert found["weight_density"] == pytest.approx(0.5, abs=0.001)
    before = json.loads((small / "sparse.json").read_text())["synops_over_dense"]
    assert found["synops_over_dense"] < before + 0.005
    assert read_checkpoint(tmp_path / "t").pruned


def test_without_torch(small: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from spikegpt_neuro.cli import run; "
        "sys.exit(run(sys.argv[1:]))"
    )
    typed = [str(word) for word in words(small, tmp_path / "t")]
    done = subprocess.run([sys.executable, "-c", code, *typed], capture_output=True, text=True)
    said = one_line(Answer(done.returncode, done.stdout, done.stderr), 4)
    assert "torch is not installed; pip install 'spikegpt-neuro[torch]'" in said


# How it ends


@contextmanager
def running(typed: list[object], log: Path, steps: int) -> Iterator[subprocess.Popen[bytes]]:
    """The program, which has done so many steps."""
    command = [str(PROGRAM), *map(str, typed)]
    with child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        end = time.monotonic() + PATIENCE
        while not log.is_file() or log.read_bytes().count(b"\n") < steps:
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.01)
        yield process


def test_signals(small: Path, tmp_path: Path) -> None:
    """The step that was done is kept, and said; the same command with --resume goes on."""
    typed = words(small, tmp_path / "t", *SPARSE, "--steps", 300, "-q", "--resume")
    log, done = tmp_path / "t" / "log.jsonl", 0
    for end, code, word in (
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
    ):
        with running(typed, log, done + 3) as process:
            process.send_signal(end)
            out, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out) == (code, b"")
        kept, said = filter(None, errors.decode().splitlines())
        assert kept.endswith("of 300 is kept; --resume goes on there")
        assert said == f"error: {word}"
        before, done = done, int(kept.split()[1])
        assert done > before
        read_checkpoint(tmp_path / "t")
    assert verb(*typed).code == 0
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == list(range(1, 301))


def test_progress_off_a_terminal(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spikegpt_neuro.cli.finetune.EVERY_SECONDS", 0.0)
    done = finetune(small, tmp_path / "t", *SPARSE)
    lines = [line for line in done.err.splitlines() if line.startswith("step ")]
    assert len(lines) == 23
    assert lines[0].startswith("step 1 of 24: ")
    assert " of dense, " in lines[0]
    assert " weights, " in lines[-1]
    assert lines[-1].endswith(" left")
