"""Inputs as files: what was found is kept, and read again."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import cast

from fuzzing.case import Case, Content

SEEDS = Path(__file__).resolve().parents[2] / "fuzz" / "seeds"
PACKED = "zlib+base64"


def write_seed(path: Path, target: str, case: Case, what: str) -> None:
    """Keep ``case``; ``what`` tells what was found with it."""
    files = {name: _packed(content) for name, content in case.files.items()}
    content = {"target": target, "what": what, "same": case.same, "files": files}
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def read_seed(path: Path) -> tuple[str, Case]:
    """The target's name and the input."""
    content = json.loads(path.read_text("utf-8"))
    files = {name: _unpacked(packed) for name, packed in content["files"].items()}
    return content["target"], Case(files, content["same"])


def _packed(content: Content) -> str | dict[str, str]:
    if isinstance(content, str):
        return content
    return {PACKED: base64.b64encode(zlib.compress(content, 9)).decode("ascii")}


def _unpacked(packed: str | dict[str, str]) -> Content:
    if isinstance(packed, str):
        return cast(Content, packed)
    return zlib.decompress(base64.b64decode(packed[PACKED]))
