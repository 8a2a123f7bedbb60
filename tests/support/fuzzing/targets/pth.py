"""``.pth`` and ``.pt``: zip archives of a pickle and of raw storages.

What was understood must be what torch itself reads from the file, which checks every record's CRC
where it does not map the file into memory.
"""

from __future__ import annotations

import io
import math
import pickletools
import zipfile
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import torch

from fuzzing.case import Case, Changed
from fuzzing.octets import damaged
from fuzzing.parts import CHARACTERS, contents, special, tiny_model, unheard
from fuzzing.targets import checkpoints
from fuzzing.values import WHOLE, anything

from random_models import myelin_payload, torch_state_dict

FILE = "model.pth"
FILLS = (math.nan, math.inf, 3e38, 1e-30)
Records = dict[str, bytes]


class Pth:
    """Upstream's state_dicts in three number formats, and myelin's dictionary."""

    def __init__(self) -> None:
        checkpoints.prepare()
        model = tiny_model()
        vocabulary = {"type": "character", "tokens": list(CHARACTERS)}
        kinds = ("float32", "float16", "bfloat16")
        self._objects: list[dict[str, Any]] = [torch_state_dict(model, kind) for kind in kinds]
        self._objects.append(myelin_payload(tiny_model(ffn_pre=True), vocabulary))
        self._files = [_saved(content) for content in self._objects]

    def bases(self) -> list[Case]:
        return [Case({FILE: data}, same=True) for data in self._files]

    def case(self, rng: Random) -> Case:
        data = rng.choice(self._files)
        way = rng.randrange(20)
        if way < 7:
            return Case({FILE: damaged(data, rng)}, same=True)
        if way < 12:
            return Case({FILE: _archive(_changed_records(_records(data), rng), rng)})
        if way < 16:
            records = _records(data)
            name = next(name for name in records if name.endswith("data.pkl"))
            records[name] = _changed_pickle(records[name], rng)
            return Case({FILE: _archive(records, rng)})
        if way < 19:
            return Case({FILE: _saved(_changed_object(rng.choice(self._objects), rng))})
        return Case(special({FILE: data}, rng))

    def read(self, folder: Path) -> object:
        model, meaning = checkpoints.read(folder / FILE)
        stored = _as_torch_reads(folder / FILE)
        if meaning not in self._meanings(folder):  # a damaged archive may lead torch astray
            if stored is None:
                raise Changed("torch refuses the file")
            checkpoints.check_tensors(meaning, stored)
        checkpoints.lower_some(model, stored or ())
        return meaning

    def _meanings(self, folder: Path) -> list[object]:
        """What the bases mean."""
        found: list[object] = []
        for index, data in enumerate(self._files):
            file = folder / f"base-{index}.pth"
            file.write_bytes(data)
            found.append(checkpoints.read(file)[1])
        return found


def make() -> Pth:
    return Pth()


def _saved(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def _records(data: bytes) -> Records:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _archive(records: Mapping[str, bytes], rng: Random) -> bytes:
    """The records as an archive with checksums, now and then a deflated one."""
    stream = io.BytesIO()
    deflated = rng.choice((None, None, None, rng.choice(sorted(records) or [None])))
    with unheard(), zipfile.ZipFile(stream, "w") as archive:  # names that are there twice
        for name, content in records.items():
            how = zipfile.ZIP_DEFLATED if name == deflated else zipfile.ZIP_STORED
            archive.writestr(name.replace("\x00", "_"), content, how)
    return stream.getvalue()


def _changed_records(records: Records, rng: Random) -> Records:
    name, other = rng.choice(sorted(records)), rng.choice(sorted(records))
    content = records[name]
    changes: list[Records] = [
        {n: c for n, c in records.items() if n != name},
        {**records, name: content[: rng.randrange(len(content) + 1)]},
        {**records, name: content + bytes(rng.choice((1, 4, 64, 5000)))},
        {**records, name: b""},
        {**records, name: records[other], other: content},
        {**records, name: damaged(content, rng)},
        {(n.replace("archive", "x") if n == name else n): c for n, c in records.items()},
        {n.partition("/")[2]: c for n, c in records.items()},
        {**records, f"{name}/../{other}": content},
        {**records, "archive/byteorder": b"big"},
        dict(reversed(list(records.items()))),
    ]
    return rng.choice(changes)


def _changed_pickle(data: bytes, rng: Random) -> bytes:
    """A pickle with another number in it, or another text, or damaged."""
    places = list(_arguments(data))
    way = rng.randrange(6)
    if way == 0 or not places:
        return damaged(data, rng)
    if way == 1:
        depth = rng.choice((1_000, 100_000))
        return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."
    begin, end, opcode = rng.choice(places)
    if opcode.startswith("BININT"):
        return data[:begin] + _pushed(rng.choice(WHOLE)) + data[end:]
    text = data[begin + 5 : end]
    at = rng.randrange(len(text) + 1)
    other = rng.choice((text[:at], text + b"x", text[:at] + b"." + text[at:], b"", b"x" * 70_000))
    return data[:begin] + b"X" + len(other).to_bytes(4, "little") + other + data[end:]


def _pushed(number: int) -> bytes:
    """The opcode that pushes a number."""
    if -(1 << 31) <= number < 1 << 31:
        return b"J" + number.to_bytes(4, "little", signed=True)
    length = number.bit_length() // 8 + 1
    digits = number.to_bytes(length, "little", signed=True)
    return b"\x8a" + bytes([length]) + digits if length < 256 else b"\x8b\x00\x01\x00\x00" + digits


def _arguments(data: bytes) -> Iterator[tuple[int, int, str]]:
    """Begin and end of every number and text in a pickle, and its opcode."""
    found = list(pickletools.genops(data))
    for (opcode, _, begin), (_, _, end) in pairwise(found):
        if opcode.name in ("BININT", "BININT1", "BININT2", "BINUNICODE"):
            assert begin is not None
            assert end is not None
            yield begin, end, opcode.name


def _changed_object(content: Mapping[str, Any], rng: Random) -> object:
    """Another dictionary: wrapped, prefixed, with other tensors or none."""
    changed = dict(content)
    holder = changed
    if isinstance(changed.get("state_dict"), dict):
        holder = changed["state_dict"] = dict(changed["state_dict"])
    name = rng.choice(sorted(holder))
    tensor = holder[name]
    prefix = rng.choice(("model.", "module.model.", "_forward_module.", "x.", "_orig_mod."))
    way = rng.randrange(8)
    if way == 0:
        key = rng.choice(("model", "state_dict", "module", "x", "format", 7))
        return {key: changed, "epoch": anything(rng), "optim": {"state": {0: tensor}}}
    if way == 1:
        return {prefix + n: t for n, t in holder.items()}
    if way == 2:
        del holder[name]
    elif way == 3:
        holder[name] = anything(rng)
    elif way == 4:
        holder[rng.choice((name + "x", "head_q.weight", "blocks.0.lif1.w", "blocks.7.x"))] = tensor
    elif way == 5 and "config" in changed:
        config = dict(changed["config"])
        config[rng.choice(sorted(config))] = anything(rng)
        changed["config"] = config
    else:
        holder[name] = _changed_tensor(tensor, rng)
    return changed


def _changed_tensor(tensor: torch.Tensor, rng: Random) -> object:
    ways: list[Callable[[], object]] = [
        lambda: tensor.double(),
        lambda: tensor.int(),
        lambda: tensor * rng.choice((0.0, -1.0, 1e4, 1e30)),
        lambda: torch.full_like(tensor.float(), rng.choice(FILLS)),
        lambda: tensor.reshape(-1, 1),
        lambda: tensor.reshape((1,) * rng.choice((3, 30, 70)) + tuple(tensor.shape)),
        lambda: tensor.t() if tensor.ndim == 2 else tensor,
        lambda: tensor[..., ::2],
        lambda: torch.zeros(1).expand(rng.choice((16, 2**20, 2**31)), rng.choice((1, 8, 16))),
        lambda: torch.zeros(0, 16),
        lambda: torch.zeros(()),
        lambda: _sparse(tensor),
        lambda: torch.empty(tuple(tensor.shape), device="meta"),
        lambda: torch.nn.Parameter(tensor),
        lambda: tensor.to(torch.complex64),
        lambda: [tensor],
    ]
    return rng.choice(ways)()


def _sparse(tensor: torch.Tensor) -> Any:
    plain: Any = tensor.float()
    return plain.to_sparse()


def _as_torch_reads(path: Path) -> frozenset[bytes] | None:
    """The contents of all tensors in a file; None where torch itself refuses it."""
    try:
        with unheard():
            payload = torch.load(path, map_location="cpu", weights_only=True)
            return contents(_tensors(payload))
    except Exception:  # whatever it does not like
        return None


def _tensors(content: object) -> Iterator[Any]:
    if isinstance(content, torch.Tensor):
        if content.is_floating_point() and content.numel() < 1 << 20:
            yield content.detach().double().numpy()
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _tensors(value)
