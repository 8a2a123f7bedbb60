"""Changes of bytes: what bad memory, bad disks, cut downloads and careless tools leave."""

from __future__ import annotations

from random import Random

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 63) - 1)
WIDTHS = (1, 2, 4, 8)


def damaged(data: bytes, rng: Random) -> bytes:
    """``data`` with one to three changes."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(CHANGES)(data, rng)
    return data


def _flip(data: bytes, rng: Random) -> bytes:
    if not data:
        return b"\x00"
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _other_byte(data: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


def _cut_short(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _lost(data: bytes, rng: Random) -> bytes:
    begin, end = _stretch(data, rng)
    return data[:begin] + data[end:]


def _twice(data: bytes, rng: Random) -> bytes:
    begin, end = _stretch(data, rng)
    return data[:end] + data[begin:]


def _zeroed(data: bytes, rng: Random) -> bytes:
    begin, end = _stretch(data, rng)
    return data[:begin] + bytes(end - begin) + data[end:]


def _longer(data: bytes, rng: Random) -> bytes:
    return data + rng.randbytes(rng.randrange(1, 200))


def _number(data: bytes, rng: Random) -> bytes:
    """An extreme number where one may stand."""
    width = rng.choice(WIDTHS)
    number = (rng.choice(NUMBERS) & ((1 << 8 * width) - 1)).to_bytes(width, "little")
    at = rng.randrange(len(data) + 1)
    return data[:at] + number + data[at + width :]


def _stretch(data: bytes, rng: Random) -> tuple[int, int]:
    begin = rng.randrange(len(data) + 1)
    return begin, min(len(data), begin + rng.choice((1, 4, 16, 100, 1000)))


CHANGES = (_flip, _flip, _other_byte, _cut_short, _lost, _twice, _zeroed, _longer, _number)
