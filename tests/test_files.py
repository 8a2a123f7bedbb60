"""Outputs appear whole or not at all, and leave nothing else behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from spikegpt_neuro.errors import CannotWrite
from spikegpt_neuro.files import (
    atomic_directory,
    atomic_file,
    check_output_file,
    write_atomically,
)


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

    monkeypatch.setattr(Path, "rename", refuse)
    with (
        pytest.raises(CannotWrite, match="cannot be written: Input/output error"),
        atomic_directory(path) as new,
    ):
        (new / "file").write_text("three")
    assert (path / "file").read_text() == "two"
    assert list(tmp_path.iterdir()) == [path]


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
    with pytest.raises(CannotWrite, match="cannot be written: No such file"):
        write_atomically(tmp_path / "no" / "x", "text")
