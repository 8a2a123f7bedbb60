"""HDF5 on a disk that is full: an error of one line, wherever the disk ends."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from spikegpt_neuro.converters.exporters.hdf5 import hdf5_file

h5py = pytest.importorskip("h5py")


def fill(target: io.RawIOBase, reread: bool = False) -> None:
    with h5py.File(target, "w") as file:
        for group in range(20):
            file.create_group(f"{group}")
            file[f"{group}/plain"] = np.arange(500)
            packed = np.arange(500) % 7
            file.create_dataset(f"{group}/packed", data=packed, compression="gzip")
        if reread:
            assert [len(file[name]) for name in file] == [2] * 20


@pytest.mark.parametrize("reread", [False, True])
def test_whatever_is_refused_is_an_error_and_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reread: bool
) -> None:
    path = tmp_path / "file.h5"
    with hdf5_file(path) as target:
        fill(target, reread)
    plain = tmp_path / "plain.h5"
    fill(plain, reread)  # type: ignore[arg-type]
    with h5py.File(path) as ours, h5py.File(plain) as theirs:
        assert list(ours) == list(theirs)
        for name in theirs:
            for kind in ("plain", "packed"):
                assert np.array_equal(ours[name][kind], theirs[name][kind])
    size = path.stat().st_size

    class Disk(io.FileIO):
        """Ends after so many bytes."""

        room = 0

        def write(self, data: object) -> int:
            view = memoryview(data)  # type: ignore[arg-type]
            if self.tell() + len(view) > Disk.room:
                raise OSError(28, "No space left on device")
            return super().write(view)

    def opened(self: Path, *_: object, **__: object) -> Disk:
        return Disk(str(self), "w+")

    monkeypatch.setattr(Path, "open", opened)
    for room in range(0, size, size // 40):
        Disk.room = room
        with pytest.raises(OSError, match="No space left on device"), hdf5_file(path) as target:
            fill(target, reread)


def test_an_error_of_its_own_stays_one(tmp_path: Path) -> None:
    with pytest.raises(KeyError), hdf5_file(tmp_path / "file.h5") as target:
        h5py.File(target, "w")["nothing"]
