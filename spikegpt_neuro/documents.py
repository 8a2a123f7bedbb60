"""Structured files (JSON and TOML) as typed values: read, checked and explained in one place.

A type is a dataclass, a ``NamedTuple`` (a JSON array) or what they are made of; msgspec decodes
it. Whatever is wrong with a file becomes one line of :class:`UnsupportedInput`: the file, the
place (``pieces[3].start``), what was expected, what was found, and what to do.

Here and nowhere else msgspec is imported, and only when a document is read.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from spikegpt_neuro.errors import UnsupportedInput

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")

MEGABYTE = 1 << 20
BOM = b"\xef\xbb\xbf"
SHOWN_CHARACTERS = 60
NAMES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
LOST = object()
"""Stands for values that cannot be read."""
STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


@dataclass(frozen=True)
class Origin:
    """Where a document comes from, and what helps where it is damaged.

    ``where``   the file, or what stands for it.
    ``remedy``  what the reader of the error can do.
    ``exact``   unknown keys are errors.
    """

    where: str
    remedy: str = ""
    exact: bool = False

    def error(self, problem: str, place: str = "") -> UnsupportedInput:
        """The one line."""
        parts = (self.where, place.lstrip("."), problem)
        remedy = f"; {self.remedy}" if self.remedy else ""
        return UnsupportedInput(": ".join(filter(None, parts)) + remedy)


@dataclass(frozen=True)
class Kind:
    """What a document says that it is; each of its readers asks that first."""

    format: Any = None
    schema_version: Any = None


def read_json(
    path: Path, type_: type[T], *, limit: int, remedy: str = "", exact: bool = False
) -> T:
    """The JSON file ``path`` as a ``type_``.

    ``limit``  bytes: a larger file is refused before it is read.

    Raises :class:`UnsupportedInput`; see the module.
    """
    return decode_json(read_bytes(path, limit), type_, where=str(path), remedy=remedy, exact=exact)


def decode_json(
    data: bytes, type_: type[T], *, where: str, remedy: str = "", exact: bool = False
) -> T:
    """The JSON text ``data`` (UTF-8, a byte order mark is skipped) as a ``type_``."""
    import msgspec

    origin = Origin(where, remedy, exact)
    data = _text(data, origin).encode()
    try:
        if exact:
            return converted(
                msgspec.json.decode(data), type_, where=where, remedy=remedy, exact=True
            )
        return msgspec.json.decode(data, type=type_)
    except msgspec.ValidationError as error:
        raise _explained(str(error), type_, _plain(data), origin) from error
    except (msgspec.DecodeError, ValueError) as error:
        raise origin.error(_malformed(str(error), data)) from error
    except RecursionError as error:
        raise origin.error("not valid JSON: nested too deeply") from error


def converted(
    content: object, type_: type[T], *, where: str, remedy: str = "", exact: bool = False
) -> T:
    """Values as JSON or TOML has them, as a ``type_``."""
    import msgspec

    origin = Origin(where, remedy, exact)
    try:
        if exact:
            for place, known in _unknown(content, type_, ""):
                raise origin.error(f"unknown key; expected one of {', '.join(known)}", place)
        return msgspec.convert(content, type_)
    except msgspec.ValidationError as error:
        raise _explained(str(error), type_, content, origin) from error
    except RecursionError as error:
        raise origin.error("nested too deeply") from error


def read_toml(path: Path, *, limit: int = MEGABYTE) -> dict[str, Any]:
    """The tables of a TOML file; raises :class:`UnsupportedInput` as :func:`read_json` does."""
    origin = Origin(str(path))
    text = _text(read_bytes(path, limit), origin)
    try:
        return tomllib.loads(text.replace("\r\n", "\n"))
    except RecursionError as error:
        raise origin.error("not a TOML file: nested too deeply") from error
    except ValueError as error:  # among them tomllib's own, and integers of 5,000 digits
        raise origin.error(f"not a TOML file: {error}") from error


def read_bytes(path: Path, limit: int) -> bytes:
    """The bytes of a file of at most ``limit`` bytes.

    Raises :class:`UnsupportedInput` at once for what never ends or waits for a writer: devices,
    pipes, sockets.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UnsupportedInput(f"{path}: is {_sort(status.st_mode)}, not a file")
            data = file.read(limit + 1) if status.st_size <= limit else None  # /proc says 0
    except ValueError as error:  # a NUL in its name
        raise UnsupportedInput(f"{path}: cannot be read: {error}") from error
    except OSError as error:
        raise UnsupportedInput(f"{path}: cannot be read: {error.strerror}") from error
    if data is None or len(data) > limit:
        raise UnsupportedInput(
            f"{path}: is larger than {limit:,} bytes, more than such a file takes"
        )
    return data


def _without_waiting(path: str, flags: int) -> int:
    """Open a pipe without waiting for someone who writes to it."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _sort(mode: int) -> str:
    """What stands in a file's place."""
    sorts = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return sorts.get(stat.S_IFMT(mode), "a device")


def _text(data: bytes, origin: Origin) -> str:
    try:
        return data.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        bad = f"byte 0x{error.object[error.start]:02x} at position {error.start}"
        raise origin.error(f"not UTF-8 text: {bad}") from error


def _malformed(message: str, data: bytes) -> str:
    problem = message.removeprefix("JSON is malformed: ")
    problem = problem.replace("Input data was truncated", "it ends too early")
    at = re.search(r"\(byte (\d+)\)", message)
    if at and data[int(at[1]) :].startswith((b"NaN", b"Infinity")):
        problem += ", JSON has neither NaN nor Infinity"
    return f"not valid JSON: {problem}"


def _plain(data: bytes) -> object:
    """The document without a type; :data:`LOST` where it is damaged further on."""
    import msgspec

    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return LOST


# msgspec's messages in our own words.


def _explained(message: str, type_: Any, content: object, origin: Origin) -> UnsupportedInput:
    """``Expected `int`, got `str` - at `$.pieces[3][1]``` -> the error of one line."""
    text, _, at = message.partition(" - at `")
    place, kind, value = _located(at.rstrip("`"), type_, content)
    if missing := re.fullmatch(r"Object missing required field `(.*)`", text):
        return origin.error("is missing", f"{place}.{missing[1]}")
    if wrong := re.fullmatch(r"Expected `(.*?)`(?: of length (\d+))?(?:, got `?(.*?)`?)?", text):
        expected = " or ".join(NAMES.get(n, n) for n in wrong[1].split(" | "))
        length = f" of {wrong[2]}" if wrong[2] else ""
        found = NAMES.get(wrong[3], wrong[3]) if value is LOST else _shown(value)
        return origin.error(f"expected {expected}{length}, found {found}", place)
    if text.startswith("Invalid enum value"):
        known = " or ".join(map(repr, _literals(kind)))
        return origin.error(f"expected {known}, found {_shown(value)}", place)
    return origin.error(text[:1].lower() + text[1:], place)


def _located(at: str, type_: Any, value: Any) -> tuple[str, Any, Any]:
    """A path of msgspec's in our names, and the type and the value there."""
    place = ""
    for name, index in STEP.findall(at):
        type_ = _without_none(type_)
        if name:
            step, type_ = name, _fields(type_).get(name, Any)
        elif index == "...":  # of an object, msgspec does not tell which key
            type_ = get_args(type_)[-1] if get_args(type_) else Any
            step = _misfit(value, type_)
        else:
            names = getattr(type_, "_fields", ())
            step = names[int(index)] if names else f"[{index}]"
            type_ = _fields(type_).get(step) or _element(type_, int(index))
        place += step if step.startswith("[") else f".{step}"
        value = _item(value, int(index) if index.isdecimal() else step)
    return place, type_, value


def _misfit(value: object, type_: Any) -> str:
    """The first key of an object whose value is not a ``type_``."""
    items = value.items() if isinstance(value, dict) else ()
    return next((str(key) for key, each in items if not _fits(each, type_)), "[...]")


def _fits(value: object, type_: Any) -> bool:
    import msgspec

    try:
        msgspec.convert(value, type_)
    except (msgspec.ValidationError, RecursionError):
        return False
    return True


def _item(value: Any, key: str | int) -> object:
    if value is LOST:
        return LOST
    try:
        return value[key]
    except (KeyError, IndexError, TypeError):
        return None


def _element(type_: Any, index: int) -> Any:
    """The type of a list's or a tuple's element."""
    inside = [each for each in get_args(type_) if each is not ...]
    return inside[min(index, len(inside) - 1)] if inside else Any


def _without_none(type_: Any) -> Any:
    if get_origin(type_) in (Union, types.UnionType):
        return next(each for each in get_args(type_) if each is not type(None))
    return type_


def _fields(type_: Any) -> Mapping[str, Any]:
    if is_dataclass(type_) or hasattr(type_, "_fields"):
        return _hints(type_)
    return {}


@cache
def _hints(type_: Any) -> Mapping[str, Any]:
    return get_type_hints(type_)


def _literals(type_: Any) -> tuple[object, ...]:
    type_ = _without_none(type_)
    return get_args(type_) if get_origin(type_) is Literal else ()


def _shown(value: object) -> str:
    if value is None or value is LOST:
        return "nothing" if value is None else "another text"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _unknown(content: object, type_: Any, place: str) -> Iterator[tuple[str, list[str]]]:
    """Place of every key that ``type_`` does not have, and the keys that it has there."""
    type_ = _without_none(type_)
    if isinstance(content, dict):
        known = _fields(type_) if is_dataclass(type_) else None
        inner = get_args(type_)[-1] if get_args(type_) else Any
        for key, value in content.items():
            if known is not None and key not in known:
                yield f"{place}.{key}", list(known)
            else:
                yield from _unknown(value, inner if known is None else known[key], f"{place}.{key}")
    elif isinstance(content, (list, tuple)) and get_args(type_):
        for index, value in enumerate(content):
            yield from _unknown(value, _element(type_, index), f"{place}[{index}]")
