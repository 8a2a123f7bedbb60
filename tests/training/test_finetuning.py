"""A fine-tuning on disk: interrupted anywhere, it goes on as if nothing had been."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import spikegpt_neuro as sgn  # noqa: E402
from spikegpt_neuro.converters.reader import read_checkpoint  # noqa: E402
from spikegpt_neuro.converters.writer import checkpoint_files, write_checkpoint  # noqa: E402
from spikegpt_neuro.errors import CannotWrite, UnsupportedInput, UsageError  # noqa: E402
from spikegpt_neuro.files import atomic_file  # noqa: E402
from spikegpt_neuro.training import keeping  # noqa: E402
from spikegpt_neuro.training.gradients import Threads  # noqa: E402
from spikegpt_neuro.training.keeping import Folder  # noqa: E402
from spikegpt_neuro.training.recipe import Recipe  # noqa: E402
from spikegpt_neuro.training.trainer import Trainer  # noqa: E402

from disks import mounted  # noqa: E402
from places import SUPPORT  # noqa: E402
from random_models import random_model, random_tokens, save_upstream  # noqa: E402

MODEL = random_model(1, 8, 11)
TEXT = random_tokens(MODEL, 900)
KEPT = ("config.json", "model.safetensors", "optimizer.safetensors", "log.jsonl")
STEPS = 24
OPTIONS: dict[str, Any] = {
    "synops": 0.4,
    "prune": 0.3,
    "steps": STEPS,
    "batch": 2,
    "window": 12,
    "learning_rate": 0.01,
    "threads": 1,
    "save_every": 7,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model"
    write_checkpoint(MODEL, path)
    return path


@pytest.fixture(scope="module")
def whole(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run leaves that nobody interrupts."""
    path = tmp_path_factory.mktemp("whole") / "tuned"
    sgn.finetune(checkpoint, TEXT, path, **OPTIONS)
    return content(path)


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in KEPT}


def steps_of(folder: Path) -> list[int]:
    """The steps that the log has."""
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def kept_step(folder: Path) -> int:
    return Folder(folder, checkpoint_files).kept()


def at_step(step: int) -> Callable[[sgn.Underway], None]:
    """Ctrl-C after a step."""

    def progress(now: sgn.Underway) -> None:
        if now.step == step:
            raise KeyboardInterrupt

    return progress


def test_what_a_run_leaves(checkpoint: Path, tmp_path: Path) -> None:
    seen: list[sgn.Underway] = []
    found = sgn.finetune(checkpoint, TEXT, tmp_path / "t", progress=seen.append, **OPTIONS)
    assert [now.step for now in seen] == steps_of(tmp_path / "t") == list(range(1, STEPS + 1))
    assert seen[-1].seconds_left == 0
    assert (found.checkpoint, found.steps) == (str(tmp_path / "t"), STEPS)
    assert found.weight_density == seen[-1].weight_density
    model = read_checkpoint(tmp_path / "t")
    assert model.weight_density == pytest.approx(found.weight_density)
    assert model.sparsities == ("dead zones", "pruned weights")
    described = sgn.describe(tmp_path / "t")
    assert described.weight_density == pytest.approx(found.weight_density)
    assert described.remarks == ()
    assert re.match(r"FineTuned\(checkpoint='.*, steps=24, bits_per_token=\d", repr(found))
    assert found.to_dict()["steps"] == STEPS
    lines = (tmp_path / "t" / "log.jsonl").read_text().splitlines()
    assert list(json.loads(lines[0])) == [
        *("step", "bits_per_token", "divergence", "synops_over_dense", "weight_density"),
        *("price", "learning_rate"),
    ]


def test_a_resumption_of_nothing_begins(
    checkpoint: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    sgn.finetune(checkpoint, TEXT, tmp_path / "t", resume=True, **OPTIONS)
    assert content(tmp_path / "t") == whole
    again = sgn.finetune(checkpoint, TEXT, tmp_path / "t", resume=True, **OPTIONS)
    assert (again.steps, again.tokens_per_second) == (STEPS, 0)
    assert content(tmp_path / "t") == whole


@pytest.mark.parametrize("steps", [(1,), (6, 7, 8), (13, 20), (23,), (24,)])
def test_interrupted_between_steps(
    checkpoint: Path, whole: dict[str, bytes], tmp_path: Path, steps: tuple[int, ...]
) -> None:
    """Nothing that was finished is done again."""
    for step in steps:
        with pytest.raises(KeyboardInterrupt):
            sgn.finetune(
                checkpoint, TEXT, tmp_path / "t", resume=True, progress=at_step(step), **OPTIONS
            )
        assert steps_of(tmp_path / "t") == list(range(1, step + 1))
    seen: list[int] = []
    sgn.finetune(
        checkpoint,
        TEXT,
        tmp_path / "t",
        resume=True,
        progress=lambda now: seen.append(now.step),
        **OPTIONS,
    )
    assert seen == list(range(steps[-1] + 1, STEPS + 1))
    assert content(tmp_path / "t") == whole


def interrupting(real: Callable[..., Any], call: int, *, before: bool) -> Callable[..., Any]:
    """A function whose so-manyth call is interrupted, before or after its work."""
    calls = 0

    def called(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and before:
            raise KeyboardInterrupt
        found = real(*arguments, **options)
        if calls == call:
            raise KeyboardInterrupt
        return found

    return called


@pytest.mark.parametrize(
    ("owner", "name", "call", "kept"),
    [
        (Trainer, "prepare", 21, 20),  # masks were just chosen
        (Trainer, "windows", 12, 11),
        (Threads, "sums", 12, 11),
        (Trainer, "learn", 12, 7),  # half moved: back to what was kept
        (Folder, "log", 12, 12),
        (Folder, "save", 2, 14),
        (keeping, "tensor_blocks", 2, 14),
        (keeping, "append", 12, 12),
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_interrupted_inside_a_step(
    checkpoint: Path,
    whole: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    call: int,
    kept: int,
    before: bool,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupting(getattr(owner, name), call, before=before))
        with pytest.raises(KeyboardInterrupt):
            sgn.finetune(checkpoint, TEXT, tmp_path / "t", **OPTIONS)
    assert kept_step(tmp_path / "t") == kept
    read_checkpoint(tmp_path / "t")
    sgn.finetune(checkpoint, TEXT, tmp_path / "t", resume=True, **OPTIONS)
    assert content(tmp_path / "t") == whole


def test_a_signal_that_comes_while_weights_move_waits(
    checkpoint: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, calls = Trainer.learn, iter(range(1, STEPS + 1))

    def disturbed(self: Trainer, gradients: Any) -> None:
        if next(calls) == 12:
            signal.raise_signal(signal.SIGINT)
        learn(self, gradients)

    monkeypatch.setattr(Trainer, "learn", disturbed)
    with pytest.raises(KeyboardInterrupt):
        sgn.finetune(checkpoint, TEXT, tmp_path / "t", **OPTIONS)
    assert kept_step(tmp_path / "t") == 12
    monkeypatch.undo()
    sgn.finetune(checkpoint, TEXT, tmp_path / "t", resume=True, **OPTIONS)
    assert content(tmp_path / "t") == whole


def test_interrupted_in_the_middle_of_a_line_and_of_a_file(
    checkpoint: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(path: Path, text: str) -> None:
        with path.open("a") as file:
            file.write(text[: len(text) // 2] if text.startswith('{"step": 9,') else text)
        if text.startswith('{"step": 9,'):
            monkeypatch.undo()
            raise KeyboardInterrupt

    monkeypatch.setattr(keeping, "append", half)
    with pytest.raises(KeyboardInterrupt):
        sgn.finetune(checkpoint, TEXT, tmp_path / "t", **OPTIONS)
    assert steps_of(tmp_path / "t") == list(range(1, 10))
    for call, step in ((1, 14), (2, 21), (3, 24)):  # configuration, weights, state
        with monkeypatch.context() as patch:
            patch.setattr(keeping, "atomic_file", interrupting(atomic_file, call, before=True))
            with pytest.raises(KeyboardInterrupt):
                sgn.finetune(checkpoint, TEXT, tmp_path / "t", resume=True, **OPTIONS)
        assert kept_step(tmp_path / "t") == step
    sgn.finetune(checkpoint, TEXT, tmp_path / "t", resume=True, **OPTIONS)
    assert content(tmp_path / "t") == whole


def test_killed_at_random_moments(checkpoint: Path, tmp_path: Path) -> None:
    """Again and again; the next run goes on, and in the end nothing differs."""
    script = [sys.executable, str(SUPPORT / "killed_finetuning.py"), str(checkpoint)]
    done = subprocess.run([*script, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] >= 2, found
    assert found["equal"], found
    assert found["left"] == ["killed", "whole"]


# What cannot go on


@pytest.fixture
def begun(checkpoint: Path, tmp_path: Path) -> Path:
    """A fine-tuning of which the first steps are done."""
    with suppress(KeyboardInterrupt):
        sgn.finetune(checkpoint, TEXT, tmp_path / "t", progress=at_step(8), **OPTIONS)
    return tmp_path / "t"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"synops": 0.5}, "with synops=0.4, not 0.5"),
        ({"synops": None}, "with synops=0.4, not None"),
        ({"steps": 100}, "with steps=24, not 100"),
        ({"seed": 1}, "with seed=0, not 1"),
        ({"weight_bits": 4}, "with weight_bits=8, not 4"),
        ({"text": TEXT[1:]}, "on another text"),
        ({"checkpoint": random_model(1, 8, 11, seed=3)}, "of another checkpoint"),
    ],
)
def test_a_resumption_asks_for_the_same(
    checkpoint: Path, begun: Path, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    given = OPTIONS | options
    if other := given.pop("checkpoint", None):
        checkpoint = tmp_path / "other"
        write_checkpoint(other, checkpoint)
    text = given.pop("text", TEXT)
    before = content(begun)
    with pytest.raises(UsageError, match=f"is a fine-tuning {said}: go on with the same"):
        sgn.finetune(checkpoint, text, begun, resume=True, **given)
    assert content(begun) == before


def test_a_resumption_with_another_lif(tmp_path: Path) -> None:
    """The weights are the same file; what they mean is not."""
    save_upstream(tmp_path / "m.pth", MODEL)
    begin = OPTIONS | {"steps": 1, "prune": 0.0}
    sgn.finetune(tmp_path / "m.pth", TEXT, tmp_path / "t", lif_tau=3.0, **begin)
    others: list[dict[str, Any]] = [{}, {"lif_tau": 4.0}, {"lif_tau": 3.0, "lif_threshold": 0.5}]
    for other in others:
        with pytest.raises(UsageError, match="is a fine-tuning of a model of another LIF or shape"):
            sgn.finetune(tmp_path / "m.pth", TEXT, tmp_path / "t", resume=True, **begin, **other)
    sgn.finetune(tmp_path / "m.pth", TEXT, tmp_path / "t", resume=True, lif_tau=3.0, **begin)


def test_what_halves_its_stream_is_not_trained(tmp_path: Path) -> None:
    """An export of upstream's inference script remembers how often; a checkpoint does not."""
    pytest.importorskip("onnx")
    save_upstream(tmp_path / "m.pth", MODEL)
    sgn.export(tmp_path / "m.pth", "onnx-float", tmp_path / "m.onnx", compat="upstream-run")
    with pytest.raises(UnsupportedInput, match=r"^m.onnx: was exported with .* exported from$"):
        sgn.finetune(tmp_path / "m.onnx", TEXT, tmp_path / "t", **OPTIONS)
    assert not (tmp_path / "t").exists()


def test_threads_and_how_often_to_keep_may_change(checkpoint: Path, begun: Path) -> None:
    other = OPTIONS | {"threads": 2, "save_every": 1}
    assert sgn.finetune(checkpoint, TEXT, begun, resume=True, **other).steps == STEPS


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def replaced(old: str, new: str) -> Callable[[Path], None]:
    """A change of a file that keeps its length."""
    assert len(old) == len(new)

    def change(path: Path) -> None:
        data = path.read_bytes()
        assert old.encode() in data
        path.write_bytes(data.replace(old.encode(), new.encode()))

    return change


def of_nan(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-4] + np.float32(np.nan).tobytes())


@pytest.mark.parametrize(
    ("file", "damage", "said"),
    [
        ("optimizer.safetensors", cut, "damaged: "),
        ("optimizer.safetensors", lambda path: path.write_bytes(b""), "damaged: "),
        ("optimizer.safetensors", lambda path: path.write_bytes(b"\xff" * 99), "damaged: "),
        ("optimizer.safetensors", of_nan, "is not finite"),
        ("optimizer.safetensors", replaced("scale:head.weight", "scale:head.weighs"), "is missing"),
        ("optimizer.safetensors", replaced('"F32","shape":[8]', '"I32","shape":[8]'), "is missing"),
        ("optimizer.safetensors", replaced('\\"step\\": 8', '\\"step\\":-8'), "of another fine"),
        ("optimizer.safetensors", replaced('\\"step\\": 8', '\\"stop\\": 8'), "step"),
        ("optimizer.safetensors", replaced("head.input", "head.inpux"), "of another fine-tuning"),
        ("finetune.json", lambda path: path.write_text("{"), "not valid JSON"),
        ("finetune.json", lambda path: path.write_text('{"recipe": 5}'), "recipe"),
        ("finetune.json", replaced('"steps": 24', '"steps": -4'), "steps=-4: expected at least 1"),
    ],
)
def test_a_damaged_state_is_one_line(
    checkpoint: Path, begun: Path, file: str, damage: Callable[[Path], object], said: str
) -> None:
    damage(begun / file)
    with pytest.raises(UnsupportedInput) as error:
        sgn.finetune(checkpoint, TEXT, begun, resume=True, **OPTIONS)
    assert str(error.value).startswith(str(begun / file))
    assert said in str(error.value)
    assert str(error.value).endswith("begin anew with force=True")
    found = sgn.finetune(checkpoint, TEXT, begun, force=True, **OPTIONS)
    assert found.steps == STEPS


def test_a_lost_log_and_a_lost_state(
    checkpoint: Path, begun: Path, whole: dict[str, bytes]
) -> None:
    """Without its log a run goes on; without its state it begins again."""
    (begun / "log.jsonl").unlink()
    with pytest.raises(KeyboardInterrupt):
        sgn.finetune(checkpoint, TEXT, begun, resume=True, progress=at_step(10), **OPTIONS)
    assert steps_of(begun) == [9, 10]
    (begun / "optimizer.safetensors").unlink()
    sgn.finetune(checkpoint, TEXT, begun, resume=True, **OPTIONS)
    assert content(begun) == whole


def test_a_log_that_lost_its_last_byte(
    checkpoint: Path, begun: Path, whole: dict[str, bytes]
) -> None:
    """A line that only its end is missing of is that step's all the same."""
    log = begun / "log.jsonl"
    log.write_bytes(log.read_bytes()[:-1])
    sgn.finetune(checkpoint, TEXT, begun, resume=True, **OPTIONS)
    assert content(begun) == whole


def test_a_log_that_is_no_file(checkpoint: Path, begun: Path) -> None:
    (begun / "log.jsonl").unlink()
    os.mkfifo(begun / "log.jsonl")
    with pytest.raises(UnsupportedInput, match=r"log\.jsonl: is a pipe, not a file"):
        sgn.finetune(checkpoint, TEXT, begun, resume=True, **OPTIONS)


def test_what_is_there_is_not_replaced(checkpoint: Path, begun: Path, tmp_path: Path) -> None:
    before = content(begun)
    with pytest.raises(CannotWrite, match="is a fine-tuning: go on with resume=True, begin anew"):
        sgn.finetune(checkpoint, TEXT, begun, **OPTIONS)
    assert content(begun) == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("text")
    (tmp_path / "file").write_text("text")
    for name in ("other", "file", "no/place"):
        for options in ({"force": True}, {"resume": True}, {}):
            with pytest.raises(CannotWrite):
                sgn.finetune(checkpoint, TEXT, tmp_path / name, **OPTIONS | options)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["file"]


# Disks and divergence


def filled(disk: Path) -> Iterator[Path]:
    """Every byte of a disk is taken."""
    path = disk / "filling"
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    yield path


def test_a_full_disk_keeps_the_last_checkpoint(
    checkpoint: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    with mounted(tmp_path / "disk", "400k") as disk:

        def full_after_nine(now: sgn.Underway) -> None:
            if now.step == 9:
                next(filled(disk))

        with pytest.raises(CannotWrite) as error:
            sgn.finetune(checkpoint, TEXT, disk / "t", progress=full_after_nine, **OPTIONS)
        assert "cannot be written: No space left on device; free space" in str(error.value)
        assert str(error.value).endswith(f"{disk / 't'} keeps the checkpoint of step 7")
        assert read_checkpoint(disk / "t").weight_density == 1
        with pytest.raises(CannotWrite, match=r"No space left .* keeps the checkpoint of step 7$"):
            sgn.finetune(checkpoint, TEXT, disk / "t", resume=True, **OPTIONS)
        (disk / "filling").unlink()
        sgn.finetune(checkpoint, TEXT, disk / "t", resume=True, **OPTIONS)
        assert content(disk / "t") == whole
        assert [path.name for path in disk.iterdir()] == ["t"]


def test_a_disk_that_is_full_at_once(checkpoint: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "16k") as disk:
        with pytest.raises(CannotWrite, match="t cannot be written: No space left on device"):
            sgn.finetune(checkpoint, TEXT, disk / "t", **OPTIONS)
        assert not list(disk.iterdir())


def test_a_run_that_diverges_keeps_the_last_checkpoint(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From step 10 on each weight moves by about 1e30; step 11 sees what comes of that."""
    rate = Recipe.rate
    monkeypatch.setattr(Recipe, "rate", lambda self, step: 1e30 if step >= 9 else rate(self, step))
    with pytest.raises(UnsupportedInput) as error:
        sgn.finetune(checkpoint, TEXT, tmp_path / "t", **OPTIONS)
    assert str(error.value) == (
        "step 11: the loss or its slope is not finite; begin anew with force=True and a "
        f"learning_rate=... below 0.01; {tmp_path / 't'} keeps the checkpoint of step 7"
    )
    before = content(tmp_path / "t")
    assert max(np.abs(t).max() for t in read_checkpoint(tmp_path / "t").tensors.values()) < 10
    monkeypatch.undo()
    with pytest.raises(KeyboardInterrupt):
        sgn.finetune(checkpoint, TEXT, tmp_path / "t", resume=True, progress=at_step(8), **OPTIONS)
    assert content(tmp_path / "t") != before


def test_a_last_step_that_diverges_gives_no_figures(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recipe, "rate", lambda self, step: 1e30)
    with pytest.raises(UnsupportedInput, match="finite"):
        sgn.finetune(checkpoint, TEXT, tmp_path / "t", **OPTIONS | {"steps": 1, "prune": 0.0})
