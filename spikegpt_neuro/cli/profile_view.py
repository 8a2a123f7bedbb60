"""A profile as a person reads it: what a token costs, where it goes, and on what it rests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from spikegpt_neuro.api.costs import SETTING
from spikegpt_neuro.cli import tables
from spikegpt_neuro.cli.common import in_words
from spikegpt_neuro.cli.streams import say
from spikegpt_neuro.energy.pricing import CATEGORY_OF
from spikegpt_neuro.energy.record import CATEGORIES
from spikegpt_neuro.energy.tables import SYSTEM
from spikegpt_neuro.units import scaled

NAMES = ("hardware", *(name for name in SETTING if name != "hardware"))
"""What sets profiles apart."""

HELD = {"joules": "energy model", "seconds": "time model"}
"""What is held against published runs."""

FILLING = (("seconds", "s"), ("joules", "J"))

Figures = Mapping[str, Any]


def show(figures: Figures) -> None:
    """One profile: its summary, then tables."""
    tables.show(_summary(figures))
    if len(figures["by_layer"]) > 1:  # else nothing is known of layers
        tables.show(_layers(figures))
    if figures["by_operation"]:
        tables.show(_operations(figures))
    tables.show(_kinds(figures), wrapped=("constants",))
    for remark in _remarks(figures):
        say(remark)


def show_side_by_side(found: Sequence[Figures]) -> None:
    """A row for each profile; a reason in place of figures where one does not fit."""
    differing = [n for n in NAMES if len({f.get(n) for f in found}) > 1] or ["hardware"]
    for table in (_totals(found, differing), _categories(found, differing)):
        tables.show(table)
    for reason in dict.fromkeys(f"{f['hardware']}: {f['error']}" for f in found if "error" in f):
        say(reason)


def show_comparison(rows: Sequence[Figures]) -> None:
    """Measured beside estimated, category by category."""
    table = _table("category", "quantity", "measured", "estimated", "range", "ratio", right_from=2)
    for row in rows:
        unit = f" {row['unit']}" if row["unit"] else ""
        ratio, estimated = row["ratio"], row["estimated"]
        table.add_row(
            row["category"],
            row["quantity"],
            f"{row['measured']:.4g}{unit}",
            f"{estimated['value']:.4g}{unit}",
            f"{estimated['low']:.3g} .. {estimated['high']:.3g}",
            "-" if ratio is None else f"{ratio:.3g}",
        )
    tables.show(table)


def _range(figures: Figures, key: str, unit: str) -> str:
    low, high = figures[f"{key}_low"], figures[f"{key}_high"]
    return "-" if low == high else f"{scaled(low, unit)} .. {scaled(high, unit)}"


def _between(figures: Figures, key: str, unit: str) -> str:
    within = _range(figures, key, unit)
    return scaled(figures[key], unit) + ("" if within == "-" else f" ({within})")


def _rate(figures: Figures) -> str:
    rate = figures["tokens_per_second"]
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _table(*heads: str, right_from: int = 1, title: str | None = None) -> Table:
    """A table whose columns from ``right_from`` on hold figures."""
    return tables.table(*heads, left=heads[:right_from], title=title)


def _summary(figures: Figures) -> Table:
    table = _table("per token", str(figures["hardware"]))
    for name in ("backend", "schedule", "timing", "accounting"):
        table.add_row("timing model" if name == "timing" else name, str(figures[name]))
    table.add_section()
    table.add_row("energy", _between(figures, "joules_per_token", "J"))
    table.add_row("time", _between(figures, "seconds_per_token", "s"))
    for quantity, accuracy in figures.get("accuracy", {}).items():
        table.add_row(HELD[quantity], accuracy["said"])
    table.add_row("tokens per second", _rate(figures))
    table.add_row("chips, cores", f"{figures['chips']:,}, {figures['cores']:,}")
    table.add_row("rests on assumed constants", f"{figures['share_assumed']:.1%}")
    table.add_section()
    table.add_row("synaptic operations", f"{figures['synops_per_token']:,.0f}")
    table.add_row("over dense", f"{figures['synops_over_dense']:.1%}")
    table.add_row("weights that exist", f"{figures['weight_density']:.1%}")
    table.add_row("of these spike-driven", f"{figures['share_spike_driven']:.2%}")
    for name in ("Effective_ACs", "Effective_MACs", "Dense"):
        table.add_row(name, f"{figures[f'{name.lower()}_per_token']:,.0f}")
    table.add_section()
    for category in CATEGORIES:
        table.add_row(category, _category(figures, category))
    if figures["joules_undivided"]:
        table.add_row("undivided", scaled(figures["joules_undivided"], "J"))
    return table


def _category(figures: Figures, category: str) -> str:
    joules = figures["joules"][category]
    missing = (
        f"energy.{operation} "
        for operation, its_category in CATEGORY_OF.items()
        if its_category == category
    )
    if not joules and any(n.startswith(tuple(missing)) for n in figures["not_modelled"]):
        return "not modelled"
    share = joules / (figures["joules_per_token"] or 1.0)
    return f"{scaled(joules, 'J')} {share:>6.1%}"


def _totals(found: Sequence[Figures], differing: Sequence[str]) -> Table:
    heads = ("energy", "range", "tokens/s", "chips", "assumed")
    table = _table(
        *map(in_words, differing), *heads, right_from=len(differing), title=_per_token(found)
    )
    for figures in found:
        names = [str(figures[name]) for name in differing]
        if "error" in figures:
            table.add_row(*names, "does not fit")
            continue
        table.add_row(
            *names,
            scaled(figures["joules_per_token"], "J"),
            _range(figures, "joules_per_token", "J"),
            _rate(figures),
            f"{figures['chips']:,}",
            f"{figures['share_assumed']:.0%}",
        )
    return table


def _per_token(found: Sequence[Figures]) -> str:
    """The title: energy hangs on how time is found, so that stands there."""
    return f"per token, timing model {', '.join(dict.fromkeys(f['timing'] for f in found))}"


def _categories(found: Sequence[Figures], differing: Sequence[str]) -> Table:
    fitting = [figures for figures in found if "error" not in figures]
    used = [c for c in CATEGORIES if any(figures["joules"][c] for figures in fitting)]
    table = _table(*map(in_words, differing), *used, right_from=len(differing), title="by category")
    for figures in fitting:
        names = [str(figures[name]) for name in differing]
        table.add_row(*names, *(scaled(figures["joules"][c], "J") for c in used))
    return table


def _layers(figures: Figures) -> Table:
    """Layers alone: static power and the host belong to none, and stand in the summary."""
    rows = [r for r in figures["by_layer"] if r["joules_per_token"] and r["layer"] != SYSTEM]
    used = [c for c in CATEGORIES if any(row["joules"].get(c) for row in rows)]
    table = _table("layer", "SynOps", "energy", *used, title="by layer")
    for row in rows:
        cells = (row["joules"].get(category, 0.0) for category in used)
        table.add_row(
            row["layer"],
            f"{row['synops_per_token']:,.0f}",
            scaled(row["joules_per_token"], "J"),
            *(scaled(joules, "J") if joules else "-" for joules in cells),
        )
    return table


def _operations(figures: Figures) -> Table:
    heads = ("operation", "constant", "energy", "share", "range")
    table = _table(*heads, right_from=2, title="by operation")
    total = figures["joules_per_token"] or 1.0
    for row in figures["by_operation"]:
        table.add_row(
            row["operation"].replace("_", " "),
            row["kind"] or "-",
            scaled(row["joules_per_token"], "J"),
            f"{row['joules_per_token'] / total:.1%}",
            _range(row, "joules_per_token", "J"),
        )
    return table


def _kinds(figures: Figures) -> Table:
    table = _table("rests on", "constants", "share", right_from=2, title="by kind of constant")
    keys: dict[str, list[str]] = {kind: [] for kind in figures["shares_by_kind"]}
    for constant in figures["constants"]:
        keys.setdefault(constant["kind"], []).append(constant["key"])
    for kind, names in keys.items():
        share = figures["shares_by_kind"].get(kind, 0.0)
        table.add_row(kind, ", ".join(names), f"{share:.1%}")
    return table


def _remarks(figures: Figures) -> Iterator[str]:
    filling = figures["filling"]
    if filling["steps"]:
        yield (
            f"once per text: {filling['steps']} steps in which the pipeline fills, "
            + ", ".join(scaled(filling[k], u) for k, u in FILLING if filling[k])
        )
    if not figures["is_steady"] and not figures["is_measured"]:
        yield (
            f"{figures['tokens']} tokens never fill the pipeline: figures are of the whole run; "
            "give more --tokens for the steady state"
        )
    for left_out in figures["not_modelled"]:
        yield f"not modelled: {left_out}"
