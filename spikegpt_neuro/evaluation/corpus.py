"""A corpus that needs no download: the documentation that every Python carries.

The recipe is deterministic for one Python version; versions differ a little.
"""

from __future__ import annotations

import ast
import os
import sysconfig
import warnings
from collections import deque
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Text = TypeVar("Text", str, "NDArray[np.int64]")
"""Characters, or token ids (T,)."""
HELD_OUT_SHARE = 10  # the last tenth
SHORTEST_DOCSTRING = 81
TEST_FOLDERS = frozenset({"test", "tests"})
FOLDERS_LEFT_OUT = TEST_FOLDERS | {
    "site-packages",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "turtledemo",
    "ensurepip",
    "__phello__",
    "distutils",
}
BODIES = frozenset({"body", "handlers", "orelse", "finalbody", "cases"})
"""Fields of syntax nodes that hold statements, or what holds them."""
Documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def python_documentation() -> str:
    """The running Python's own documentation as one text of newlines and ASCII 32..126.

    The values of ``pydoc_data.topics.topics`` in sorted order of their keys; then the
    docstrings longer than 80 characters of the standard library's modules, classes and
    functions, files in sorted order. Joined by blank lines; a tab becomes four spaces, any
    other character ``?``. Python 3.11.7 gives 1,830,811 characters.
    """
    from pydoc_data.topics import topics

    library = Path(sysconfig.get_path("stdlib"))
    parts = [topics[key] for key in sorted(topics)]
    for file in _files(library):
        parts.extend(_docstrings(file))
    return _plain("\n\n".join(parts))


def training_part(text: Text) -> Text:
    """The first nine tenths: what the example model was trained on."""
    return text[: _split(text)]


def held_out(text: Text) -> Text:
    """The last tenth."""
    return text[_split(text) :]


def _split(text: str | NDArray[np.int64]) -> int:
    return len(text) * (HELD_OUT_SHARE - 1) // HELD_OUT_SHARE


def _files(library: Path) -> list[Path]:
    """The library's own sources, sorted by path."""
    found: list[Path] = []
    for folder, below, names in os.walk(library):
        at_top = Path(folder) == library
        left_out = FOLDERS_LEFT_OUT if at_top else TEST_FOLDERS
        below[:] = [name for name in below if name not in left_out]
        found.extend(Path(folder, name) for name in names if name.endswith(".py"))
    # "config-3.x-..." is a build folder; the module configparser falls out with it.
    return sorted(f for f in found if not f.relative_to(library).parts[0].startswith("config"))


def _docstrings(file: Path) -> Iterator[str]:
    try:
        source = file.read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library's own deprecated escapes
            tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError):
        return  # templates and other encodings are not documentation
    for node in _statements(tree):
        if isinstance(node, Documented):
            text = ast.get_docstring(node)
            if text and len(text) >= SHORTEST_DOCSTRING:
                yield text


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """``tree`` and its statements in the order of ``ast.walk``, whose other nodes have none."""
    waiting = deque[ast.AST]([tree])
    while waiting:
        node = waiting.popleft()
        yield node
        for name in node._fields:
            if name in BODIES:
                waiting.extend(getattr(node, name))


def _plain(text: str) -> str:
    table = {code: "?" for code in range(32) if code != ord("\n")} | {ord("\t"): "    "}
    ascii_only = text.encode("ascii", "replace").decode("ascii")
    return ascii_only.translate(table | {127: "?"})
