"""What the command line needs before any verb loads: its name, and how errors are shown."""

from __future__ import annotations

import re
import shlex
from ast import literal_eval
from dataclasses import asdict, dataclass

PROGRAM = "spikegpt-neuro"
NUMBER = r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?|nan|inf"
OPTION = re.compile(rf"\b([a-z]+(?:_[a-z]+)*)=(True|'[^']*'|{NUMBER}|\.\.\.)(?![\w.])")
"""An option with its value, as Python spells it in the errors of the library."""
TEXT = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
CONVERSION = re.compile(rf"\bconvert\(({TEXT})\)\.save\(({TEXT})\)")
"""What converts and keeps a checkpoint in Python."""
FLAGS = {"calibration": "calibrate"}
"""Parameter -> its option, where the two have different names."""


def as_typed(text: str) -> str:
    """Options as one types them here: ``force=True`` of a function is ``--force``.

    ``convert('a.pth').save('a.sgn')`` is the command that does it.
    """

    def typed(found: re.Match[str]) -> str:
        name, value = FLAGS.get(found[1], found[1]).replace("_", "-"), found[2].strip("'")
        return f"--{name}" if value in ("True", "...") else f"--{name} {value}"

    def converting(found: re.Match[str]) -> str:
        checkpoint, artifact = (shlex.quote(literal_eval(found[k])) for k in (1, 2))
        return f"{PROGRAM} convert {checkpoint} -o {artifact}"

    return CONVERSION.sub(converting, OPTION.sub(typed, text))


@dataclass
class Invocation:
    """What outlives a verb: how errors are shown, and what it found.

    ``document``  what it found; --json prints it when the verb has ended: an error may come to it.
    """

    as_json: bool = False
    debug: bool = False
    document: object = None


@dataclass(frozen=True)
class Failure:
    """Why a verb ended with ``exit_code``; ``kind`` is a class of :mod:`spikegpt_neuro.errors`,
    or ``Interrupted``, or ``InternalError``.
    """  # noqa: D205

    kind: str
    message: str
    exit_code: int

    def beside(self, document: object) -> object:
        """What --json prints: this error alone, or as one more member of what was found.

        A list says itself what is wrong with each of its members.
        """
        if document is None:
            return {"error": asdict(self)}
        return document | {"error": asdict(self)} if isinstance(document, dict) else document
