"""Where the tests find the project's own files."""

from __future__ import annotations

from pathlib import Path

SUPPORT = Path(__file__).resolve().parent
TESTS = SUPPORT.parent
ROOT = TESTS.parent
EXAMPLES = ROOT / "examples"
CHECKPOINT = EXAMPLES / "pydoc-4x128.pth"
