"""The documentation: generated pages name all there is, browsers show every kind of page."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from types import ModuleType

import click
import pytest

import spikegpt_neuro as sgn
from spikegpt_neuro.cli import VERBS, group
from spikegpt_neuro.cli.sweep_show import show
from spikegpt_neuro.hardware.profile import load_profile, profile_names
from spikegpt_neuro.hardware.schema import SPECS

from accessibility import serious
from browser import CHROMIUM, DRIVER, PHONE, Browser, browser
from pages import blocks
from places import EXAMPLES, ROOT

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


def test_every_option_of_every_verb_is_in_the_reference(pages: ModuleType) -> None:
    sections = re.split(r"^## ", pages.verbs(), flags=re.MULTILINE)[1:]
    assert [section.split("\n", 1)[0] for section in sections] == list(VERBS)
    for name, section in zip(VERBS, sections, strict=True):
        for parameter in [*verb(name).params, *(show.params if name == "sweep" else ())]:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert all(pages.cell(option) in section for option in parameter.opts)


def test_every_constant_of_every_profile_is_in_the_reference(pages: ModuleType) -> None:
    sections = re.split(r"^## ", pages.hardware(), flags=re.MULTILINE)[1:]
    meanings, *sections = sections
    for key, spec in SPECS.items():
        assert f"| {pages.cell(key)} | {pages.cell(spec.meaning)} |" in meanings
    assert [section.split("\n", 1)[0] for section in sections] == list(profile_names())
    for name, section in zip(profile_names(), sections, strict=True):
        for key in load_profile(name).constants:
            assert f"| {pages.cell(key)} |" in section


def test_every_public_name_is_in_the_reference(pages: ModuleType) -> None:
    told = {line.rsplit(".", 1)[-1] for line in pages.python().splitlines() if line[:3] == ":::"}
    assert told == {name for name in sgn.__all__ if not name.startswith("__")}


def built(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    words = ["-m", "mkdocs", "build", "--strict", "-f", str(config), "--site-dir", str(site)]
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
@needs_mkdocs
def test_the_site_is_built_strictly_and_asks_the_network_for_nothing(site: Path) -> None:
    html = "".join(p.read_text(encoding="utf-8") for p in site.rglob("*.html"))
    assert "first-half-hour.html" in html
    shown = (site / "walkthrough.html").read_text(encoding="utf-8")
    pictures = re.findall(r'<img alt="([^"]+)" src="(walkthrough_files/[^"]+)"', shown)
    cells = json.loads((EXAMPLES / "walkthrough.ipynb").read_text(encoding="utf-8"))["cells"]
    described = [cell["metadata"]["alt"] for cell in cells if "alt" in cell["metadata"]]
    assert [unescape(words) for words, _ in pictures] == described
    assert all((site / file).stat().st_size > 0 for _, file in pictures)
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


KINDS = (
    "index",
    "first-half-hour",
    "energy",
    "reference/verbs",
    "reference/python",
    "reference/profiles",
    "decisions/index",
    "walkthrough",
)
"""A page of every kind: front, commands, tables, what is generated, and the notebook."""
FETCHED = """return performance.getEntriesByType('resource').map(entry => entry.name)
  .filter(name => !name.startsWith('file:'))"""

needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium and chromedriver are installed"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = built(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.mark.slow
@needs_mkdocs
@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", KINDS)
def test_a_browser_shows_a_page_to_everybody(
    name: str, scheme: str, site: Path, session: Browser
) -> None:
    session.preferring(scheme)
    for width, height in ((1280, 900), PHONE):
        session.sized(width, height, mobile=(width, height) == PHONE)
        session.open(site / f"{name}.html")
        wanted = {"light": "default", "dark": "slate"}[scheme]
        assert session.run("return document.body.dataset.mdColorScheme") == wanted
        assert session.run("return document.documentElement.scrollWidth") <= width
        assert session.run(FETCHED) == []
        assert serious(session) == []


SEARCHED = """
  const field = document.querySelector("input.md-search__input");
  field.focus();
  field.value = arguments[0];
  field.dispatchEvent(new KeyboardEvent("keyup", { bubbles: true }));
  const found = () => [...document.querySelectorAll("a.md-search-result__link")].map((a) => a.href);
  return new Promise((done) => {
    const look = () => (found().length ? done(found()) : setTimeout(look, 50));
    look();
  });
"""
"""What the search finds for a word, once it has."""


@pytest.mark.slow
@needs_mkdocs
@needs_browser
@pytest.mark.parametrize("page", ["index", "reference/verbs"])
def test_pages_on_the_disk_are_searched(page: str, site: Path, session: Browser) -> None:
    session.sized(1280, 900)
    session.open(site / f"{page}.html")
    assert session.run("return location.protocol") == "file:"
    links = session.run(SEARCHED, "transformer")
    assert (site / "factors.html").as_uri() in {link.partition("#")[0] for link in links}
    assert session.run(FETCHED) == []


@pytest.mark.slow
@needs_mkdocs
@needs_browser
def test_a_copy_of_commands_has_no_prompt(site: Path, session: Browser) -> None:
    session.sized(1280, 900)
    session.open(site / "first-half-hour.html")
    copied = session.run("""
        const code = document.querySelectorAll("pre > code")[1];
        code.setAttribute("data-md-copying", "");  // as the button does
        return code.innerText;
    """)
    assert copied == blocks(ROOT / "docs" / "first-half-hour.md")[1].body.replace("$ ", "")
