"""Changes of documents: values as JSON and TOML have them, replaced, lost, moved and repeated."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from random import Random
from typing import Any

DEEP = "\x00deep"
HUGE = "\x00huge"
RAW = {DEEP: "[" * 100_000 + "]" * 100_000, HUGE: "9" * 5_000}
"""What :func:`to_json` writes for these texts: no value of Python's becomes them."""

WHOLE = (
    *(0, 1, -1, 2, 3, 7, 8, 15, 16, 23, 24, 25, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256),
    *((1 << n) + off for n in (15, 16, 23, 24, 31, 32, 53, 63, 64) for off in (-1, 0, 1)),
    *(-(1 << n) for n in (15, 23, 31, 32, 63, 64)),
    *(10**6, 10**9, 10**12, 10**18, 10**30, 10**400, -(10**400)),
)
REAL = (
    *(0.0, -0.0, 0.5, -1.5, 1e-9, 1e9, 1e18, 1e38, 1e39, 1e300, 1.7e308, 5e-324, -1e300),
    *(math.nan, math.inf, -math.inf),
)
TEXTS = (
    *("", " ", "a", "\x00", "a\x00b", "\n", "a\nb", "\ud800", "\u202e", "\U0010ffff", "é" * 300),
    *(".", "..", "../x", "/", "/dev/zero", "/dev/stdin", "/proc/self/mem", "/etc/passwd", "~"),
    *("x" * 300, "x" * 100_000, "1e999", "NaN", "%s", "{}", "__proto__", "__class__", "0", "-1"),
)
FLOAT_LIMIT = 10**300
"""Integers beyond it are no floats."""
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [{}], {"": None}, DEEP, HUGE)


def changed(document: Any, rng: Random) -> Any:
    """A copy of ``document`` with one to three changes."""
    document = deepcopy(document)
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        places = _places(document)
        if not places:
            return anything(rng)
        holder, key = rng.choice(places)
        rng.choice(CHANGES)(document, holder, key, rng)
    return document


def to_json(document: Any) -> bytes:
    """``document`` as JSON text, :data:`RAW` put in; NaN and Infinity as Python writes them."""
    text = json.dumps(document)
    for name, raw in RAW.items():
        text = text.replace(json.dumps(name), raw)
    return text.encode()


def anything(rng: Random) -> Any:
    """A value of any type, most of them at some limit; the caller's own, to change further."""
    return deepcopy(rng.choice(rng.choice((WHOLE, WHOLE, REAL, TEXTS, OTHERS))))


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a document; long lists of plain values count by samples."""
    found: list[tuple[Any, Any]] = []
    ahead = [document]
    while ahead:
        holder = ahead.pop()
        if isinstance(holder, dict):
            keys: Sequence[Any] = list(holder)
        elif isinstance(holder, list):
            keys = range(len(holder))
        else:
            continue
        found += [(holder, key) for key in keys]
        ahead += [holder[key] for key in keys]
    return found


def _replace(_: Any, holder: Any, key: Any, rng: Random) -> None:
    holder[key] = anything(rng)


def _nudge(_: Any, holder: Any, key: Any, rng: Random) -> None:
    """A number near the old one, or a text near it."""
    old = holder[key]
    if isinstance(old, bool):
        holder[key] = rng.choice((not old, int(old), str(old).lower()))
    elif isinstance(old, int):
        real = float(old) if abs(old) < FLOAT_LIMIT else old
        near = (old + 1, old - 1, -old, 2 * old, old ^ 1 << rng.randrange(40), real, str(old))
        holder[key] = rng.choice(near)
    elif isinstance(old, float):
        with_limits = (-old, old * 1e300, old * 1e-300, old * (1 + 1e-12), 2 * old, str(old))
        holder[key] = rng.choice(with_limits)
    elif isinstance(old, str):
        at = rng.randrange(len(old) + 1)
        near_text = (old[:at], old + "x", old.upper(), old[:at] + rng.choice(TEXTS) + old[at:])
        holder[key] = rng.choice(near_text)
    else:
        holder[key] = anything(rng)


def _lose(_: Any, holder: Any, key: Any, rng: Random) -> None:
    del holder[key]


def _from_elsewhere(document: Any, holder: Any, key: Any, rng: Random) -> None:
    other, at = rng.choice(_places(document))
    holder[key] = deepcopy(other[at])


def _swap(document: Any, holder: Any, key: Any, rng: Random) -> None:
    other = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    holder[key], holder[other] = holder[other], holder[key]


def _repeat(_: Any, holder: Any, key: Any, rng: Random) -> None:
    """Once more: an element of a list, or an entry under another name."""
    if isinstance(holder, list):
        holder.insert(key, deepcopy(holder[key]))
    else:
        holder[rng.choice(TEXTS)] = deepcopy(holder[key])


def _often(_: Any, holder: Any, key: Any, rng: Random) -> None:
    """So many times that something must give."""
    if isinstance(holder, list):
        holder[key:key] = [deepcopy(holder[key]) for _ in range(rng.choice((63, 70, 3000)))]
    else:
        holder[key] = [deepcopy(holder[key])] * rng.choice((2, 70))


def _rename(_: Any, holder: Any, key: Any, rng: Random) -> None:
    if isinstance(holder, dict):
        near = (key + "x", key.upper(), key[:-1], rng.choice(TEXTS))
        holder[rng.choice(near)] = holder.pop(key)
    else:
        holder.append(anything(rng))


CHANGES: tuple[Callable[[Any, Any, Any, Random], None], ...] = (
    *(_replace, _replace, _nudge, _nudge, _nudge),
    *(_lose, _from_elsewhere, _swap, _repeat, _often, _rename),
)
