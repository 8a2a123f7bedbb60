"""What the command line needs before any verb loads: its name, and how errors are shown."""

from __future__ import annotations

import re
from dataclasses import dataclass

PROGRAM = "spikegpt-neuro"
OPTION = re.compile(r"\b([a-z]+(?:_[a-z]+)*)=(True|'[^']*'|\d+(?:\.\d+)?|\.\.\.)(?![\w.])")
"""An option with its value, as Python spells it in the errors of the library."""


def as_typed(text: str) -> str:
    """Options as one types them here: ``force=True`` of a function is ``--force``."""

    def typed(found: re.Match[str]) -> str:
        name, value = found[1].replace("_", "-"), found[2].strip("'")
        return f"--{name}" if value in ("True", "...") else f"--{name} {value}"

    return OPTION.sub(typed, text)


@dataclass
class Invocation:
    """What outlives a verb: whether an error shows its traceback."""

    debug: bool = False
