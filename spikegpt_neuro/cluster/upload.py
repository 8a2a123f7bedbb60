"""A folder as bytes, for workers that do not see it: packed here, unpacked and checked there.

The bytes are a line of JSON, name -> length of every file, then the files one after the other. Only
plain files of one folder are packed, and no name leads out of it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from spikegpt_neuro.documents import decode_json
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.files import atomic_directory

HOME = "uploads"
MOST_BYTES = 1 << 31


def packed(folder: Path) -> bytes:
    """The files of a folder; raises :class:`UnsupportedInput` where they are too large to send."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    total = sum(file.stat().st_size for file in files)
    if total > MOST_BYTES:
        raise UnsupportedInput(
            f"{folder}: {total:,} bytes are too many to upload (at most {MOST_BYTES:,}); put it in "
            "a folder that every worker sees"
        )
    contents = {file.name: file.read_bytes() for file in files}
    head = json.dumps({name: len(content) for name, content in contents.items()})
    return b"".join([head.encode(), b"\n", *contents.values()])


def checksum(content: bytes) -> str:
    """sha256 of what is uploaded."""
    return hashlib.sha256(content).hexdigest()


def unpacked(content: bytes, expected: str, home: Path) -> Path:
    """On a worker: the folder, kept within ``home`` under its checksum for the tasks that follow.

    Raises :class:`UnsupportedInput` where the bytes are not those that were sent.
    """
    place = home / HOME / expected
    if not place.is_dir():
        if checksum(content) != expected:
            raise UnsupportedInput("what was uploaded arrived damaged; run this again")
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(content, place)
    return place


def _write(content: bytes, place: Path) -> None:
    head, _, body = content.partition(b"\n")
    rest = memoryview(body)
    lengths = decode_json(head, dict[str, int], where="an upload")
    with atomic_directory(place) as new:
        for name, length in lengths.items():
            if Path(name).name != name or name in ("", ".", ".."):
                raise UnsupportedInput(f"an upload holds the name {name!r}; expected plain files")
            (new / name).write_bytes(rest[:length])
            rest = rest[length:]
