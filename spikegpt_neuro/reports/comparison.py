"""Sections that set the model beside others: baselines, the paper's table, named accountings."""

from __future__ import annotations

from spikegpt_neuro.drawing import shortened
from spikegpt_neuro.energy.accounting import ACCOUNTINGS, TokenCounts, counts_of, price
from spikegpt_neuro.energy.baselines import (
    ENWIK8,
    Operations,
    cache_traffic,
    sizes_of,
    spikegpt_of,
    transformer,
    transformer_at,
)
from spikegpt_neuro.energy.record import Range
from spikegpt_neuro.reports.charts import Bar, curves, intervals, stacked
from spikegpt_neuro.reports.content import (
    Material,
    Picture,
    Section,
    Sheet,
    Table,
    schedule_of,
    timing_of,
)
from spikegpt_neuro.reports.numbers import scaled
from spikegpt_neuro.reports.sheets import bars_sheet, ranges_sheet


def baselines(material: Material) -> Section:
    """Other models of the same size, and the paper's table."""
    graph, T = material.graph, material.context
    shape, sizes = graph.shape, sizes_of(graph.shape, T)
    counts = counts_of(graph, material.activity, T)
    gpt, dense = transformer(sizes), spikegpt_of(shape)
    cache = cache_traffic(sizes)
    effective = counts.effective_acs + counts.effective_macs
    said = (
        f"A transformer of the same depth, width and vocabulary needs {scaled(gpt.total)} "
        f"multiply-accumulates for a token, on average over {T:,} tokens, and moves "
        f"{scaled(cache.per_token, 'B')} of keys and values (float16). SpikeGPT needs "
        f"{scaled(dense.total)} if every product is done, {scaled(effective)} where something "
        "arrived. A transformer's layer has 12 d² weights, SpikeGPT's 13 d²: without a long "
        "context, it is events alone that save anything."
    )
    bars = [
        Bar(f"transformer, T = {T:,}", _parts(gpt)),
        Bar("SpikeGPT, dense", _parts(dense)),
    ]
    positions = [T * k / 16 for k in range(17)]
    lines = (
        ("transformer", [transformer_at(sizes, round(t)).total for t in positions]),
        ("SpikeGPT, dense", [dense.total] * len(positions)),
        ("SpikeGPT, effective", [effective] * len(positions)),
    )
    growth = Picture.drawn(
        "operations-by-position",
        "A transformer's work grows with what it looks back on.",
        lambda width: curves(
            "Multiply-accumulates by position",
            positions,
            lines,
            ("position in the context", "operations per token"),
            width=width,
        ),
        Sheet(
            ("position", *(name for name, _ in lines)),
            tuple(zip(positions, *(values for _, values in lines), strict=True)),
        ),
    )
    series = ("projections", "attention, WKV", "head")
    axis = ("multiply-accumulates per token", "")
    chart = Picture.drawn(
        "operations-of-baselines",
        "Multiply-accumulates per token, all of them.",
        lambda width: stacked("Operations of baselines", series, bars, axis, width=width),
        bars_sheet("model", series, bars),
    )
    return Section(
        "baselines",
        "Beside other models",
        (said,),
        (
            chart,
            growth,
            _devices(material),
            _enwik8(material, effective),
        ),
    )


def _parts(operations: Operations) -> tuple[float, ...]:
    return operations.projections, operations.mixing, operations.head


def _devices(material: Material) -> Table:
    """The model on machines that do every product."""
    counts = counts_of(material.graph, material.activity, material.context)
    rows = []
    for device in ("cpu", "gpu"):
        priced = price(f"kerasspiking:{device}", counts)
        constant = priced.constants[0]
        rows.append(
            (
                f"dense on a {device.upper()} ({constant.note})",
                scaled(priced.joules, "J"),
                constant.source,
            )
        )
    first = material.estimates[0]
    ours = scaled(first.total.value / first.tokens, "J")
    rows.insert(0, (f"{first.hardware}, {schedule_of(first)}, {timing_of(first)}", ours, ""))
    return Table(
        ("this model", "per token", "source"),
        tuple(rows),
        "CPU and GPU: every product and every neuron at the published energy of one "
        "multiply-accumulate.",
        numbers=(1,),
    )


def _enwik8(material: Material, effective: float) -> Table:
    rows = []
    for row in ENWIK8:
        train = "-" if row.train is None else f"{row.train:.3f}"
        count = row.operations
        mixing = scaled(count.mixing)
        bits = f"{row.test:.3f} per {row.unit}"
        size = f"{row.sizes.L} x {row.sizes.d}"
        rows.append((row.model, size, f"{row.sizes.T:,}", train, bits, mixing, scaled(count.total)))
    shape, score = material.graph.shape, material.score.evaluation
    rows.append(
        (
            f"this model ({shortened(material.title, 32)})",
            f"{shape.layers} x {shape.width}",
            f"{material.context:,}",
            "-",
            f"{score.bits_per_token:.3f} per token",
            scaled(spikegpt_of(shape).mixing),
            f"{scaled(spikegpt_of(shape).total)}; {scaled(effective)} effective",
        )
    )
    return Table(
        ("enwik8", "layers x width", "context", "train", "test, bits", "mixing", "MACs per token"),
        tuple(rows),
        "Bits as published (Zhu et al., arXiv 2302.13939, and the sources it names), operations "
        "as counted here. Protocols and units differ, and this model's bits are of the text "
        "above, not of enwik8.",
        numbers=(2, 3, 4, 5, 6),
    )


def accountings(material: Material) -> Section:
    """The same run under other people's conventions."""
    counts = counts_of(material.graph, material.activity, material.context)
    said = (
        "What the same run costs under conventions of the literature. None of them prices what a "
        "chip does: they leave out static power, communication and, most of them, neurons. "
        "The paper's price every projection as if spikes reached it."
    )
    published = tuple(f"{a.name}: {words}." for a in ACCOUNTINGS.values() for words in a.published)
    return Section(
        "accountings",
        "Named accountings",
        (said, *published),
        (_defaults(material, counts), _variants(material, counts), _formulas()),
        folded=True,
    )


def _defaults(material: Material, counts: TokenCounts) -> Picture:
    """Ours with its range, and the default variant of each convention."""
    first = material.estimates[0]
    rows = [(f"{first.accounting}, {first.hardware}", first.total * (1 / first.tokens))]
    rows += [(name, Range.exactly(price(name, counts).joules)) for name in ACCOUNTINGS]
    axis = ("joules per token, logarithmic", "J")
    return Picture.drawn(
        "energy-by-accounting",
        f"One run, priced by each convention (its first variant below); ours: {timing_of(first)}.",
        lambda width: intervals("Energy by accounting", rows, axis, width=width),
        ranges_sheet("accounting", "J per token", rows),
    )


def _variants(material: Material, counts: TokenCounts) -> Table:
    rows = []
    for accounting in ACCOUNTINGS.values():
        for variant, meaning in accounting.variants.items():
            priced = accounting.price(counts, variant)
            ratio = "-" if priced.ratio is None else f"{priced.ratio:.2f} x"
            name = f"{accounting.name}:{variant}"
            rows.append((name, meaning, scaled(priced.joules, "J"), ratio))
    return Table(
        ("accounting", "meaning", "per token", "compared model"),
        tuple(rows),
        f"Compared with a transformer of this size at T = {material.context:,}; in "
        "paper-v1:constants with the same products in floating point.",
        numbers=(2, 3),
    )


def _formulas() -> Table:
    rows = tuple(
        (a.name, a.formula, a.source, "; ".join(a.leaves_out)) for a in ACCOUNTINGS.values()
    )
    return Table(("accounting", "formula", "source", "left out"), rows)
