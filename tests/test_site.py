"""The documentation: generated pages name all there is, commands are those of the program."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path
from types import ModuleType

import click
import pytest

import spikegpt_neuro as sgn
from spikegpt_neuro.cli import VERBS, group
from spikegpt_neuro.hardware.profile import load_profile, profile_names

from places import EXAMPLES, ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or ""
FIRST = ROOT / "docs" / "first-half-hour.md"
NOT_RUN = {
    "make venv": "builds the environment that the test runs in",
    ". .venv/bin/activate": "is that environment",
    "spikegpt-neuro convert hf:OWNER/NAME -o published.sgn": "names no repository, wants a network",
}
"""Commands of the first half hour that the test does not run, and why."""

needs_mkdocs = pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None, reason="`make docs` brings mkdocs"
)


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "reference_pages", ROOT / "tools" / "reference_pages.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def verb(name: str) -> click.Command:
    command = group.get_command(click.Context(group), name)
    assert command is not None, name
    return command


def shown(page: Path) -> list[str]:
    """The commands of a page's blocks, lines that go on joined."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    blocks = [body for language, body in fenced if language in ("", "console")]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ") for line in lines]


def test_every_option_of_every_verb_is_in_the_reference(pages: ModuleType) -> None:
    sections = re.split(r"^## ", pages.verbs(), flags=re.MULTILINE)[1:]
    assert [section.split("\n", 1)[0] for section in sections] == list(VERBS)
    for name, section in zip(VERBS, sections, strict=True):
        for parameter in verb(name).params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert all(pages.cell(option) in section for option in parameter.opts)


def test_every_constant_of_every_profile_is_in_the_reference(pages: ModuleType) -> None:
    sections = re.split(r"^## ", pages.hardware(), flags=re.MULTILINE)[1:]
    assert [section.split("\n", 1)[0] for section in sections] == list(profile_names())
    for name, section in zip(profile_names(), sections, strict=True):
        for key in load_profile(name).constants:
            assert f"| {pages.cell(key)} |" in section


def test_every_public_name_is_in_the_reference(pages: ModuleType) -> None:
    told = {line.rsplit(".", 1)[-1] for line in pages.python().splitlines() if line[:3] == ":::"}
    assert told == {name for name in sgn.__all__ if not name.startswith("__")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_on_pages_have_the_options_of_the_program(page: Path) -> None:
    for line in shown(page):
        if line.startswith("spikegpt-neuro "):
            words = shlex.split(line, comments=True)
            command = verb(words[1])
            known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
            known |= {"-h", "--help"}
            asked = {w.split("=")[0] for w in words[2:] if re.match(r"--?[a-zA-Z]", w)}
            assert asked <= known, line


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("lava", "jinja2", "torch")),
    reason="the page runs Lava and writes a report",
)
def test_the_first_half_hour_as_typed(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(EXAMPLES)
    told = "\n".join(typed(line, tmp_path) for line in shown(FIRST) if line and line not in NOT_RUN)
    text = re.findall(
        r"^```text\n(.*?)^```", FIRST.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )[0]
    assert text.strip() in told
    assert re.search(r"^matches_reference +yes$", told, re.MULTILINE)
    for label, figure in (("bytes", "1,016,686"), ("neurons", "9,824"), ("cores", "8")):
        assert re.search(rf"^{label} +{figure}$", told, re.MULTILINE), label
    assert (tmp_path / "report.html").stat().st_size > 0


def typed(line: str, folder: Path) -> str:
    program = [sys.executable, "-m", "spikegpt_neuro"]
    words = shlex.split(line)
    assert words[0] == "spikegpt-neuro", f"{line}: run it here, or say in NOT_RUN why not"
    done = subprocess.run([*program, *words[1:]], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def built(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    words = ["-m", "mkdocs", "build", "--strict", "-f", str(config), "--site-dir", str(site)]
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
@needs_mkdocs
def test_the_site_is_built_strictly_and_asks_the_network_for_nothing(tmp_path: Path) -> None:
    done = built(ROOT / "mkdocs.yml", tmp_path)
    assert done.returncode == 0, done.stderr
    html = "".join(p.read_text(encoding="utf-8") for p in tmp_path.rglob("*.html"))
    assert "first-half-hour.html" in html
    shown = (tmp_path / "walkthrough.html").read_text(encoding="utf-8")
    pictures = re.findall(r'<img alt="([^"]+)" src="(walkthrough_files/[^"]+)"', shown)
    cells = json.loads((EXAMPLES / "walkthrough.ipynb").read_text(encoding="utf-8"))["cells"]
    described = [cell["metadata"]["alt"] for cell in cells if "alt" in cell["metadata"]]
    assert [unescape(words) for words, _ in pictures] == described
    assert all((tmp_path / file).stat().st_size > 0 for _, file in pictures)
    assert (
        re.findall(r"<(?:script|img|iframe|link)\b[^>]*(?:src|href)=\"?(?:https?:)?//", html) == []
    )


@pytest.mark.slow
@needs_mkdocs
@pytest.mark.parametrize("link", ["nothing.md", "lif.md#no-such-head"])
def test_a_broken_link_fails(link: str, tmp_path: Path) -> None:
    for part in ("docs", "tools"):
        shutil.copytree(ROOT / part, tmp_path / part)
    (tmp_path / "examples").mkdir()
    words = {"cell_type": "markdown", "id": "head", "metadata": {}, "source": "# Head"}
    notebook = {"cells": [words], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "examples" / "walkthrough.ipynb").write_text(json.dumps(notebook))
    config = Path(shutil.copy(ROOT / "mkdocs.yml", tmp_path))
    with (tmp_path / "docs" / "energy.md").open("a", encoding="utf-8") as page:
        page.write(f"\n[there]({link})\n")
    done = built(config, tmp_path / "site")
    assert done.returncode == 1
    assert link in done.stderr


MEASURE = """<script>addEventListener('load', () => { document.title = JSON.stringify({
  inner: innerWidth, scroll: document.documentElement.scrollWidth,
  fetched: performance.getEntriesByType('resource').map(entry => entry.name)
    .filter(name => !name.startsWith('file:')) }); });</script></body>"""


@pytest.mark.slow
@needs_mkdocs
@pytest.mark.skipif(not BROWSER, reason="no Chromium is installed")
def test_a_browser_shows_the_pages_without_sideways_scrolling(tmp_path: Path) -> None:
    assert built(ROOT / "mkdocs.yml", tmp_path / "site").returncode == 0
    for name in ("index", "first-half-hour", "reference/verbs", "reference/profiles"):
        page = tmp_path / "site" / f"{name}.html"
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace("</body>", MEASURE), encoding="utf-8")
        for width in (1280, 500):  # headless Chromium has no narrower window
            command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
            command += [f"--user-data-dir={tmp_path / 'browser'}", f"--window-size={width},900"]
            shown = subprocess.run([*command, page.as_uri()], capture_output=True, timeout=60)
            (found,) = re.findall(r"<title>(\{.*?\})</title>", shown.stdout.decode())
            measured = json.loads(found)
            assert measured["inner"] == width
            assert measured["scroll"] <= width, name
            assert measured["fetched"] == [], name
