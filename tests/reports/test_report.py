"""The report: numbers and pictures as text, the whole page, and the page in a real browser."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.util
import io
import json
import re
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

import spikegpt_neuro as sgn
from spikegpt_neuro import units
from spikegpt_neuro.api.beside import float_continuation, float_model_for
from spikegpt_neuro.api.inputs import tokens_of
from spikegpt_neuro.cli import run as run_cli
from spikegpt_neuro.energy.record import Range
from spikegpt_neuro.evaluation.interval import interval
from spikegpt_neuro.reports import numbers
from spikegpt_neuro.reports.charts import Bar, columns, curves, intervals, stacked
from spikegpt_neuro.reports.content import Writing
from spikegpt_neuro.reports.raster import Train, raster

from accessibility import serious
from browser import CHROMIUM, DRIVER, Browser, browser
from random_models import random_model, save_upstream, write_vocabulary

pytest.importorskip("jinja2")
pytest.importorskip("torch")

HOSTILE = "<script>alert(1)<\\script>&amp;\"'{{ 7 * 7 }}.sgn"  # a name cannot hold a slash
TEXT = "</text><script>alert(2)</script> if a < b & c > d: return 'x'\n" * 4
SECTIONS = (
    *("writing", "fidelity", "verdict", "spikes", "operations", "energy"),
    *("schedules", "cores", "baselines", "model", "accountings", "assumptions"),
)
FOLDED = ("model", "accountings", "assumptions")


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
    assert sum(tag == "svg" for tag, _ in tags.seen) == 9 * 2 + 1  # wide, narrow; and the map
    folded = re.findall(r'<section id="(\w+)">\s*<details>', page.read_text(encoding="utf-8"))
    assert tuple(folded) == FOLDED
    assert all(a.get("aria-label") or a.get("role") == "img" for t, a in tags.seen if t == "svg")


def test_the_page_needs_nothing_beside_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    tags = Tags().check(text)
    assert not {"link", "img", "iframe", "object"} & {tag for tag, _ in tags.seen}
    for _, attributes in tags.seen:
        assert not {"src", "onload", "onerror", "onclick"} & set(attributes)
        assert (attributes.get("href") or "#").startswith(("#", "data:text/csv"))
    assert "url(" not in text
    assert "@import" not in text
    assert {*re.findall(r"https?://[^'\"\s<]+", text)} == {"http://www.w3.org/2000/svg"}


def test_the_one_script_is_the_one_that_the_page_allows(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{hashed}'" in text


def test_hostile_names_and_texts_stay_text(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("<script") == 1  # its own
    words = Tags().check(text).words
    assert words.count(HOSTILE) >= 1  # the heading, literally: no braces were evaluated
    assert "49" not in words


def test_the_fidelity_says_on_how_much_text_and_how_sure(page: Path) -> None:
    words = " ".join(Tags().check(page.read_text(encoding="utf-8")).words)
    positions = len(TEXT) - 1
    assert f"{positions:,} positions scored, all that the text has" in words
    assert "Too few windows for an interval" in words


def test_an_interval_holds_the_mean_and_narrows_with_the_text() -> None:
    rng = np.random.default_rng(3)
    sums, tokens = rng.normal(512, 40, 400).tolist(), [256] * 400
    wide, narrow = interval(sums[:16], tokens[:16]), interval(sums, tokens)
    assert wide is not None
    assert narrow is not None
    for found, count in ((wide, 16), (narrow, 400)):
        assert found.low < sum(sums[:count]) / (256 * count) < found.high
        assert found.windows == count
    expected = 2 * 1.96 * 40 / 256 / 20  # of the mean of 400 windows
    assert narrow.high - narrow.low == pytest.approx(expected, rel=0.15)
    assert 3 < (wide.high - wide.low) / (narrow.high - narrow.low) < 8
    assert interval(sums[:7], tokens[:7]) is None


def test_what_it_writes_stands_beside_the_float_models_text(page: Path) -> None:
    tags = Tags().check(page.read_text(encoding="utf-8"))
    assert sum(tag == "blockquote" for tag, _ in tags.seen) == 2
    assert "Float checkpoint" in tags.words


def test_two_texts_are_parted_at_the_first_word_that_differs() -> None:
    found = Writing("p", "one two three", "one twelve", 3, 1, "")
    assert found.shared == "one tw"
    assert found.parted(found.text) == ("o", " three")
    assert found.parted(found.float_text) == ("elve", "")
    assert Writing("p", "alone", None, 1, 1, "").parted("alone") == ("", "")


def test_what_a_page_cannot_show_of_a_text_is_counted() -> None:
    found = Writing("p", "one two", "one and\n   \n", 3, 1, "")
    assert found.parted(found.float_text) == ("and", "")
    assert found.blank(found.float_text) == 5
    assert found.blank(found.text) == 0


def test_the_float_model_writes_as_its_logits_say(folder: Path) -> None:
    """Token by token with the state carried, as whole sequences read again and again."""
    graph = sgn.load(folder / HOSTILE)
    floating = float_model_for(graph, folder / "model.pth")
    prompt = tokens_of(graph, "if a < b")
    drawn = float_continuation(graph, floating, prompt, 6, temperature=0.0, seed=0)
    read = [*prompt.tolist()]
    for token in drawn.tolist():
        assert token == int(np.argmax(floating.logits(np.array(read))[-1]))
        read.append(token)


def test_no_phrase_of_ours_leaks(page: Path) -> None:
    words = " ".join(Tags().check(page.read_text(encoding="utf-8")).words)
    for phrase in ("this file", "head of", "TODO", " None,", "nan "):
        assert phrase not in words, phrase


def test_every_figure_can_be_taken_along_as_csv(page: Path) -> None:
    tags = Tags().check(page.read_text(encoding="utf-8"))
    links = {a["download"]: a["href"] for tag, a in tags.seen if tag == "a" and "download" in a}
    assert len(links) == sum(tag == "figure" for tag, _ in tags.seen) == 10
    for name, link in links.items():
        head, *rows = csv.reader(io.StringIO(unquote((link or "").partition(",")[2])))
        assert rows, name
        assert {len(row) for row in rows} == {len(head)}, name


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
    text = (folder / "alone.html").read_text(encoding="utf-8")
    assert "No float checkpoint was given" in text
    assert "No other backend ran for this report" in text


@pytest.mark.skipif(importlib.util.find_spec("lava") is None, reason="runs Lava")
def test_lavas_verdict_is_on_the_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    call("report", folder / HOSTILE, "-o", folder / "lava.html", "--text", folder / "text.txt",
         "--tokens", 32, "--verify", "lava", "--json", "-q")  # fmt: skip
    assert json.loads(capsys.readouterr().out)["matches_reference"] is True
    text = (folder / "lava.html").read_text(encoding="utf-8")
    assert "The backend lava (granularity block) ran 32 tokens" in text
    assert "all are equal" in text


def test_a_sweep_is_shown(folder: Path) -> None:
    plan = {"checkpoint": "model.pth", "vocab": "vocab.json", "calibrate": "text.txt",
            "text": "text.txt", "tokens": 64, "grid": {"weight_bits": [4, 8]}}  # fmt: skip
    here = {k: str(folder / v) if isinstance(v, str) else v for k, v in plan.items()}
    sgn.sweep(here, folder / "swept")
    call("report", folder / HOSTILE, "-o", folder / "swept.html", "--prompt", "if a", "-q",
         "--sweep", folder / "swept")  # fmt: skip
    assert '<section id="sweep">' in (folder / "swept.html").read_text(encoding="utf-8")


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

needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium with its driver is installed"
)
MEASURE = """
const seen = thing => thing.getBoundingClientRect().height > 0;
const outside = [...document.querySelectorAll('svg')].filter(seen).flatMap(svg => {
  const room = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(text => {
    const box = text.getBoundingClientRect();
    return box.left < room.left - 1 || box.right > room.right + 1 ||
      box.top < room.top - 1 || box.bottom > room.bottom + 1;
  }).map(text => text.textContent);
});
const sizes = [...document.querySelectorAll('svg text')].filter(seen).map(text => {
  const svg = text.ownerSVGElement;
  const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  return parseFloat(getComputedStyle(text).fontSize) * scale;
});
return {
  width: innerWidth, scroll: document.documentElement.scrollWidth, outside,
  smallest: Math.min(...sizes),
  sections: [...document.querySelectorAll('section')].map(section => section.id),
  empty: [...document.querySelectorAll('svg, table')].filter(
    thing => seen(thing) && thing.getBoundingClientRect().height < 20).length,
  pictures: [...document.querySelectorAll('figure')].filter(
    figure => [...figure.querySelectorAll('svg')].filter(seen).length == 1).length,
  resources: performance.getEntriesByType('resource').map(entry => entry.name),
  page: getComputedStyle(document.documentElement).backgroundColor,
  words: getComputedStyle(document.querySelector('svg text')).fill,
};"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, Path]]:
    """A browser, and where it saves files."""
    downloads = tmp_path_factory.mktemp("browser")
    with browser(downloads) as session:
        yield session, downloads


@needs_browser
@pytest.mark.parametrize("width", [1200, 400])
def test_a_browser_shows_all_of_it(page: Path, chromium: tuple[Browser, Path], width: int) -> None:
    session, _ = chromium
    session.sized(width, 850, mobile=width == 400)
    session.open(page)
    found = session.run(MEASURE)
    assert tuple(found["sections"]) == SECTIONS
    assert found["width"] == width
    assert found["scroll"] <= width
    assert found["outside"] == []
    assert found["empty"] == 0
    assert found["pictures"] == 10
    assert found["smallest"] >= 9  # pixels of a telephone, not of the drawing
    assert found["resources"] == []


@needs_browser
def test_a_dark_page_has_light_words(page: Path, chromium: tuple[Browser, Path]) -> None:
    session, _ = chromium
    session.preferring("dark")
    session.open(page)
    found = session.run(MEASURE)
    session.preferring("light")
    levels = {k: sum(map(int, re.findall(r"\d+", found[k])[:3])) for k in ("page", "words")}
    assert levels["page"] < 100
    assert levels["words"] > 400


@needs_browser
def test_the_map_changes_its_colours_and_is_saved_with_them(
    page: Path, chromium: tuple[Browser, Path]
) -> None:
    session, downloads = chromium
    session.open(page)
    colours = "return [...document.querySelectorAll('.core')].map(c => getComputedStyle(c).fill)"
    seen = []
    for name in ("layer", "load", "memory"):
        session.run(f"document.querySelector('[value={name}]').click()")
        seen.append(session.run(colours))
    assert len({tuple(each) for each in seen}) == 3
    session.run("document.querySelector('.map button').click()")
    svg = arrived(downloads / "cores.svg")
    Tags().check(svg)
    assert svg.count("<rect") > len(seen[0])
    assert f'fill="{seen[2][0]}"' in svg
    assert "style=" not in svg


@needs_browser
def test_a_csv_is_saved(page: Path, chromium: tuple[Browser, Path]) -> None:
    session, downloads = chromium
    session.open(page)
    session.run("document.querySelector('[download=\"firing-rates.csv\"]').click()")
    assert arrived(downloads / "firing-rates.csv").startswith("layer,")


def arrived(file: Path) -> str:
    """What a download holds, once it is there: an empty file of its name comes first."""
    for _ in range(100):
        if file.exists() and (text := file.read_text(encoding="utf-8")):
            return text
        time.sleep(0.1)
    raise AssertionError(f"{file.name} was not saved")


@needs_browser
def test_it_prints_with_its_appendices(page: Path, chromium: tuple[Browser, Path]) -> None:
    session, _ = chromium
    session.open(page)
    session.run("dispatchEvent(new Event('beforeprint'))")
    assert session.run("return document.querySelectorAll('details:not([open])').length") == 0
    session.run("dispatchEvent(new Event('afterprint'))")
    pdf = session.printed()
    assert pdf.startswith(b"%PDF")
    assert 4 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 20


@needs_browser
def test_a_link_to_an_appendix_opens_it(page: Path, chromium: tuple[Browser, Path]) -> None:
    session, _ = chromium
    session.open(page)
    session.run("document.querySelector('nav a[href=\"#assumptions\"]').click()")
    session.run("return new Promise(done => setTimeout(done, 100))")
    assert session.run("return document.querySelector('#assumptions details').open") is True


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page: Path, chromium: tuple[Browser, Path], scheme: str) -> None:
    session, _ = chromium
    session.preferring(scheme)
    session.open(page)
    session.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert serious(session) == []
    session.preferring("light")
