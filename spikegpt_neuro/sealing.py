"""Python in a process of its own, which imports nothing from the folder it is started in.

``python -m`` and ``python -c`` look there before anywhere else: a file ``random.py`` of the user's
would be executed in the place of Python's own. Python's option against it is younger than 3.10.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

SEAL = "import sys; sys.path[:] = [path for path in sys.path if path]; "
INTERACTIVE = ("PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONBREAKPOINT")
"""What only a person's own Python should heed."""
HOME = Path(__file__).parent.parent


def sealed(module: str) -> tuple[str, str]:
    """What Python is to run so that it calls ``main`` of ``module``; arguments follow."""
    return "-c", f"{SEAL}from {module} import main; main()"


def sealed_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of this process, without what would bring the current folder's files in."""
    kept = {name: value for name, value in os.environ.items() if name not in INTERACTIVE}
    paths = os.pathsep.join(_absolute_paths(kept.pop("PYTHONPATH", "")))
    if paths:
        kept["PYTHONPATH"] = paths
    return {**kept, "PYTHONSAFEPATH": "1", **(extra or {})}  # for processes that it starts itself


def _absolute_paths(value: str) -> Iterator[str]:
    """The folders of ``PYTHONPATH`` but the current one, unless this package lies in it."""
    for path in filter(None, value.split(os.pathsep)):
        folder = Path(path).absolute()
        if not _is_current(folder) or _is_current(HOME):
            yield str(folder)


def _is_current(folder: Path) -> bool:
    try:
        return folder.samefile(Path.cwd())
    except OSError:
        return False
