"""The report: numbers and pictures as text, the whole page, and the page in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro import units
from spikegpt_neuro.cli import run as run_cli
from spikegpt_neuro.energy.record import Range
from spikegpt_neuro.reports import numbers
from spikegpt_neuro.reports.charts import Bar, columns, curves, intervals, stacked
from spikegpt_neuro.reports.raster import Train, raster

from random_models import random_model, save_upstream, write_vocabulary

pytest.importorskip("jinja2")
pytest.importorskip("torch")

HOSTILE = "<script>alert(1)<\\script>&amp;\"'{{ 7 * 7 }}.sgn"  # a name cannot hold a slash
TEXT = "</text><script>alert(2)</script> if a < b & c > d: return 'x'\n" * 4
SECTIONS = (
    *("model", "fidelity", "spikes", "operations", "energy"),
    *("schedules", "cores", "baselines", "accountings", "assumptions"),
)
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)


# Numbers


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.0, "J", "0 J"),
        (1.0, "J", "1.00 J"),
        (0.0032, "J", "3.20 mJ"),
        (999.6e-6, "s", "1.00 ms"),
        (123456789, "", "123 M"),
        (2.5e-19, "J", "2.50e-19 J"),
        (float("inf"), "s", "unbounded s"),
        (-4.5e-12, "J", "-4.50 pJ"),
    ],
)
def test_quantities_carry_a_prefix(value: float, unit: str, shown: str) -> None:
    assert numbers.scaled(value, unit).replace("\u00a0", " ") == shown


def test_a_range_is_shown_where_there_is_one() -> None:
    assert numbers.between(Range.exactly(2.0), "W") == "2.00\u00a0W"
    shown = numbers.between(Range(2e-3, 1e-3, 5e-3), "J")
    assert shown == "2.00\u00a0mJ (1.00\u00a0mJ to 5.00\u00a0mJ)"


@pytest.mark.parametrize("high", [0.0, 1e-9, 0.07, 1.0, 9.99, 250.0, 3e12])
def test_ticks_are_round_and_reach_the_end(high: float) -> None:
    marks = numbers.ticks(high)
    assert marks[0] == 0
    assert marks[-1] >= high * (1 - 1e-9)
    assert 2 <= len(marks) <= 8
    steps = np.diff(marks)
    assert np.allclose(steps, steps[0])


def test_axis_numbers_have_no_needless_zeros() -> None:
    assert [numbers.mark(v, "J") for v in (0, 5e-8, 1e-6)] == [
        "0\u00a0J",
        "50\u00a0nJ",
        "1\u00a0µJ",
    ]
    assert numbers.decades(3e-9, 2e-6) == [10.0**k for k in range(-9, -4)]


# Pictures


def rectangles(svg: str) -> list[dict[str, str]]:
    return [dict(re.findall(r"(\w+)='([^']*)'", tag)) for tag in re.findall(r"<rect ([^>]*)>", svg)]


def test_stacked_bars_are_as_long_as_their_values() -> None:
    svg = stacked("t", ("a", "b"), [Bar("x", (1.0, 3.0)), Bar("y", (2.0, 0.0))], ("what", "J"))
    widths = [float(r["width"]) for r in rectangles(svg)[2:]]  # two squares of the legend first
    assert widths[1] == pytest.approx(3 * widths[0], abs=0.02)
    assert widths[2] == pytest.approx(2 * widths[0], abs=0.02)
    assert widths[3] == 0
    assert ">4.00\u00a0J</text>" in svg


def test_columns_are_as_high_as_their_values() -> None:
    svg = columns("t", ("a", "b"), [Bar("0", (10.0, 20.0)), Bar("1", (5.0,))], ("layer", "%"))
    heights = [float(r["height"]) for r in rectangles(svg)[2:]]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.02)
    assert heights[2] == pytest.approx(heights[0] / 2, abs=0.02)


def test_intervals_stand_on_a_logarithmic_axis() -> None:
    rows = [("a", Range(1e-6, 1e-7, 1e-5)), ("b", Range(1e-5, 1e-5, 1e-5)), ("none", Range())]
    svg = intervals("t", rows, ("what", "J"))
    centres = [float(x) for x in re.findall(r"cx='([\d.]+)'", svg)]
    assert len(centres) == 2  # nothing stands for 0
    assert ">0\u00a0J</text>" in svg
    level = re.findall(r"<line x1='([\d.]+)' y1='([\d.]+)' x2='([\d.]+)' y2='\2'", svg)
    low, _, high = map(float, level[0])
    assert centres[0] == pytest.approx((low + high) / 2, abs=0.1)
    assert centres[1] == pytest.approx(high, abs=0.1)


def test_curves_end_where_their_values_say() -> None:
    svg = curves("t", (0, 1, 2), (("up", (0.0, 1.0, 2.0)), ("flat", (1.0, 1.0, 1.0))), ("x", "y"))
    up, flat = re.findall(r"points='([^']*)'", svg)
    heights = [float(point.split(",")[1]) for point in up.split()]
    assert heights[1] == pytest.approx((heights[0] + heights[2]) / 2, abs=0.1)
    assert {float(point.split(",")[1]) for point in flat.split()} == {heights[1]}


def test_the_raster_has_one_stroke_per_run_of_spikes() -> None:
    spikes = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], np.uint8)
    svg = raster("t", [Train("p", spikes, "#000000")], list("ab<d"))
    assert re.search(r"<path d='([^']*)'", svg)[1] == "M0 0.5h2M3 0.5h1M2 1.5h1"  # type: ignore[index]
    assert ">&lt;</text>" in svg


def test_pictures_escape_their_texts() -> None:
    evil = "</text><script>&'\""
    bars, spikes = [Bar(evil, (1.0,))], np.ones((2, 1), np.uint8)
    for svg in (
        stacked(evil, (evil,), bars, (evil, "J")),
        columns(evil, (evil,), bars, (evil, "%")),
        intervals(evil, [(evil, Range.exactly(1.0))], (evil, "J")),
        curves(evil, (0, 1), ((evil, (1.0, 1.0)),), (evil, evil)),
        raster(evil, [Train(evil, spikes, "#000000")], [evil, evil]),
    ):
        assert "<script" not in svg
        Tags().check(svg)


# The page


class Tags(HTMLParser):
    """Every opened element is closed, in order; texts and attributes are kept."""

    VOID = frozenset({"meta", "br", "hr", "img", "input", "link"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def check(self, text: str) -> Tags:
        self.feed(text)
        self.close()
        assert self.open == []
        return self


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model under a hostile name, and a text that its characters spell."""
    folder = tmp_path_factory.mktemp("report")
    save_upstream(folder / "model.pth", random_model(layers=2, width=16))
    write_vocabulary(folder / "vocab.json")
    (folder / "text.txt").write_text(TEXT)
    call("convert", folder / "model.pth", "--vocab", folder / "vocab.json", "-q", "--calibrate",
         folder / "text.txt", "-o", folder / HOSTILE)  # fmt: skip
    return folder


def call(*arguments: object) -> int:
    code = run_cli([str(argument) for argument in arguments])
    assert code == 0
    return code


@pytest.fixture(scope="module")
def page(folder: Path) -> Path:
    """The report of that model, compared with its checkpoint."""
    call("report", folder / HOSTILE, "-o", folder / "report.html", "--text", folder / "text.txt",
         "--against", folder / "model.pth", "--tokens", 128, "-q")  # fmt: skip
    return folder / "report.html"


def test_the_page_is_well_formed_and_has_every_section(page: Path) -> None:
    tags = Tags().check(page.read_text(encoding="utf-8"))
    assert tuple(a["id"] for tag, a in tags.seen if tag == "section") == SECTIONS
    assert sum(tag == "svg" for tag, _ in tags.seen) == 10
    assert all(a.get("aria-label") or a.get("role") == "img" for t, a in tags.seen if t == "svg")


def test_the_page_needs_nothing_beside_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    tags = Tags().check(text)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in tags.seen}
    for _, attributes in tags.seen:
        assert not {"src", "onload", "onerror", "onclick"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert "url(" not in text
    assert "@import" not in text
    assert {*re.findall(r"https?://[^'\"\s<]+", text)} == {"http://www.w3.org/2000/svg"}


def test_hostile_names_and_texts_stay_text(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    words = Tags().check(text).words
    assert words.count(HOSTILE) >= 1  # the heading, literally: no braces were evaluated
    assert "49" not in words


def test_the_total_stands_beside_how_near_the_model_comes(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for quantity in ("energy", "time"):
        said = rf"The {quantity} of published runs is predicted within x\d\.\d on \d+ of \d+\."
        assert re.search(said, text)


def test_the_figures_are_those_of_profile(
    page: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One run, priced by ``profile``: the page shows the same joules, times and operations."""
    capsys.readouterr()
    words = set(Tags().check(page.read_text(encoding="utf-8")).words)
    for schedule in ("pipelined", "fall-through"):
        call("profile", folder / HOSTILE, "--hw", "loihi2", "--text", folder / "text.txt",
             "--tokens", 128, "--schedule", schedule, "--json", "-q")  # fmt: skip
        found = json.loads(capsys.readouterr().out)
        joules = [found[f"joules_per_token{end}"] for end in ("", "_low", "_high")]
        seconds = [found[f"seconds_per_token{end}"] for end in ("", "_low", "_high")]
        assert numbers.between(Range(*joules), "J") in words
        assert numbers.between(Range(*seconds), "s") in words
        assert units.digits(found["tokens_per_second"]) in words
        assert f"{found['effective_macs_per_token']:,.0f}" in words


def test_without_a_checkpoint_the_page_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    call(
        "report", folder / HOSTILE, "-o", folder / "alone.html", "--prompt", "if a", "--json", "-q"
    )
    assert json.loads(capsys.readouterr().out) == {"path": str(folder / "alone.html")}
    assert "No float checkpoint was given" in (folder / "alone.html").read_text(encoding="utf-8")


def test_no_page_is_replaced_or_half_written(
    page: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = page.read_bytes()
    assert run_cli(["report", str(folder / HOSTILE), "-o", str(page)]) == 3
    assert "--force" in capsys.readouterr().err
    missing = folder / "none" / "report.html"
    assert run_cli(["report", str(folder / HOSTILE), "-o", str(missing)]) == 3
    assert page.read_bytes() == before


def test_a_chip_that_cannot_run_it_is_a_failed_check(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = folder / "loihi1.html"
    arguments = ["report", folder / HOSTILE, "-o", output, "--hw", "loihi1", "--prompt", "if", "-q"]
    assert run_cli([str(a) for a in arguments]) == 1
    assert "sends graded events" in capsys.readouterr().err
    assert not output.exists()


def test_what_a_chip_measures_is_not_priced_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["report", str(folder / HOSTILE), "-o", str(folder / "x.html")]
    assert run_cli([*arguments, "--backend", "loihi"]) == 2
    assert "profile with --backend loihi measures" in capsys.readouterr().err


def test_without_jinja2_the_install_line_is_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert run_cli(["report", str(folder / HOSTILE), "-o", str(folder / "x.html")]) == 4
    assert "pip install 'spikegpt-neuro[report]'" in capsys.readouterr().err


# The page in a real browser

MEASURE = """<script>addEventListener('load', () => {
  const wide = document.documentElement;
  const outside = [...document.querySelectorAll('svg')].flatMap(svg => {
    const room = svg.getBoundingClientRect();
    return [...svg.querySelectorAll('text')].filter(text => {
      const box = text.getBoundingClientRect();
      return box.left < room.left - 1 || box.right > room.right + 1 ||
        box.top < room.top - 1 || box.bottom > room.bottom + 1;
    }).map(text => text.textContent);
  });
  const found = {
    width: wide.clientWidth, scroll: wide.scrollWidth, outside,
    sections: [...document.querySelectorAll('section')].map(section => section.id),
    empty: [...document.querySelectorAll('svg, table')].filter(
      thing => thing.getBoundingClientRect().height < 20).length,
    resources: performance.getEntriesByType('resource').map(entry => entry.name),
  };
  document.body.innerHTML = '<pre id="found">' + encodeURIComponent(JSON.stringify(found));
});</script></body>"""


def browse(folder: Path, *arguments: str) -> str:
    """Run a fresh headless browser; standard output."""
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             f"--user-data-dir={folder / 'browser'}")  # fmt: skip
    done = subprocess.run(
        [BROWSER, *flags, *arguments], capture_output=True, text=True, timeout=120
    )
    shutil.rmtree(folder / "browser", ignore_errors=True)
    return done.stdout


@pytest.mark.skipif(not BROWSER, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [1200, 500])
def test_a_browser_shows_all_of_it(page: Path, tmp_path: Path, width: int) -> None:
    from urllib.parse import unquote

    text = page.read_text(encoding="utf-8").replace("</body>", MEASURE)
    measuring = tmp_path / "measuring.html"
    measuring.write_text(re.sub(r"<meta http-equiv[^>]*>", "", text), encoding="utf-8")
    dom = browse(tmp_path, f"--window-size={width},900", "--dump-dom", measuring.as_uri())
    match = re.search(r'<pre id="found">([^<]*)', dom)
    assert match, dom[-500:]
    found: dict[str, Any] = json.loads(unquote(match[1]))
    assert tuple(found["sections"]) == SECTIONS
    assert found["scroll"] <= found["width"]
    assert found["outside"] == []
    assert found["empty"] == 0
    assert found["resources"] == []


@pytest.mark.skipif(not BROWSER, reason="no Chromium is installed")
def test_it_prints(page: Path, tmp_path: Path) -> None:
    browse(tmp_path, f"--print-to-pdf={tmp_path / 'report.pdf'}", page.as_uri())
    pdf = (tmp_path / "report.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert 4 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 20


def test_a_sweep_is_a_section(tmp_path: Path) -> None:
    """Its table with the options that vary, and the front of joules and bits."""
    from spikegpt_neuro.reports.sweep import section
    from spikegpt_neuro.sweeps.folder import BASIS, TABLE
    from spikegpt_neuro.sweeps.reading import overview

    (tmp_path / BASIS).write_text("{}", encoding="utf-8")
    heads = "point,hw,weight_bits,error,evaluate.bits_per_token,profile.joules_per_token"
    rows = ("1,a,8,,2.5,3e-05", "2,a,4,,2.75,2e-05", "3,a,6,,2.8,4e-05", "4,a,5,convert: no,,")
    (tmp_path / TABLE).write_text("\n".join([heads, *rows, ""]), encoding="utf-8")
    found = section(overview(tmp_path))
    picture, table = found.blocks
    assert (found.name, picture.svg.count("<circle"), picture.svg.count("r='6'")) == ("sweep", 3, 2)  # type: ignore[union-attr]
    assert table.head[:3] == ("point", "weight_bits", "error")  # type: ignore[union-attr]
    assert table.rows[1] == ("2", "4", "", "2.75", "2e-05", "yes")  # type: ignore[union-attr]
    assert table.rows[3] == ("4", "5", "convert: no", "", "", "")  # type: ignore[union-attr]
