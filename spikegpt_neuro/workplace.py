"""The hidden directory beside an output in which the output grows, and what is left of dead ones.

::

    .NAME.xxxxxxxx.partial/
        owner    locked by the process that works here; host, and the name of the output
        new      what takes the output's name in the end (a directory), or holds what does (a file)
        old      the former output, between two renames (:mod:`spikegpt_neuro.renames`)
        data     names of data files: the new model's, which go to their place before it, and the
             former one's, which go when it is there

The kernel drops the lock with the process. Whoever next writes into the same directory takes the
lock of a dead one, undoes what was half done, and removes it. A directory whose lock is held, that
belongs to another host or user, or that has no ``owner`` of ours in it is left alone.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

OWNER, NEW, OLD, DATA = "owner", "new", "old", "data"
PROGRAM = "spikegpt-neuro"
SUFFIX = ".partial"
NAME = re.compile(r"\..*\.[a-z0-9_]{8}\.partial", re.DOTALL)
NAME_SHOWN = 24  # characters of the output's name: a name may have 255 bytes
OWNER_LIMIT = 4096
ABANDONED_SECONDS = 24 * 3600.0
ATTEMPTS = 100
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}


@contextmanager
def workplace(target: Path) -> Iterator[Path]:
    """A workplace for ``target``, with an empty directory ``new`` in it; gone at the end."""
    sweep(target.parent)
    folder, lock = _begin(target)
    try:
        (folder / NEW).mkdir()
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def note_data(folder: Path, placed: Sequence[Path], former: Sequence[Path]) -> None:
    """Write down which data files a model brings and which it ends, before any is moved."""
    note = {"placed": [file.name for file in placed], "former": [file.name for file in former]}
    (folder / DATA).write_text(json.dumps(note), encoding="utf-8")


def sweep(parent: Path) -> None:
    """Undo and remove what processes that died left in ``parent``."""
    try:
        with os.scandir(parent) as entries:
            found = [Path(e.path) for e in entries if NAME.fullmatch(e.name)]
    except OSError:
        return
    for folder in found:
        with suppress(OSError):
            about = folder.lstat()
            if stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid():
                _sweep(folder)


def _begin(target: Path) -> tuple[Path, int]:
    """A new workplace and its lock; another process may sweep it before it is locked."""
    for _ in range(ATTEMPTS):
        folder = Path(
            tempfile.mkdtemp(
                prefix=f".{target.name[:NAME_SHOWN]}.", suffix=SUFFIX, dir=target.parent
            )
        )
        try:
            lock = os.open(folder / OWNER, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileNotFoundError:
            continue
        except OSError:
            folder.rmdir()
            raise
        try:
            if _locked(lock) is not False and _is_there(folder / OWNER, lock):
                owner = {"program": PROGRAM, "host": os.uname().nodename, "target": target.name}
                os.write(lock, json.dumps(owner).encode())
                return folder, lock
        except OSError:
            _remove(folder)
            os.close(lock)
            raise
        os.close(lock)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


def _locked(descriptor: int) -> bool | None:
    """Lock an open file; False: another process has it, None: there are no locks here."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        raise
    return True


def _is_there(path: Path, descriptor: int) -> bool:
    """True if ``path`` still is the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sweep(folder: Path) -> None:
    try:
        lock = os.open(folder / OWNER, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        folder.rmdir()  # killed before it began, or at the very end; one with content stays
        return
    try:
        if _locked(lock) and _is_there(folder / OWNER, lock):
            owner = _owner(os.read(lock, OWNER_LIMIT))
            if owner is not None and _is_dead(folder, owner):
                _undo(folder, owner)
                _remove(folder)
    finally:
        os.close(lock)


def _owner(content: bytes) -> dict[str, Any] | None:
    """What the owner said of itself: nothing if it was killed before; None: it is not ours."""
    if not content:
        return {}
    try:
        owner = json.loads(content)
    except ValueError:
        return None
    return owner if isinstance(owner, dict) and owner.get("program") == PROGRAM else None


def _is_dead(folder: Path, owner: dict[str, Any]) -> bool:
    """The lock is ours, which proves it on one host; elsewhere locks may not be seen (NFS)."""
    if owner.get("host") in (None, os.uname().nodename):
        return True
    places = (folder, folder / NEW, folder / OWNER)
    youngest = max(p.stat().st_mtime for p in places if p.exists())
    return time.time() - youngest > ABANDONED_SECONDS


def _undo(folder: Path, owner: dict[str, Any]) -> None:
    """Put an old output back that was aside; take away the data of a model that never came."""
    name = owner.get("target")
    if not isinstance(name, str) or Path(name).name != name:
        return
    target = folder.parent / name
    if (folder / OLD).exists() and not os.path.lexists(target):
        (folder / OLD).rename(target)
    for data in _needless_data(folder, came=not (folder / NEW / name).exists()):
        if data.startswith(f"{name}.") and data.endswith(".data") and "/" not in data:
            (folder.parent / data).unlink(missing_ok=True)


def _needless_data(folder: Path, came: bool) -> list[str]:
    """Names of data files that stand beside the output for nothing, if the model came or not."""
    try:
        note = json.loads((folder / DATA).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # killed before anything moved
        return []
    if came:
        return list(note["former"])
    return [name for name in note["placed"] if not (folder / NEW / name).exists()]


def _remove(folder: Path) -> None:
    """Remove a workplace, its lock last: until then the next process can end what is left."""
    with suppress(OSError):
        with os.scandir(folder) as entries:
            others = [Path(e.path) for e in entries if e.name != OWNER]
        for path in others:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        (folder / OWNER).unlink(missing_ok=True)
        folder.rmdir()
