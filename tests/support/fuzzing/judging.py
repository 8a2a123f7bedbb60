"""One input, judged: refused in one line, understood, or a finding."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fuzzing.case import Case, Changed, Target
from spikegpt_neuro.errors import SpikeGPTError, WorkerFailed

Kind = Literal["crash", "exception", "time", "memory", "meaning", "message", "noise"]
LONGEST_MESSAGE = 1500


@dataclass(frozen=True)
class Finding:
    """What is wrong. ``where`` makes findings of one cause alike."""

    kind: Kind
    text: str
    where: str


def judge(target: Target, case: Case, folder: Path) -> Finding | bool:
    """What comes of ``case``, written to the new ``folder``: understood (True), refused, a finding.

    Raises nothing but what ends a process.
    """
    folder.mkdir(parents=True)
    try:
        case.write(folder)
        understood = target.read(folder)
    except SpikeGPTError as error:
        return _of_refusal(error) or False
    except Changed as error:
        return Finding("meaning", str(error), str(error)[:40])
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        kind: Kind = "memory" if any(_is_of_memory(e) for e in _chain(error)) else "exception"
        return Finding(kind, "".join(traceback.format_exception(error))[-4000:], _where(error))
    finally:
        shutil.rmtree(folder)
    if case.same and understood not in _meanings(target):
        return Finding("meaning", "accepted, and is something else than before", "changed")
    return True


_OF_BASES: dict[int, list[object]] = {}


def _meanings(target: Target) -> list[object]:
    return _OF_BASES[id(target)]


def learn_bases(target: Target, folder: Path) -> None:
    """Read every base once, which also loads what reading needs; raises what it raises."""
    meanings = []
    for index, base in enumerate(target.bases()):
        place = folder / f"base-{index}"
        place.mkdir(parents=True)
        base.write(place)
        meanings.append(target.read(place))
        shutil.rmtree(place)
    _OF_BASES[id(target)] = meanings


def _of_refusal(error: SpikeGPTError) -> Finding | None:
    text, where = str(error), _where(error)
    if any(_is_of_memory(cause) for cause in _chain(error)):
        return Finding("memory", f"refused only as memory ran out: {text}", where)
    if isinstance(error, WorkerFailed):
        return Finding("exception", f"{type(error).__name__}: {text}", where)
    if len(text.splitlines()) != 1 or not text.isprintable():
        return Finding("message", f"not one printable line: {text!r}", where)
    if len(text) > LONGEST_MESSAGE:
        return Finding("message", f"{len(text)} characters: {text[:200]}", where)
    try:
        text.encode()
    except UnicodeEncodeError:
        return Finding("message", f"cannot be printed: {text!r}", where)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_of_memory(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, MemoryError) or "allocate" in text or "memory alloc" in text


def _where(error: BaseException) -> str:
    """The innermost place in our own code, and the kind of error."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/site-packages/" not in f.filename and "/lib/" not in f.filename]
    last = ours[-1] if ours else frames[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.name}"
