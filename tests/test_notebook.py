"""The notebook: kept without outputs, described for those who do not see it, run with the site."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from places import EXAMPLES, ROOT

NOTEBOOK = EXAMPLES / "walkthrough.ipynb"
NEEDS = ("mkdocs", "nbconvert", "ipykernel", "matplotlib", "pandas", "torch")

needs_tools = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in NEEDS),
    reason="`make docs` brings what runs notebooks, torch reads the example's checkpoint",
)


def cells(kind: str) -> list[dict[str, Any]]:
    held = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in held if cell["cell_type"] == kind]


def test_the_notebook_is_kept_without_outputs() -> None:
    assert cells("code")
    for cell in cells("code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


def test_every_picture_is_described() -> None:
    drawing = [c for c in cells("code") if re.search(r"subplots\(|SVG\(", "".join(c["source"]))]
    assert len(drawing) >= 6
    for cell in drawing:
        assert len(cell["metadata"]["alt"]) > 40


def test_links_of_the_notebook_lead_to_pages() -> None:
    text = "".join("".join(cell["source"]) for cell in cells("markdown"))
    targets = re.findall(r"\]\(([^)#]+)", text)
    assert targets
    for target in targets:
        assert (EXAMPLES / target).is_file(), target


def site_with(notebook: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """The site built around another notebook."""
    for part in ("docs", "tools"):
        shutil.copytree(ROOT / part, folder / part)
    (folder / "examples").mkdir()
    shutil.copy(notebook, folder / "examples" / NOTEBOOK.name)
    config = shutil.copy(ROOT / "mkdocs.yml", folder)
    words = ["-m", "mkdocs", "build", "--strict", "-f", str(config)]
    return subprocess.run([sys.executable, *words], capture_output=True, text=True)


@pytest.mark.slow
@needs_tools
def test_a_cell_that_fails_fails_the_site(tmp_path: Path) -> None:
    held = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    failing = cells("code")[0] | {"source": "raise ValueError('nothing works today')"}
    broken = tmp_path / "broken.ipynb"
    broken.write_text(json.dumps(held | {"cells": [failing]}), encoding="utf-8")
    done = site_with(broken, tmp_path)
    assert done.returncode == 1
    assert "nothing works today" in done.stderr
