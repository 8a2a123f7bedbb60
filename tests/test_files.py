"""Outputs appear whole or not at all, and leave nothing else behind."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.errors import CannotWrite
from spikegpt_neuro.files import (
    atomic_directory,
    atomic_file,
    check_output_directory,
    check_output_file,
    data_file,
    scratch_directory,
    write_atomically,
    write_tensors,
)

from disks import another_disk, mounted
from kill_points import without_flags
from places import SUPPORT


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    with another_disk(tmp_path) as folder:
        yield folder


def test_a_file_takes_its_place_whole(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    write_atomically(file, "one")
    write_atomically(file, "two")
    assert file.read_text() == "two"
    with pytest.raises(LookupError), atomic_file(file) as new:
        _begin_and_fail(new)
    assert file.read_text() == "two"
    assert list(tmp_path.iterdir()) == [file]


def _begin_and_fail(file: Path) -> None:
    file.write_text("thr")
    raise LookupError


def test_data_goes_along_and_first(tmp_path: Path) -> None:
    file, data = tmp_path / "x.onnx", tmp_path / "x.onnx.data"
    for text in ("one", "two"):
        with atomic_file(file) as new:
            new.write_text(text)
            new.with_name("x.onnx.data").write_text(f"data of {text}")
        assert (file.read_text(), data.read_text()) == (text, f"data of {text}")
    assert sorted(tmp_path.iterdir()) == [file, data]


@pytest.mark.parametrize("writer", ["file", "directory", "pair"])
@pytest.mark.parametrize("before", ["old", "none"])
@pytest.mark.parametrize("flags", ["with", "without"])
def test_killed_anywhere_it_leaves_old_or_new_and_the_next_run_tidies_up(
    tmp_path: Path, writer: str, before: str, flags: str
) -> None:
    command = [sys.executable, str(SUPPORT / "kill_points.py"), str(tmp_path)]
    done = subprocess.run([*command, writer, before, flags], capture_output=True, check=True)
    found = json.loads(done.stdout)
    assert len(found) > 12
    assert [kill["status"] for kill in found] == [-signal.SIGKILL] * (len(found) - 1) + [0]
    old = 1 if before == "old" else None
    seen = [kill["seen"] for kill in found]
    if (writer, before, flags) == ("directory", "old", "without"):
        assert seen.count(None) == 1  # between two renames, where the system has no exchange
        seen.remove(None)
    assert seen == [old] * seen.count(old) + [2] * seen.count(2)
    for kill in found:
        assert (kill["again"], kill["then"]) == (0, 3)
        assert len(kill["left"]) == (2 if writer == "pair" else 1), kill["left"]


def test_an_old_directory_comes_back_before_anything_is_asked_of_it(tmp_path: Path) -> None:
    """Killed between two renames; the next run has no force and is refused, as it should be."""
    dead = workplace_of_the_dead(tmp_path, "model")
    (dead / "old").mkdir()
    (dead / "old" / "file").write_text("one")
    with pytest.raises(CannotWrite, match="exists"):
        check_output_directory(tmp_path / "model", False, lambda _: True)
    assert (tmp_path / "model" / "file").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def workplace_of_the_dead(parent: Path, target: str, **owner: str) -> Path:
    folder = parent / f".{target}.abcd1234.partial"
    (folder / "new").mkdir(parents=True)
    said = {"program": "spikegpt-neuro", "host": os.uname().nodename, "target": target} | owner
    (folder / "owner").write_text(json.dumps(said))
    return folder


def test_nothing_that_lives_or_is_not_ours_is_swept(tmp_path: Path) -> None:
    elsewhere = workplace_of_the_dead(tmp_path, "elsewhere", host="another")
    foreign = workplace_of_the_dead(tmp_path, "foreign", program="another")
    precious = tmp_path / ".thesis.abcd1234.partial"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    for name in ("x.partial", ".x.old", ".y.abcd1234.partial"):
        (tmp_path / name).write_text("")
    before = sorted(tmp_path.rglob("*"))
    with atomic_directory(tmp_path / "a") as living:
        write_atomically(tmp_path / "b", "text")
        assert living.is_dir()
    assert (tmp_path / "a").is_dir()
    (tmp_path / "a").rmdir()
    (tmp_path / "b").unlink()
    assert sorted(tmp_path.rglob("*")) == before
    long_ago = 1_000_000
    for path in (elsewhere / "owner", elsewhere / "new", elsewhere, foreign / "owner", foreign):
        os.utime(path, (long_ago, long_ago))
    write_atomically(tmp_path / "b", "text")
    assert not elsewhere.exists()
    assert foreign.exists()


def test_a_directory_is_put_back_where_it_cannot_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    for text in ("one", "two"):
        with atomic_directory(path) as new:
            (new / "file").write_text(text)
    plain = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(5, "Input/output error")
        return plain(self, target)

    def unknown(*_: object) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(Path, "rename", refuse)
    monkeypatch.setattr("spikegpt_neuro.renames._renameat2", unknown)
    with (
        pytest.raises(CannotWrite, match="cannot be written: Input/output error"),
        atomic_directory(path) as new,
    ):
        (new / "file").write_text("three")
    assert (path / "file").read_text() == "two"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("flags", [True, False])
@pytest.mark.parametrize("atomic", [atomic_file, atomic_directory])
def test_of_two_savers_to_a_new_path_one_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, atomic: Any, flags: bool
) -> None:
    if not flags:
        monkeypatch.setattr("spikegpt_neuro.renames._renameat2", without_flags)

    def write(new: Path, text: str) -> None:
        (new / "file" if new.is_dir() else new).write_text(text)

    def one_after_the_other(force: bool | None, first: str, second: str) -> None:
        with atomic(path, force=force) as slower:
            with atomic(path, force=force) as faster:
                write(faster, first)
            write(slower, second)

    for force in (None, False):
        path = tmp_path / f"out-{force}"
        with pytest.raises(CannotWrite, match="exists, another process wrote it meanwhile"):
            one_after_the_other(force, "one", "two")
        assert (path / "file" if path.is_dir() else path).read_text() == "one"
    one_after_the_other(True, "three", "four")
    assert (path / "file" if path.is_dir() else path).read_text() == "four"
    assert len(list(tmp_path.iterdir())) == 2


def test_data_changes_its_name_as_long_as_the_old_model_is_there(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    for text, name in (("one", "x.onnx.data"), ("two", "x.onnx.1.data"), ("three", "x.onnx.data")):
        with atomic_file(path) as new:
            data = data_file(new, path)
            data.write_text(text)
            new.write_text(f"refers to {data.name}")
        assert (tmp_path / name).read_text() == text
        assert sorted(tmp_path.iterdir()) == sorted([path, tmp_path / name])
    with atomic_file(path) as new:
        new.write_text("all inside")
    assert list(tmp_path.iterdir()) == [path]
    for suffix in (".data", ".1.data"):
        path.with_name(path.name + suffix).write_text("the user's")
    with (
        pytest.raises(CannotWrite, match="remove the one that is not in use"),
        atomic_file(path) as new,
    ):
        data_file(new, path)
    write_atomically(path, "other")
    assert len(list(tmp_path.iterdir())) == 3


def test_links_stay_and_lead_to_what_is_written(tmp_path: Path, other_disk: Path) -> None:
    for target in (tmp_path / "here", other_disk / "there"):
        folder, file = target / "model", target / "file"
        target.mkdir()
        link, file_link = tmp_path / f"{target.name}-m", tmp_path / f"{target.name}-f"
        link.symlink_to(folder)
        file_link.symlink_to(file)
        for text in ("one", "two"):  # the link dangles at first
            check_output_directory(link, True, lambda _: True)
            check_output_file(file_link, True)
            with atomic_directory(link, force=True) as new:
                (new / "file").write_text(text)
            write_atomically(file_link, text)
            assert link.is_symlink()
            assert file_link.is_symlink()
            assert (folder / "file").read_text() == file.read_text() == text
            with pytest.raises(CannotWrite, match="exists; choose another output or pass force"):
                check_output_directory(link, False, lambda _: True)
            with pytest.raises(CannotWrite, match="exists; choose another output or pass force"):
                check_output_file(file_link, False)
        assert sorted(path.name for path in target.iterdir()) == ["file", "model"]


def check_directory(path: Path) -> None:
    check_output_directory(path, True, lambda _: True)


def check_file(path: Path) -> None:
    check_output_file(path, True)


def test_places_where_no_output_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "circle").symlink_to("circle")
    both = (check_directory, check_file)
    for path, checks, said in (
        ("-", both, "- is a stream; an output is a file or a directory"),
        ("/dev/stdout", both, "is a stream"),
        ("/dev/fd/1", both, "is a stream"),
        ("/proc/self/fd/1", both, "is a stream"),
        ("/dev/null", both, "is a device or a pipe; name a file"),
        ("fifo", both, "is a device or a pipe"),
        ("circle", both, "choose another"),
        ("a\0b", both, "null byte; choose another name"),
        ("n" * 256, both, "File name too long; choose a shorter name"),
        ("file", (check_directory,), "exists and is not a directory"),
        ("folder", (check_file,), "is a directory"),
        ("", (check_file,), "is a directory"),
        ("file/x", both, "file is not a directory"),
        ("no/x", both, "no does not exist; create it first"),
        ("/proc/x", both, "cannot be written"),
    ):
        for check in checks:
            with pytest.raises(CannotWrite, match=re.escape(said)) as error:
                check(Path(path))
            assert "\n" not in str(error.value)
    with pytest.raises(CannotWrite, match="is a device or a pipe"):
        write_atomically(tmp_path / "fifo", "text")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["circle", "fifo", "file", "folder"]


def test_a_temporary_directory_of_the_dead_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead = workplace_of_the_dead(tmp_path, "scratch")
    with scratch_directory("scratch") as folder:
        assert folder.is_dir()
        assert not dead.exists()
    assert not list(tmp_path.iterdir())


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path) -> None:
    for name in ("n" * 255, "ü" * 127, os.fsdecode(b"\xff\xfe")):
        write_atomically(tmp_path / name, "text")
        with atomic_directory(tmp_path / name[1:]) as new:
            (new / "file").write_text("text")
        assert (tmp_path / name).read_text() == "text"
        assert (tmp_path / name[1:] / "file").read_text() == "text"
    assert len(list(tmp_path.iterdir())) == 6


def test_a_mount_point_is_refused_in_advance(tmp_path: Path) -> None:
    for name in ("disk", "with a space"):
        with mounted(tmp_path / name):
            with pytest.raises(CannotWrite, match=r"is a mount point.*choose a directory in it"):
                check_directory(tmp_path / name)
            check_directory(tmp_path / name / "inside")
    bound, file = tmp_path / "bound", tmp_path / "file"
    bound.write_text("")
    file.write_text("")
    subprocess.run(["mount", "--bind", file, bound], check=True)
    try:
        with pytest.raises(CannotWrite, match="is a mount point"):
            check_file(bound)
    finally:
        subprocess.run(["umount", bound], check=True)


def test_a_full_disk_is_named_and_nothing_stays(tmp_path: Path) -> None:
    large = {"a": np.ones(400_000, np.int8), "b": np.ones(400_000, np.int8)}
    with mounted(tmp_path / "disk") as disk:
        (disk / "kept").write_text("text")
        said = "cannot be written: No space left on device; free space there"
        with pytest.raises(CannotWrite, match=said), atomic_directory(disk / "a") as new:
            write_tensors(new / "x.safetensors", large)
        with pytest.raises(CannotWrite, match=said):
            write_atomically(disk / "kept", "x" * 700_000)
        assert [p.name for p in disk.iterdir()] == ["kept"]
        assert (disk / "kept").read_text() == "text"
        (disk / "filling").write_bytes(bytes(500_000))
        with suppress(OSError), (disk / "more").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        with pytest.raises(CannotWrite, match="No space left"):
            write_atomically(disk / "kept", "other")
        assert sorted(p.name for p in disk.iterdir()) == ["filling", "kept", "more"]


def test_a_limit_on_sizes_is_named(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(CannotWrite, match=r"File too large; raise .*ulimit -f"):
            write_atomically(tmp_path / "x", "x" * 100_000)
        with (
            pytest.raises(CannotWrite, match="File too large"),
            atomic_directory(tmp_path / "y") as new,
        ):
            write_tensors(new / "x.safetensors", {"a": np.ones(60_000, np.int8)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_a_directory_that_disappears(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()

    def write() -> None:
        with atomic_file(place / "x") as new:
            new.write_text("text")
            shutil.rmtree(place)

    with pytest.raises(CannotWrite, match="cannot be written"):
        write()
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_told_in_advance(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    for path, said in (
        (tmp_path, "is a directory"),
        (tmp_path / "x", "exists; choose another output or pass force=True"),
        (tmp_path / "no" / "x", "does not exist; create it first"),
    ):
        with pytest.raises(CannotWrite, match=said) as error:
            check_output_file(path, force=False)
        assert error.value.exit_code == 3
    with pytest.raises(CannotWrite, match="does not exist; create it first"):
        write_atomically(tmp_path / "no" / "x", "text")
