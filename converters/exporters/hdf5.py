"""HDF5 files on disks that may be full.

The HDF5 library crashes the process, or fails with errors of its own, where it cannot write what it
holds back until a file is closed. So it writes into an object that takes everything and keeps what
the system first refused; that is raised when the library is through.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class _Patient(io.RawIOBase):
    """A file that never fails while it is written; ``refusal`` is what the system said.

    A library that was interrupted may still write when the file is gone.
    """

    def __init__(self, file: io.FileIO) -> None:
        self._file: io.FileIO | None = file
        self._at = 0
        self.refusal: OSError | None = None

    def release(self) -> None:
        """Leave the file alone from now on."""
        self._file = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        end = os.fstat(self._file.fileno()).st_size if self._file is not None else 0
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: end}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        """What was refused reads as zeros."""
        view = memoryview(buffer).cast("B")
        found = b"" if self._file is None else os.pread(self._file.fileno(), len(view), self._at)
        view[:] = found.ljust(len(view), b"\0")
        self._at += len(view)
        return len(view)

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        if self._file is not None and self.refusal is None:
            try:
                self._file.seek(self._at)
                while rest:
                    rest = rest[self._file.write(rest) :]
            except OSError as error:
                self.refusal = error
        self._at += size
        return size

    def truncate(self, size: int | None = None) -> int:
        wanted = self._at if size is None else size
        if self._file is not None:
            try:
                self._file.truncate(wanted)
            except OSError as error:
                self.refusal = self.refusal or error
        return wanted


@contextmanager
def hdf5_file(path: Path) -> Iterator[io.RawIOBase]:
    """What h5py may write a file into; raises OSError at the end if the system refused a part."""
    with path.open("w+b", buffering=0) as file:
        patient = _Patient(file)
        try:
            yield patient
        except Exception:  # perhaps of reading back what could not be written
            if patient.refusal is None:
                raise
        finally:
            patient.release()
        if patient.refusal is not None:
            raise patient.refusal
