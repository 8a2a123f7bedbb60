"""The blocks of README and documentation, and a process that runs those of one page.

A console block is commands after ``$``, each followed by what it prints, where the page shows it. A
block with a title is a file of that name. A text block is what the commands before it print.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import traceback
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from places import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCE = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block; ``place`` is the page and the line of its fence."""

    place: str
    language: str
    title: str
    body: str

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Each command of a console block with what is printed below it."""
        if self.language != "console":
            return []
        lines = self.body.replace("\\\n", "")
        found = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", lines, re.MULTILINE)
        return [(command, shown) for command, shown in found]


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT)
    return [
        Block(f"{name}:{text[: m.start()].count(chr(10)) + 1}", m[1], m[2] or "", m[3])
        for m in FENCE.finditer(text)
    ]


def prose(page: Path) -> str:
    """The page without its blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def told_by(steps: list[dict[str, Any]], folder: Path) -> str:
    """Run the steps of a page in a process of their own; everything that they printed."""
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(steps)], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _run(steps: list[dict[str, Any]]) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    told = ""
    for step in steps:
        place, body = step["place"], step["body"]
        if step["do"] == "write":
            Path(step["title"]).write_text(body, encoding="utf-8")
        elif step["do"] == "compare":
            assert body.strip() in told, f"{place}: not printed:\n{body}\nbut:\n{told}"
        elif step["do"] == "python":
            with redirect_stdout(StringIO()) as out:
                exec(compile(body, place, "exec"), names)
            told += out.getvalue()
        else:
            command = ["bash", "-c", body]
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            assert done.returncode == 0, f"{place}: {body}: {done.returncode}\n{done.stdout}"
            told += done.stdout
    print(told)


if __name__ == "__main__":
    try:
        _run(json.loads(sys.argv[1]))
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
