"""Where outputs and standard streams lead: full, closed, of another disk, of another encoding."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spikegpt_neuro.cli import streams, tables
from spikegpt_neuro.cli.progress import EVERY_SECONDS, ProgressLines, duration
from spikegpt_neuro.converters.lowering import lower

from disks import another_disk, mounted
from random_models import random_model, random_tokens, save_safetensors
from verbs import Answer, verb
from writing_verbs import NAMES, NEEDS, TEXT, commands, content, prepare

PROGRAM = Path(sys.executable).with_name("spikegpt-neuro")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with random checkpoints, their vocabulary, a text, and their artifacts."""
    return prepare(tmp_path_factory.mktemp("small"))


def one_line(done: Answer, code: int = 3) -> str:
    assert done.code == code, done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1, done.err
    return done.err


LARGEST = {"convert", "nir", "netx", "onnx", "onnx-float", "report", "job"}


def writer(name: str, small: Path, output: Path) -> Callable[[], Answer]:
    """Writes ``output``, replacing what is there."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    return lambda: verb(*commands(small, output)[name])


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("name", NAMES)
def test_every_verb_that_writes(small: Path, tmp_path: Path, name: str) -> None:
    """Follows a link, replaces, keeps what is there if it cannot, and leaves nothing beside it."""
    (tmp_path / "place").mkdir()
    output, link = tmp_path / "place" / "out", tmp_path / "link"
    link.symlink_to(output)
    write = writer(name, small, link)
    assert write().code == 0
    before = content(output)
    with files_no_larger_than(600):
        said = one_line(write())
    assert f"{link} cannot be written: File too large; raise the limit" in said
    assert content(output) == before
    assert write().code == 0
    assert link.is_symlink()
    assert content(output).keys() == before.keys()
    assert list((tmp_path / "place").iterdir()) == [output]
    with_missing_place = writer(name, small, tmp_path / "no" / "out")
    assert "does not exist; create it first" in one_line(with_missing_place())


@pytest.mark.parametrize("name", sorted(LARGEST))
def test_a_full_disk(small: Path, tmp_path: Path, name: str) -> None:
    with mounted(tmp_path / "disk", "24k") as disk:
        said = one_line(writer(name, small, disk / "out")())
        assert "cannot be written: No space left on device; free space there" in said
        assert not list(disk.iterdir())


def test_a_link_to_another_disk(small: Path, tmp_path: Path) -> None:
    with another_disk(tmp_path) as disk:
        (tmp_path / "link").symlink_to(disk / "model.sgn")
        for bits in (8, 4):
            words = commands(small, tmp_path / "link")["convert"]
            assert verb(*words, "--weight-bits", bits).code == 0
            assert verb("info", tmp_path / "link", "--json").figures["weight_bits"] == bits
        assert (tmp_path / "link").is_symlink()
        assert [path.name for path in disk.iterdir()] == ["model.sgn"]


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_written_is_refused_before_the_work(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("the long work began")

    for place in (
        *("spikegpt_neuro.api.convert", "spikegpt_neuro.api.place", "spikegpt_neuro.api.load"),
        "spikegpt_neuro.backends.cycle.backend.simulate",
        "spikegpt_neuro.backends.loihi.package.capacity",
        "spikegpt_neuro.api.exporting.load",
    ):
        if not (place.endswith("api.load") and name in ("report", "trace", "congestion", "job")):
            monkeypatch.setattr(place, work)
    monkeypatch.setattr("spikegpt_neuro.api.reporting.measure", work)
    monkeypatch.setattr("spikegpt_neuro.api.exporting.read_model", work)
    with mounted(tmp_path / "mount"):
        said = one_line(writer(name, small, tmp_path / "mount")())
    assert "is a mount point" in said or "is a directory" in said
    said = one_line(writer(name, small, Path("/dev/stdout"))())
    assert "/dev/stdout is a stream" in said


def test_an_output_that_is_an_input_or_another_output(small: Path, tmp_path: Path) -> None:
    profile = tmp_path / "chip.toml"
    profile.write_text('schema = 1\ntitle = "t"\nbase = "loihi2"\n')
    artifact, text, same = small / "model.sgn", small / "text.txt", tmp_path / "same"
    for arguments in (
        ["map", artifact, "--hw", profile, "-o", profile],
        [*("map", artifact, "--hw", "loihi2", "--svg"), text, "--activity", text],
        ["report", artifact, "--text", text, "-o", text, "--force"],
        ["export", artifact, "--to", "netx", "-o", artifact, "--force"],
        ["fit", profile, "-o", profile, "--force"],
    ):
        assert "is read by this command, too; choose another output" in one_line(verb(*arguments))
    said = one_line(verb("map", artifact, "--hw", "loihi2", "-o", same, "--svg", same))
    assert f"{same} is written twice" in said
    assert not same.exists()
    assert profile.read_text().startswith("schema")
    assert text.read_text() == TEXT


# Standard streams.


def shell(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command.replace("PROGRAM", str(PROGRAM))],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("PROGRAM info model.sgn > /dev/full", 3, "standard output cannot be written: No space"),
        ("PROGRAM info model.sgn --json > /dev/full", 3, "standard output cannot be written"),
        ("PROGRAM profiles loihi2 > /dev/full", 3, "standard output cannot be written: No space"),
        ("PROGRAM generate model.sgn a -n 9 > /dev/full", 3, "standard output cannot be written"),
        ("PROGRAM info model.sgn >&-", 3, "standard output is closed"),
        ("PROGRAM info model.sgn >/dev/null 2>&-", 0, ""),
        ("PROGRAM info model.sgn >/dev/full 2>/dev/full", 3, ""),
        ("PROGRAM info nothing 2>/dev/full", 3, ""),
        ("PROGRAM evaluate model.sgn - <&-", 3, "standard input: is empty"),
        ("PROGRAM info model.sgn | sleep 0; exit ${PIPESTATUS[0]}", 141, ""),
        ("PROGRAM generate model.sgn a -n 9999999 | head -c 1; exit ${PIPESTATUS[0]}", 141, ""),
        ("PROGRAM profiles loihi2 | sleep 0; exit ${PIPESTATUS[0]}", 141, ""),
    ],
)
def test_standard_streams(small: Path, command: str, code: int, said: str) -> None:
    done = shell(command, small)
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr
    assert bool(lines) == bool(said)
    assert not said or said in lines[0]


def test_an_encoding_that_lacks_characters(small: Path) -> None:
    """A unit stays a unit, a name shows its bytes, and JSON loses nothing."""
    assert "1.2 µJ, caf\u00e9".encode("ascii", streams.REPLACED) == b"1.2 uJ, caf?"
    raw = b"\xc3\xa9\xff.sgn"
    assert os.fsdecode(raw).encode("utf-8", streams.REPLACED) == b"\xc3\xa9\\xff.sgn"
    for environment in (
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ):
        done = shell(f"PROGRAM info '{os.fsdecode(raw)}x' --json", small, **environment)
        assert done.returncode == 3
        assert done.stdout.isascii()
        name = json.loads(done.stdout)["error"]["message"].split(":")[0]
        assert name in ("\u00e9\\xff.sgnx", "\\xc3\\xa9\\xff.sgnx")


@pytest.mark.parametrize("place", ["checkpoint", "output"])
def test_names_that_cannot_be_decoded(small: Path, tmp_path: Path, place: str) -> None:
    name = os.fsdecode(b"na\xc3\xafve\xff")
    folder = tmp_path / name if place == "checkpoint" else tmp_path
    folder.mkdir(exist_ok=True)
    saved = save_safetensors(tmp_path / "plain", random_model(layers=1, width=16))
    for file in saved.iterdir():
        shutil.copy(file, folder)
    shutil.copy(small / "vocab.json", folder)
    output = tmp_path / (name if place == "output" else "model")
    done = verb(
        *("convert", folder, "--vocab", folder / "vocab.json", "--json"),
        *("--calibrate", small / "text.txt", "-o", f"{output}.sgn"),
    )
    assert done.figures["artifact"] == f"{output}.sgn"
    found = verb("info", f"{output}.sgn", "--json").figures
    assert found["source_file"] == ("naïve\\xff" if place == "checkpoint" else tmp_path.name)
    text = ["--prompt", "The quick", "--tokens", 8]
    assert verb("report", f"{output}.sgn", "-o", f"{output}.html", *text).code == 0
    assert (
        verb(
            *("map", f"{output}.sgn", "--hw", "loihi2", "--activity", small / "text.txt"),
            *("-o", f"{output}.json", "--svg", f"{output}.svg"),
        ).code
        == 0
    )
    for suffix in ("html", "svg"):
        assert Path(f"{output}.{suffix}").read_text("utf-8")


# Errors as JSON.


def test_a_failed_json_command_prints_an_error(small: Path, tmp_path: Path) -> None:
    for arguments, kind, code in (
        (["info", "nothing"], "UnsupportedInput", 3),
        (["info"], "UsageError", 2),
        (["evaluate", small / "model.sgn"], "UsageError", 2),
        (["nothing"], "UsageError", 2),
        (["simulate", small / "model.sgn", "--prompt", "a", "--backend", "x"], "UsageError", 2),
        (["map", small / "model.sgn", "--hw", "loihi2", "-o", tmp_path], "CannotWrite", 3),
    ):
        done = verb(*arguments, "--json")
        error = json.loads(done.out)["error"]
        assert done.out.count("\n") == 1
        assert (done.code, error["exit_code"], error["kind"]) == (code, code, kind)
        assert done.err == f"error: {error['message']}\n"
        assert verb(*arguments).out == ""


def test_an_error_of_the_program_and_an_interrupt_are_json_too(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for raised, kind, code in (
        (ZeroDivisionError("by zero"), "InternalError", 70),
        (KeyboardInterrupt(), "Interrupted", 130),
    ):

        def broken(*_: object, error: BaseException = raised, **__: object) -> None:
            raise error

        monkeypatch.setattr("spikegpt_neuro.api.describe", broken)
        done = verb("info", small / "model.sgn", "--json")
        error = json.loads(done.out)["error"]
        assert (done.code, error["exit_code"], error["kind"]) == (code, code, kind)


def test_what_was_found_before_a_failure_stays_in_the_document(tmp_path: Path) -> None:
    model = random_model(layers=1, width=16)
    graph = lower(model, random_tokens(model, 64))
    graph.save(str(tmp_path / "model.sgn"))
    chip = tmp_path / "tiny.toml"
    unit = 'unit = "neurons", kind = "measured", source = "s"'
    chip.write_text(
        f'schema = 1\ntitle = "t"\nbase = "loihi2-1"\n[sources]\ns = "s"\n'
        f"[core]\nneurons = {{ value = 1, {unit} }}\n"
    )
    done = verb("map", tmp_path / "model.sgn", "--hw", chip, "--json")
    found = json.loads(done.out)
    assert done.code == 1
    assert found["violations"]
    assert found["error"]["kind"] == "DoesNotFit"
    assert done.err == f"error: {found['error']['message']}\n"


# Tables and progress off a terminal.


def test_a_table_wraps_words_and_no_figure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = ["123,456,789,012 µJ", "1.23 pJ .. 456 nJ", "0.000123 tokens/s", "99.99%"]
    words = "many words of a note that says more than a line can hold [and] brackets"
    for columns in ("20", "80", "400"):
        monkeypatch.setenv("COLUMNS", columns)
        heads = ("what it is", "b", "c", "d", "words")
        made = tables.table(*heads, left=("what it is", "words"))
        made.add_row(*figures, words)
        tables.show(made, wrapped=("words",))
        shown = capsys.readouterr().out
        assert "…" not in shown
        for figure in figures:
            assert figure in shown
        rows = [line.split("│")[5].strip() for line in shown.splitlines() if "│" in line]
        assert " ".join(rows) == words
        assert (len(rows) == 1) == (columns == "400")


@pytest.mark.parametrize("columns", [None, "40"])
def test_the_tables_of_the_verbs(
    small: Path, monkeypatch: pytest.MonkeyPatch, columns: str | None
) -> None:
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", columns)
    artifact = small / "model.sgn"
    profile = ["profile", artifact, "--tokens", 40, "--prompt", TEXT]
    schedules = "schedule=pipelined,fall-through"
    for arguments in (
        ["profiles", "hala-point"],
        ["map", artifact, "--hw", "loihi2", "--activity", small / "text.txt"],
        [*profile, "--hw", "loihi2"],
        [*profile, "--hw", "loihi2", "--compare", "hw=loihi2,loihi1", "--compare", schedules],
    ):
        done = verb(*arguments)
        assert "…" not in done.out
        assert "│" in done.out
    figures = verb(*profile, "--hw", "loihi2", "--json").figures
    shown = verb(*profile, "--hw", "loihi2").out
    assert f"{figures['synops_per_token']:,.0f}" in shown
    assert " .. " in shown


def test_progress_in_lines_now_and_then() -> None:
    now, lines = [0.0], list[str]()
    progress = ProgressLines("evaluating", "tokens", lines.append, lambda: now[0])
    for second in range(61):
        now[0] = float(second)
        progress(second * 1000, 100_000)
    assert lines[0] == "evaluating: 15,000 of 100,000 tokens, about 85 s left"
    assert len(lines) == 60 // EVERY_SECONDS
    now[0] += 100
    progress(100_000, 100_000)  # the result says that it has ended
    progress(0, 10)
    assert lines[4:] == ["evaluating: 0 of 10 tokens"]
    assert [duration(s) for s in (0.2, 99, 101, 3600, 7200)] == [
        *("1 s", "99 s", "2 min", "60 min", "2.0 h"),
    ]


def test_short_runs_and_quiet_ones_say_nothing(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["evaluate", small / "model.sgn", small / "text.txt"]
    assert "evaluating" not in verb(*arguments).err
    monkeypatch.setattr("spikegpt_neuro.cli.progress.EVERY_SECONDS", 0)
    assert verb(*arguments).err.startswith("evaluating: ")
    assert verb(*arguments, "-q").err == ""
