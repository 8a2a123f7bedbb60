"""What the tests of the loihi backend share: the double's environment, and who is still running."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

DOUBLE = Path(__file__).parent / "loihi_double"
PATIENCE = 240.0


def with_double(journal: Path, **more: str) -> Mapping[str, str]:
    """Environment in which Lava finds the test double of its Loihi extension."""
    found = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "LOIHI_DOUBLE": str(journal),
        "PYTHONPATH": os.pathsep.join([str(DOUBLE), *([found] if found else [])]),
        "PATH": os.pathsep.join([str(DOUBLE / "bin"), os.environ["PATH"]]),
        **more,
    }


def journal_of(path: Path) -> list[str]:
    """What happened to the board, without sinfo and ping."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [line for line in lines if not line.startswith(("sinfo", "ping"))]
