"""Sections about what a token costs: energy, schedules, cores, and what it all rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spikegpt_neuro.energy.estimators import AS_ARRIVES
from spikegpt_neuro.energy.record import CATEGORIES, SHARED, Category, Estimate, Range, added
from spikegpt_neuro.evidence.validation import accuracy_of
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware import events
from spikegpt_neuro.hardware.profile import Constant
from spikegpt_neuro.reports.charts import Bar, intervals, stacked
from spikegpt_neuro.reports.chipmap import holdings, map_of
from spikegpt_neuro.reports.content import (
    Block,
    Material,
    Picture,
    Section,
    Table,
    parts_of,
    schedule_of,
    timing_of,
)
from spikegpt_neuro.reports.numbers import between, percent, scaled
from spikegpt_neuro.reports.sheets import bars_sheet, ranges_sheet
from spikegpt_neuro.units import digits

ASSUMED = "assumed"
QUANTITY = {"joules": "energy", "seconds": "time"}
COLOURS: Mapping[Category, str] = {c.name: c.colour for c in events.CATEGORIES}
LABELS: Mapping[Category, str] = {c.name: c.label for c in events.CATEGORIES}
"""The same in every chart."""


def energy(material: Material) -> Section:
    """By category and by layer, with ranges."""
    first = material.estimates[0]
    per_token = 1 / first.tokens
    total = first.total * per_token
    assumed = first.share_of_kind(ASSUMED)
    said = (
        f"{between(total, 'J')} per token on {first.hardware}, {first.schedule or 'as run'}, "
        f"{timing_of(first)}, priced by what arrived ({first.accounting}). "
        f"{percent(assumed)} of it rests on assumed constants; "
        "the ranges show what those leave open."
    )
    if first.accounting == AS_ARRIVES and not first.is_measured:
        said += _accuracy(material)
    rows: list[tuple[str, Range]] = [
        (LABELS[c], first.joules[c] * per_token) for c in CATEGORIES if c in first.joules
    ]
    if first.undivided.value:
        rows.append(("undivided", first.undivided * per_token))
    axis = ("joules per token, logarithmic", "J")
    blocks: list[Block] = [
        Picture.drawn(
            "energy-by-category",
            f"Energy by category ({schedule_of(first)}, {timing_of(first)}); the line is the range "
            "of its assumed constants.",
            lambda width: intervals("Energy per token by category", rows, axis, width=width),
            ranges_sheet("category", "J per token", rows),
        )
    ]
    if first.by_population:
        blocks.append(_by_part(material.graph, first))
    blocks.append(_kinds(first))
    return Section("energy", "Energy", (said,), tuple(blocks))


def _accuracy(material: Material) -> str:
    """How near the profile comes to what was measured on chips."""
    return "".join(
        f" The {QUANTITY[name]} of published runs is predicted {found.factor} on {found.near} of "
        f"{found.runs}."
        for name, found in accuracy_of(material.profile).items()
    )


def _by_part(graph: SpikingGraph, estimate: Estimate) -> Picture:
    """Joules per token of each part of the model, stacked."""
    part_of = parts_of(graph)
    parts: dict[str, dict[Category, float]] = {}
    for population, table in estimate.by_population.items():
        # Token ids that an embedding on the chip receives are no population.
        part = parts.setdefault(part_of.get(population, "embedding"), {})
        for category, joules in table.items():
            part[category] = part.get(category, 0.0) + joules.value / estimate.tokens
    used = [c for c in CATEGORIES if any(part.get(c) for part in parts.values())]
    bars = [Bar(name, tuple(part.get(c, 0.0) for c in used)) for name, part in parts.items()]
    rest = added(estimate.joules.get(c, Range()) for c in SHARED).value
    return Picture.drawn(
        "energy-by-layer",
        "Energy by layer. Static power and the host belong to no layer: another "
        f"{scaled(rest / estimate.tokens, 'J')} per token ({timing_of(estimate)}).",
        lambda width: stacked("Energy by layer", *_series(used, bars), width=width),
        bars_sheet("part", [LABELS[c] for c in used], bars, "J per token"),
    )


def _series(
    used: Sequence[Category], bars: Sequence[Bar]
) -> tuple[list[str], Sequence[Bar], tuple[str, str], list[str]]:
    """Bars of categories as :func:`stacked` takes them: labels, bars, axis, colours."""
    axis = ("joules per token", "J")
    return [LABELS[c] for c in used], bars, axis, [COLOURS[c] for c in used]


def _kinds(estimate: Estimate) -> Table:
    total = estimate.total.value or 1.0
    rows = tuple(
        (kind, scaled(joules / estimate.tokens, "J"), percent(joules / total))
        for kind, joules in sorted(estimate.by_kind.items(), key=lambda item: -item[1])
    )
    return Table(
        ("kind of constant", "per token", "share"), rows, "What the total rests on.", numbers=(1, 2)
    )


def cores(material: Material) -> Section:
    """The placement, as a picture."""
    mapped, profile = material.mapped, material.profile
    memory = int(mapped.usage.synaptic_memory.sum())
    capacity = mapped.cores * profile.limits.synaptic_memory
    said = (
        f"{profile.title}. {mapped.cores:,} cores of {mapped.topology.chips:,} "
        f"chip{'s' * (mapped.topology.chips != 1)}; their synaptic memory is "
        f"{percent(memory / capacity)} full. Embedding on the {mapped.placement.embedding}, head "
        f"on the {mapped.placement.head}."
    )
    parts = parts_of(material.graph)
    blocks = (map_of(mapped, profile, parts), holdings(mapped, parts))
    return Section("cores", "Cores and chips", (said,), blocks)


def schedules(material: Material) -> Section:
    """The same run, one token after the other or one token per step."""
    said = (
        "Pipelined, a new token enters at every time step and each stage works on another one: "
        "this is how a text is read. Falling through, a token passes all stages before the next "
        "one enters: this is how a text is written. The integers are the same."
    )
    head = ("", "energy per token", "time per token", "tokens per second", "filling, once")
    rows = tuple(_schedule_row(estimate) for estimate in material.estimates)
    used = [
        c for c in CATEGORIES if any(e.joules.get(c, Range()).value for e in material.estimates)
    ]
    bars = [
        Bar(schedule_of(e), tuple(e.joules.get(c, Range()).value / e.tokens for c in used))
        for e in material.estimates
    ]
    blocks = (
        Picture.drawn(
            "energy-by-schedule",
            f"Energy per token of each schedule, {timing_of(material.estimates[0])}.",
            lambda width: stacked("Energy by schedule", *_series(used, bars), width=width),
            bars_sheet("schedule", [LABELS[c] for c in used], bars, "J per token"),
        ),
        Table(head, rows, _timing(material.estimates[0]), numbers=(1, 2, 3, 4)),
    )
    return Section("schedules", "Schedules", (said,), blocks)


def _schedule_row(estimate: Estimate) -> tuple[str, ...]:
    filling = scaled(estimate.filling_seconds.value, "s")
    return (
        schedule_of(estimate),
        between(estimate.total * (1 / estimate.tokens), "J"),
        between(estimate.seconds * (1 / estimate.tokens), "s"),
        digits(estimate.tokens_per_second.value),
        f"{filling}, {estimate.filling_steps:,} steps" if estimate.filling_steps else "-",
    )


def _timing(estimate: Estimate) -> str:
    words = f"T{timing_of(estimate)[1:]}. " if estimate.timing else ""
    if not estimate.is_steady:
        return f"{words}The run is too short to fill the pipeline, so the whole run counts."
    return f"{words}A pipeline fills once per text; that is not in the figures per token."


def assumptions(material: Material) -> Section:
    """Every constant that was used, and what is left out."""
    keys = dict.fromkeys(k for e in material.estimates for k in e.constants)
    used = [material.profile[key] for key in keys if key in material.profile]
    left_out = dict.fromkeys(w for e in material.estimates for w in e.not_modelled)
    said = (
        "The kinds: measured (published for the silicon), pre-silicon, fitted, scaled by a "
        "published ratio, assumed (with a low and a high end)."
    )
    sources = list(dict.fromkeys(c.source for c in used))
    rows = tuple(_constant_row(c, sources.index(c.source) + 1) for c in used)
    table = Table(
        ("constant", "value", "range", "kind", "source"),
        rows,
        f"Constants of {material.profile.name} that this report rests on.",
        numbers=(1, 2),
    )
    listed = Table(("", "source"), tuple((f"[{k}]", s) for k, s in enumerate(sources, 1)))
    absent = Table(("not modelled, and not in the total",), tuple((words,) for words in left_out))
    blocks = (table, listed, absent) if left_out else (table, listed)
    return Section("assumptions", "Assumptions and sources", (said,), blocks, folded=True)


def _constant_row(constant: Constant, source: int) -> tuple[str, ...]:
    bounds = ""
    if constant.low is not None:
        bounds = f"{_shown(constant.low)} to {_shown(constant.high)}"
    note = f" {constant.note}" if constant.note else ""
    value = f"{_shown(constant.value)} {constant.unit}"
    return constant.key, value, bounds, constant.kind, f"[{source}]{note}"


def _shown(value: object) -> str:
    """A number, or a list as a person writes it."""
    if isinstance(value, tuple):
        return ", ".join(
            ": ".join(map(_shown, item)) if isinstance(item, tuple) else _shown(item)
            for item in value
        )
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)
