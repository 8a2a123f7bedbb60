"""Memory-mapped checkpoints: which arrays lie in the file's mapping, and how to release them.

A large file that is mapped and read once would otherwise stay in memory whole, beside what is
made of it. Dropped pages are read again from the file when they are next used; that
holds for mappings of a file only, hence :class:`Mappings`.
"""

from __future__ import annotations

import ctypes
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

MAPS = Path("/proc/self/maps")


@dataclass(frozen=True)
class Mappings:
    """Address ranges in which this process maps one file (none where the system cannot tell)."""

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, path: Path) -> Mappings:
        """The mappings of ``path`` now."""
        try:
            lines = MAPS.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return cls(())
        name = str(path.resolve())
        found = [line.split(maxsplit=5) for line in lines]
        addresses = [entry[0].split("-") for entry in found if entry[5:] == [name]]
        return cls(tuple((int(begin, 16), int(end, 16)) for begin, end in addresses))

    def hold(self, array: NDArray[Any]) -> bool:
        """True if all of a contiguous ``array`` lies in one of the ranges."""
        begin = array.ctypes.data
        return array.flags.c_contiguous and any(
            first <= begin and begin + array.nbytes <= last for first, last in self.ranges
        )


def drop_pages(array: NDArray[Any]) -> None:
    """Drop the whole pages inside a file-mapped ``array``."""
    begin = -(-array.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (array.ctypes.data + array.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > begin:
        ctypes.CDLL(None).madvise(
            ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED
        )
