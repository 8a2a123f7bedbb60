"""A folder of ``model.safetensors`` and ``config.json``.

The format has no checksums. What was understood must be what the header says of the bytes.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from fuzzing.case import Case
from fuzzing.octets import damaged
from fuzzing.parts import Files, contents, lost, special, tiny_model
from fuzzing.targets import checkpoints
from fuzzing.values import changed, to_json
from spikegpt_neuro.converters.writer import checkpoint_files

from dead_zones import pruned, with_real_dead_zones
from random_models import save_safetensors

WEIGHTS, CONFIG = "model.safetensors", "config.json"
STORED_AS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


class Safetensors:
    """Float32, float16 and bfloat16, and one with dead zones and pruned weights."""

    def __init__(self) -> None:
        checkpoints.prepare()
        self._bases = [_saved(kind) for kind in ("float32", "float16", "bfloat16")]
        written = checkpoint_files(pruned(with_real_dead_zones(tiny_model())))
        self._bases.append({name: b"".join(blocks) for name, blocks in written})

    def bases(self) -> list[Case]:
        return [Case(files) for files in self._bases]

    def case(self, rng: Random) -> Case:
        files = dict(rng.choice(self._bases))
        weights, config = files[WEIGHTS], files[CONFIG]
        assert isinstance(weights, bytes)
        assert isinstance(config, bytes)
        way = rng.randrange(12)
        if way < 3:
            return Case({**files, WEIGHTS: damaged(weights, rng)})
        if way < 7:
            header, data = split(weights)
            return Case({**files, WEIGHTS: joined(to_json(changed(header, rng)), data)})
        if way < 9:
            return Case({**files, CONFIG: to_json(changed(json.loads(config), rng))})
        if way < 10:
            return Case({**files, CONFIG: damaged(config, rng)})
        return Case(special(files, rng) if way < 11 else lost(files, rng))

    def read(self, folder: Path) -> object:
        model, meaning = checkpoints.read(folder)
        found = contents(stored(folder / WEIGHTS).values())
        checkpoints.check_tensors(meaning, found)
        if (folder / CONFIG).exists():
            checkpoints.check_lif(model, json.loads((folder / CONFIG).read_bytes()))
        checkpoints.lower_some(model, found)
        return meaning


def make() -> Safetensors:
    return Safetensors()


def _saved(kind: str) -> Files:
    with tempfile.TemporaryDirectory() as place:
        folder = save_safetensors(Path(place) / "model", tiny_model(), kind)
        return {file.name: file.read_bytes() for file in folder.iterdir()}


def split(data: bytes) -> tuple[Any, bytes]:
    """The header of a safetensors file, and the bytes behind it."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header: bytes, data: bytes) -> bytes:
    """A safetensors file."""
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data


def stored(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The values of every tensor, as the header says."""
    header, data = split(path.read_bytes())
    header.pop("__metadata__", None)
    return {name: _values(entry, data) for name, entry in header.items()}


def _values(entry: dict[str, Any], data: bytes) -> np.ndarray[Any, Any]:
    begin, end = entry["data_offsets"]
    if entry["dtype"] == "BF16":
        halves = np.frombuffer(data[begin:end], "<u2").astype(np.uint32)
        return (halves << 16).view(np.float32)
    return np.frombuffer(data[begin:end], STORED_AS[entry["dtype"]])
