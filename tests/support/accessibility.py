"""What axe-core says of a page in a real browser.

axe-core comes from the npm registry into a folder that git ignores; without npm or a network the
tests skip.
"""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from browser import Browser
from places import ROOT

AXE = "axe-core@4"
SERIOUS = ("serious", "critical")


@cache
def script() -> str:
    """The source of axe-core."""
    folder = ROOT / "build" / "axe"
    source = Path(folder, "node_modules", "axe-core", "axe.min.js")
    if not source.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("no npm to fetch axe-core with")
        folder.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-save", "--ignore-scripts", "--prefix", str(folder), AXE]
        done = subprocess.run(command, capture_output=True, timeout=180)
        if done.returncode:
            pytest.skip("axe-core cannot be fetched")
    return source.read_text(encoding="utf-8")


def serious(session: Browser) -> list[str]:
    """A line per finding that keeps somebody from reading the page."""
    session.run(script() + "; window.axe = axe;")
    found = session.run("return axe.run().then(result => result.violations)")
    return [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in found
        if each["impact"] in SERIOUS
        for node in each["nodes"]
    ]
