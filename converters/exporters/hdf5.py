"""HDF5 files on disks that may be full.

The HDF5 library crashes the process, or fails with errors of its own, where it cannot write what it
holds back until a file is closed. So it writes into an object that takes everything and keeps what
the system first refused; that is raised when the library is through.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class _Patient(io.RawIOBase):
    """A file that never fails while it is written; ``refusal`` is what the system said."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self.refusal: OSError | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        """What was refused reads as zeros."""
        view = memoryview(buffer).cast("B")
        done = self._file.readinto(view) or 0
        view[done:] = bytes(len(view) - done)
        return len(view)

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest and self.refusal is None:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self.refusal = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return self._file.truncate(size)
        except OSError as error:
            self.refusal = self.refusal or error
            return self._file.tell() if size is None else size


@contextmanager
def hdf5_file(path: Path) -> Iterator[io.RawIOBase]:
    """What h5py may write a file into; raises OSError at the end if the system refused a part."""
    with path.open("w+b", buffering=0) as file:
        patient = _Patient(file)
        try:
            yield patient
        except Exception:  # of reading back what could not be written
            if patient.refusal is None:
                raise
        if patient.refusal is not None:
            raise patient.refusal
