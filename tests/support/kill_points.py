"""Kills a writer before every single thing that it asks of the file system, one process each.

``python kill_points.py FOLDER WRITER``: prints, as JSON, what was found after each kill and what is
left after the next run. The writers put version 2 in place of version 1, or where nothing is.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spikegpt_neuro import renames
from spikegpt_neuro.files import atomic_directory, atomic_file, data_file, write_atomically

KILLED = -signal.SIGKILL
EVENTS = ("open", "os.", "shutil.", "tempfile.", "fcntl.", "ctypes.dlsym", "mmap.")


def write_file(folder: Path, version: int) -> None:
    write_atomically(folder / "out", f"{version}" * 9)


def write_directory(folder: Path, version: int) -> None:
    with atomic_directory(folder / "out", force=True) as new:
        for name in ("a", "b"):
            (new / name).write_text(f"{version}")


def write_pair(folder: Path, version: int) -> None:
    path = folder / "out.onnx"
    with atomic_file(path, force=True) as new:
        data = data_file(new, path)
        data.write_text(f"{version}")
        new.write_text(f"{version} {data.name}")


WRITERS: dict[str, Callable[[Path, int], None]] = {
    "file": write_file,
    "directory": write_directory,
    "pair": write_pair,
}


def without_flags(old: Path, new: Path, flags: int) -> None:
    """What the kernel says of renameat2 on a file system that has no flags."""
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def state(folder: Path) -> Any:
    """What a reader finds: a version, None for nothing, or a text for what must not be."""
    out = folder / "out"
    if (model := folder / "out.onnx").exists():
        version, name = model.read_text().split()
        data = (folder / name).read_text() if (folder / name).exists() else None
        return int(version) if data == version else f"{version} beside {data}"
    if out.is_dir():
        found = {file.name: file.read_text() for file in out.iterdir()}
        versions = set(found.values())
        return int(versions.pop()) if set(found) == {"a", "b"} and len(versions) == 1 else found
    if not out.exists():
        return None
    text = out.read_text()
    return int(text[0]) if text == text[:1] * 9 else text


def in_child(work: Callable[[], None]) -> int:
    """Its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(point: int, folder: Path, write: Callable[[Path, int], None]) -> int:
    def work() -> None:
        left = point

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            if event.startswith(EVENTS):
                left -= 1
                if left == -1:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        write(folder, 2)

    return in_child(work)


def main(folder: Path, writer: str, before: str, flags: str) -> list[dict[str, Any]]:
    write = WRITERS[writer]
    if flags == "without":
        renames._renameat2 = without_flags
    found = []
    write(folder, 1)  # what is imported late is imported now
    for point in range(1000):
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if before == "old":
            write(folder, 1)
        status = killed_at(point, folder, write)
        seen = state(folder)
        again = in_child(lambda: write(folder, 3))
        left = sorted(path.name for path in folder.iterdir())
        found.append(
            {"status": status, "seen": seen, "again": again, "then": state(folder), "left": left}
        )
        if status != KILLED:
            break
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), *sys.argv[2:])))
