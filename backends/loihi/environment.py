"""Environment check of a job folder: standard library only, so that it runs anywhere.

``python check.py`` says what is there; exit code 4, with one line, if something is missing.
"""

import importlib.util
import os
import platform
import shutil
import sys

PACKAGES = ("msgspec", "numpy", "numba", "safetensors", "tokenizers", "lava")
OLDEST = (3, 10)
TOMLLIB_SINCE = (3, 11)
MISSING = 4


def found(module: str) -> bool:
    """Whether ``module`` can be imported; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def missing(rehearse: bool) -> "list[str]":
    """What a run needs and this machine lacks."""
    lacks = []
    if sys.version_info < OLDEST:
        lacks.append(f"Python 3.10 or later (this is {platform.python_version()})")
    packages = PACKAGES if sys.version_info >= TOMLLIB_SINCE else (*PACKAGES, "tomli")
    lacks += [name for name in packages if not found(name)]
    if not rehearse and not found("lava.utils.loihi2_profiler"):
        lacks.append("lava.utils.loihi2_profiler (Lava's Loihi extension, from Intel's INRC)")
    return lacks


def main() -> int:
    """Print what was found."""
    rehearse = "--rehearse" in sys.argv[1:]
    print(f"python {platform.python_version()}, {os.cpu_count()} processors")
    print(f"sinfo (SLURM) {shutil.which('sinfo') or 'not on the PATH'}")
    lacks = missing(rehearse)
    if lacks:
        print(f"error: missing: {', '.join(lacks)}", file=sys.stderr)
        return MISSING
    print(f"ready to {'rehearse' if rehearse else 'measure'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
