"""Named accountings: what their formulas give, beside what was published."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from spikegpt_neuro.energy.accounting import ACCOUNTINGS, Priced, TokenCounts, conventions, price
from spikegpt_neuro.energy.accounting.constants import CONVENTION, constants
from spikegpt_neuro.energy.accounting.paper import PUBLISHED, SUMS, operations
from spikegpt_neuro.energy.accounting.record import Accounting
from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.hardware.profile import LIBRARY, profile_names
from spikegpt_neuro.hardware.schema import KINDS
from spikegpt_neuro.model.spikegpt import ModelShape

from places import ROOT

T, D, R, L = 3072, 512, 0.15, 12  # of the paper's energy table
MAC, AC = 4.5e-12, 0.9e-12
PAPER = TokenCounts(
    shape=ModelShape(L, D, 5500),
    context=T,
    firing_rate=R,
    effective_acs=0.0,
    effective_macs=30e6,
    dense=43e6,
    synaptic_operations=31e6,
    neuron_updates=150e3,
)
VARIANTS = [(a, v) for a in ACCOUNTINGS.values() for v in a.variants]


def layer_joules(variant: str) -> tuple[float, float]:
    """The table's two sums: joules of one layer over T tokens, of the transformer and ours."""
    priced = price(f"paper-v5:{variant}", PAPER)
    theirs = sum(row.joules for row in priced.against)
    return theirs * T / L, priced.joules * T / L


def test_paper_v5_gives_the_qkv_row_as_published() -> None:
    layer = operations(T, D, SUMS["full-7Td"][1])
    assert layer.transformer["QKV"] == 3 * T * D * D
    assert f"{layer.transformer['QKV'] * 4.5:.3e}" == "1.087e+10"
    assert f"{layer.spikegpt['QKV'] * 0.9 * R:.2e}" == "3.26e+08"


@pytest.mark.parametrize(
    ("variant", "ratio"),
    [
        ("full-7Td", "64.32"),
        ("full-6Td", "64.66"),
        ("ffn-once-7Td", "144.93"),
        ("ffn-once-6Td", "147.71"),
        ("without-qkv-7Td", "31.85"),
        ("without-qkv-6Td", "32.07"),
    ],
)
def test_paper_v5_has_every_total_under_its_own_name(variant: str, ratio: str) -> None:
    found = price(f"paper-v5:{variant}", PAPER).ratio
    assert found is not None
    assert f"{found:.2f}" == ratio


def test_paper_v5_sums_by_hand() -> None:
    ffn = 9 * T * D * D
    attention = 3 * T * D * D + 2 * T * T * D + 3 * T * T
    assert layer_joules("full-7Td") == pytest.approx(
        (MAC * (attention + ffn), AC * R * (3 * T * D * D + ffn) + MAC * 7 * T * D), rel=1e-12
    )
    assert layer_joules("without-qkv-6Td") == pytest.approx(
        (MAC * (3 * T * T + ffn), AC * R * ffn + MAC * 6 * T * D), rel=1e-12
    )
    assert layer_joules("ffn-once-7Td") == pytest.approx(
        (MAC * (attention + 9 * D * D), AC * R * 12 * D * D * (T / 4 + 0.75) + MAC * 7 * T * D),
        rel=1e-12,
    )


def test_the_published_totals_are_kept_and_not_derived() -> None:
    assert (PUBLISHED.transformer, PUBLISHED.spikegpt, PUBLISHED.ratio) == (3.29e-2, 1.02e-3, 32.2)
    totals = [layer_joules(variant) for variant in SUMS]
    assert all(f"{theirs:.2e}" != "3.29e-02" for theirs, _ in totals)
    assert [
        v for v, (_, ours) in zip(SUMS, totals, strict=True) if f"{ours:.2e}" == "1.02e-03"
    ] == ["without-qkv-6Td"]
    assert "32.2x" in ACCOUNTINGS["paper-v5"].published[0]


def test_paper_v1_gives_5x_from_the_constants_whatever_the_model() -> None:
    for counts in (PAPER, replace(PAPER, shape=ModelShape(2, 16, 50), effective_macs=1.0)):
        assert price("paper-v1", counts).ratio == pytest.approx(5.0, rel=1e-12)


def test_paper_v1_synops_are_products_with_non_zero_activations() -> None:
    ratio = price("paper-v1:synops", PAPER).ratio
    transformer = L * (12 * D * D + (T + 1) * D) + 5500 * D
    assert ratio == pytest.approx(transformer / 30e6, rel=1e-12)
    assert "22x" in ACCOUNTINGS["paper-v1"].published[0]


def test_horowitz_by_hand() -> None:
    counts = replace(PAPER, effective_acs=1e6, effective_macs=2e6)
    assert price("horowitz45", counts).joules == pytest.approx(2 * 0.23e-6 + 0.03e-6, rel=1e-12)
    assert price("horowitz45:float32", counts).joules == pytest.approx(2 * 4.6e-6 + 0.9e-6)
    memory = price("horowitz45:int8-memory", counts)
    assert memory.joules == pytest.approx(2 * 0.3e-6 + 0.1e-6 + 31e6 * 24.96e-12, rel=1e-12)
    cache = [row for row in memory.against if row.name == "bytes of the cache"]
    assert cache[0].operations == L * D * (T + 1)


def test_neurobench_counts_at_float32_constants() -> None:
    assert price("neurobench", PAPER).joules == price("horowitz45:float32", PAPER).joules


@pytest.mark.parametrize(
    ("device", "synapse", "update", "spiking"),
    [
        ("loihi", 27.1e-12, 81e-12, True),
        ("spinnaker", 13.3e-9, 26e-9, True),
        ("spinnaker2", 450e-12, 2.19e-9, True),
        ("cpu", 8.6e-9, 8.6e-9, False),
        ("gpu", 0.3e-9, 0.3e-9, False),
        ("arm", 0.9e-9, 0.9e-9, False),
    ],
)
def test_kerasspiking_by_hand(device: str, synapse: float, update: float, spiking: bool) -> None:
    operations_met = 31e6 if spiking else 43e6
    priced = price(f"kerasspiking:{device}", PAPER)
    assert priced.joules == pytest.approx(operations_met * synapse + 150e3 * update, rel=1e-12)
    assert set(priced.by_category) == {"synapse", "neuron"}


@pytest.mark.parametrize(("accounting", "variant"), VARIANTS)
def test_rows_add_up_and_scale_with_their_counts(accounting: Accounting, variant: str) -> None:
    priced = accounting.price(PAPER, variant)
    assert priced.joules == sum(priced.by_category.values()) > 0
    assert priced.joules == pytest.approx(sum(row.joules for row in priced.rows), rel=1e-12)
    assert (priced.accounting, priced.variant) == (accounting.name, variant)
    assert all(row.joules >= 0 for row in (*priced.rows, *priced.against))
    assert priced.constants


def test_doubling_a_constant_moves_only_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    before = price("kerasspiking:loihi", PAPER)
    doubled = dict(constants("kerasspiking"))
    key = "loihi_neuron_update"
    doubled[key] = replace(doubled[key], value=162)
    monkeypatch.setattr(conventions, "constants", lambda name: doubled)
    after = price("kerasspiking:loihi", PAPER)
    assert after.by_category["synapse"] == before.by_category["synapse"]
    assert after.by_category["neuron"] == 2 * before.by_category["neuron"]


def test_a_silent_model_compares_with_nothing() -> None:
    silent = replace(PAPER, effective_macs=0.0)
    assert price("horowitz45", silent).ratio is None
    assert Priced("x", "y", (), ()).ratio is None


@pytest.mark.parametrize(
    ("name", "message"),
    [("paper", "no accounting named 'paper'"), ("paper-v5:9Td", "no variant '9Td'; it has full")],
)
def test_an_unknown_accounting_is_named(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        price(name, PAPER)


def test_constants_have_kinds_and_sources_and_are_no_chips() -> None:
    folder = ROOT / "hw_profiles" / "accountings"
    names = sorted(file.stem for file in folder.glob("*.toml"))
    assert names == ["horowitz45", "kerasspiking", "paper"]
    for name in names:
        for constant in constants(name).values():
            assert constant.kind in (*KINDS, CONVENTION)
            assert constant.source
            assert constant.range == (constant.base, constant.base)
    assert not set(names) & set(profile_names())


def test_a_damaged_constants_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "accountings"
    folder.mkdir()
    text = (ROOT / "hw_profiles" / "accountings" / "paper.toml").read_text()
    (folder / "guessed.toml").write_text(text.replace('"convention"', '"guessed"'))
    (folder / "newer.toml").write_text(text.replace("schema = 1", "schema = 2"))
    module = "spikegpt_neuro.energy.accounting.constants.files"
    monkeypatch.setattr(module, lambda package: tmp_path if package == LIBRARY else None)
    with pytest.raises(ValueError, match=r"guessed.toml: mac: unknown kind or unit"):
        constants("guessed")
    with pytest.raises(ValueError, match="schema 2, expected 1"):
        constants("newer")


def test_every_accounting_is_documented() -> None:
    page = (ROOT / "docs" / "accountings.md").read_text(encoding="utf-8")
    for accounting, variant in VARIANTS:
        assert accounting.formula
        assert accounting.source
        assert accounting.leaves_out
        assert f"`{accounting.name}`" in page
        assert f"`{variant}`" in page


def test_the_page_shows_what_the_formulas_give() -> None:
    """The sums in the page's table, in pJ, and their ratios are those that the code computes."""
    page = (ROOT / "docs" / "accountings.md").read_text(encoding="utf-8")
    row = re.compile(
        r"^\| `([\w-]+Td)` \|.*\| ([\d.e]+) \| ([\d.e]+) \| ([\d.]+)x \|$", re.MULTILINE
    )
    shown = {name: figures for name, *figures in row.findall(page)}
    assert list(shown) == list(SUMS)
    for variant, (theirs, ours, ratio) in shown.items():
        computed = layer_joules(variant)
        sums = [f"{joules * 1e12:.3e}".replace("e+", "e").replace("e0", "e") for joules in computed]
        assert [theirs, ours] == sums
        assert ratio == f"{computed[0] / computed[1]:.2f}"
