"""Sections about the model itself: what it is, what it lost, what it sends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.drawing import FAINT, LIGHT, PALETTE, WIDTH
from spikegpt_neuro.energy.counts import Arrivals, arrivals_of, firing_rate
from spikegpt_neuro.evaluation.interval import Interval
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.graph.layers import block_of, layer_of
from spikegpt_neuro.neurons import LIF
from spikegpt_neuro.reports.charts import Bar, columns, stacked
from spikegpt_neuro.reports.content import (
    Material,
    Picture,
    Score,
    Section,
    Sheet,
    Table,
    Verdict,
    Writing,
    parts_of,
)
from spikegpt_neuro.reports.numbers import NO_BREAK, percent, scaled
from spikegpt_neuro.reports.raster import Train, raster
from spikegpt_neuro.reports.sheets import bars_sheet
from spikegpt_neuro.sparsity.shown import thresholds_of

RASTER_TOKENS, NARROW_TOKENS, RASTER_ROWS = 96, 40, 240
ARRIVED = ("binary spike", "graded event", "nothing")
ARRIVED_COLOURS = (PALETTE[2], PALETTE[0], LIGHT)


def the_model(material: Material) -> Section:
    """Shape, formats and origin."""
    graph, shape = material.graph, material.graph.shape
    populations = len(graph.populations)
    origin = graph.provenance
    rows = (
        ("layers, width", f"{shape.layers}, {shape.width}"),
        ("vocabulary", f"{shape.vocab_size:,} tokens"),
        ("parameters", f"{shape.parameters:,}"),
        ("weights", f"{graph.weight_bits} bits, one scale per output channel"),
        ("events", f"binary spikes, or graded payloads of {graph.activation_bits} bits"),
        ("graph", f"{populations:,} populations, {len(graph.projections):,} projections"),
        ("checkpoint", f"{origin.get('source_file', '-')} ({origin.get('source_format', '-')})"),
        ("its sha256", str(origin.get("source_sha256", "-"))),
        ("text of this report", material.text),
    )
    said = (
        "An all-integer spiking graph. One token is one time step; every operation of the float "
        "model, LayerNorm, WKV and the head included, is a neuron program or a projection of it."
    )
    return Section("model", "The model", (said,), (Table(("", ""), rows),), folded=True)


def writing(material: Material) -> Section | None:
    """What it wrote, beside the float model."""
    found = material.writing
    if found is None:
        return None
    said = f"{found.tokens:,} tokens after a piece of this report's text, {found.settings}."
    if found.float_text is not None:
        said += f" Both models drew with the same random numbers; {_how_long_alike(found)}"
    return Section("writing", "What it writes", (said,), (found,))


def _how_long_alike(found: Writing) -> str:
    if found.same == found.tokens:
        return "the two texts are the same, token for token."
    tokens = "token" if found.same == 1 else "tokens"
    alike = f"the same for {found.same:,} {tokens}" if found.same else "different from the first on"
    return (
        f"the two texts are {alike}. The word where they part is marked; from there on each model "
        "goes its own way."
    )


def verdict(material: Material) -> Section:
    """Whether another backend gave the same integers."""
    found = material.verdict
    if found is None:
        said = (
            "No other backend ran for this report (--verify names one). The graph has one meaning, "
            "the reference's; a backend that gives other integers is wrong."
        )
    elif found.mismatch is None:
        said = (
            f"{_ran(found)} {found.tokens:,} tokens of the text. Every event of every "
            "population and every logit was compared with the reference: all are equal."
        )
    else:
        said = (
            f"{_ran(found)} {found.tokens:,} tokens of the text and differs from the "
            f"reference, first at {found.mismatch}."
        )
    return Section("verdict", "The same integers elsewhere", (said,))


def _ran(found: Verdict) -> str:
    settings = f" ({found.settings})" * bool(found.settings)
    return f"The backend {found.backend}{settings} ran"


def fidelity(material: Material) -> Section:
    """Bits per token, in integers and in floating point."""
    found = material.score
    score, against = found.evaluation, found.against
    rows = [
        (
            "integers",
            f"{score.bits_per_token:.4f}",
            ends(found.interval, ".3f"),
            f"{score.perplexity:.3f}",
        )
    ]
    if score.float_bits_per_token is not None and score.delta_bits_per_token is not None:
        floating = score.float_bits_per_token
        rows.append(("float checkpoint", f"{floating:.4f}", "", f"{2.0**floating:.3f}"))
        delta = f"{score.delta_bits_per_token:+.4f}"
        rows.append(("difference", delta, ends(found.delta, "+.4f"), ""))
        said = f"Compared with {against}, run in floating point over the same windows."
        if score.spike_mismatch is not None:
            said += f" {percent(score.spike_mismatch)} of all LIF outputs differ."
    else:
        said = (
            "No float checkpoint was given to compare with, so what the conversion to integers "
            "costs is not shown here."
        )
    protocol = (
        f"{positions(found)}; {score.protocol}. {score.saturations:,} values saturated "
        f"where none should, {score.clipped:,} payloads were clipped to their quantizer's range."
    )
    table = Table(
        ("", "bits per token", "95 % interval", "perplexity"),
        tuple(rows),
        _resampled(found),
        numbers=(1, 2, 3),
    )
    return Section("fidelity", "Fidelity", (said, protocol), (table,))


def ends(interval: Interval | None, form: str) -> str:
    """An interval in words."""
    return "" if interval is None else f"{interval.low:{form}} to {interval.high:{form}}"


def positions(score: Score) -> str:
    """How many positions were scored, and whether the text had no more."""
    scored = score.evaluation.tokens
    short = score.wanted is not None and scored < score.wanted
    return f"{scored:,} positions scored{', all that the text has' * short}"


def _resampled(score: Score) -> str:
    if score.interval is None:
        return "Too few windows for an interval: give a longer text, or more --positions."
    return (
        f"Intervals: {score.interval.windows:,} windows drawn anew with replacement, 2,000 times; "
        "the difference is taken window by window."
    )


def spikes(material: Material) -> Section:
    """Raster of binary populations, and firing rates by layer."""
    graph, activity = material.graph, material.activity
    embedding = activity.per_neuron.get("embedding")
    said = f"LIF neurons fire for {percent(firing_rate(graph, activity))} of tokens, on average."
    if graph.input.events.is_binary and embedding is not None:
        share = float(embedding.sum()) / (activity.tokens * embedding.size)
        said += f" The binary embedding has {percent(share)} ones."
    series, groups = _rates(material)
    rates = Picture.drawn(
        "firing-rates",
        "Share of tokens for which a LIF neuron fires, by layer.",
        lambda width: columns("Firing rate per layer", series, groups, ("layer", "%"), width=width),
        bars_sheet("layer", series, groups, "%"),
    )
    return Section("spikes", "Spikes", (said,), (_raster(material), rates))


def _chosen(material: Material) -> dict[str, NDArray[np.int64]]:
    """Population -> the neurons that the raster shows: evenly spread, the first and the last in."""
    shown = list(material.graph.spiking())
    neurons = max(4, RASTER_ROWS // max(1, len(shown)))
    return {
        population.name: np.linspace(0, population.size - 1, min(neurons, population.size))
        .round()
        .astype(np.int64)
        for population in shown
    }


def _raster(material: Material) -> Picture:
    chosen, words = _chosen(material), _token_texts(material)
    events = {name: material.run.spikes[name][:RASTER_TOKENS, c] for name, c in chosen.items()}
    steps = len(material.run.tokens[:RASTER_TOKENS])

    def draw(width: float) -> str:
        shown = steps if width == WIDTH else min(steps, NARROW_TOKENS)
        axis = "token" if shown == steps else f"token (the first {shown} of {steps})"
        trains = [Train(n, e[:shown], _colour(n)) for n, e in events.items()]
        texts = None if words is None else words[:shown]
        return raster("Spike raster", trains, texts, width=width, axis=axis)

    rows = tuple(
        (name, int(neuron), " ".join(map(str, np.flatnonzero(events[name][:, k]).tolist())))
        for name, neurons in chosen.items()
        for k, neuron in enumerate(neurons)
    )
    sheet = Sheet(("population", "neuron", "tokens at which it fires"), rows)
    return Picture.drawn("spikes", _neurons_shown(material, chosen), draw, sheet)


def _neurons_shown(material: Material, chosen: Mapping[str, NDArray[np.int64]]) -> str:
    """Which neurons a raster has, in words."""
    said = "Each stroke is a spike; populations in the order data flows."
    kinds: dict[tuple[int, int], list[str]] = {}
    for name, neurons in chosen.items():
        size = material.run.spikes[name].shape[1]
        kinds.setdefault((len(neurons), size), []).append(name)
    for (shown, size), names in kinds.items():
        whose = "each population" if len(kinds) == 1 else ", ".join(names)
        if shown == size:
            said += f" Of {whose} it shows all {size:,} neurons."
            continue
        first, second, *_, last = chosen[names[0]].tolist()
        spread = f"evenly spread: {first}, {second}, ..., {last}"
        said += f" Of {whose} it shows {shown} of {size:,} neurons, {spread}."
    return said


def _colour(population: str) -> str:
    """The colour that its firing rate has in the chart of rates; grey for the embedding."""
    for k, name in enumerate(("lif1", "lif2")):
        if population.endswith(name):
            return PALETTE[k]
    return FAINT


def _token_texts(material: Material) -> list[str] | None:
    """One character per token, where every token is one."""
    vocabulary = material.graph.vocabulary
    if vocabulary is None or vocabulary.kind == "bpe":
        return None
    tokens = material.run.tokens[:RASTER_TOKENS]
    words = [vocabulary.decode(np.array([token])) for token in tokens]
    return [w if len(w) == 1 and w.isprintable() and w != " " else "·" for w in words]


def _rates(material: Material) -> tuple[tuple[str, ...], list[Bar]]:
    """Percent of ones of every LIF population, grouped by layer: the series, and the groups."""
    by_layer: dict[str, list[float]] = {}
    for population in material.graph.populations:
        if isinstance(population.program, LIF):
            sent = material.activity.events(population.name)
            possible = material.activity.tokens * population.size
            block = block_of(population.name)
            layer = layer_of(population.name) if block is None else str(block)
            by_layer.setdefault(layer, []).append(100 * sent / possible)
    groups = [Bar(layer, tuple(rates)) for layer, rates in by_layer.items()]
    series = ("after the time mix", "after the channel mix")[: max(map(len, by_layer.values()))]
    return series, groups


def operations(material: Material) -> Section:
    """What arrived at the synapses of the linear layers."""
    arrivals = [a for a in arrivals_of(material.graph, material.activity) if a.is_linear]
    tokens = material.activity.tokens
    binary, graded, nothing = _arrived(arrivals, tokens)
    dense = binary + graded + nothing
    said = (
        f"Of {scaled(dense)} weights, an average token meets {percent((binary + graded) / dense)}: "
        f"{percent(binary / dense)} with a binary spike (an accumulate) and "
        f"{percent(graded / dense)} with a graded event (a multiply-accumulate). "
        f"{percent(nothing / dense)} meet nothing and cost nothing."
    )
    if material.graph.weight_density < 1:
        said += f" {percent(material.graph.weight_density)} of the weights exist."
    why = (
        "A projection accumulates only if spikes reach it. In SpikeGPT as it was released, "
        "LayerNorm, the token mix and the squared ReLU send real values into the projections."
    )
    parts = _by_part(material.graph, arrivals)
    bars = [Bar(name, _arrived(found, tokens)) for name, found in parts.items()]
    title, axis = "Synaptic operations per token by what arrived", ("weights per token", "")
    chart = Picture.drawn(
        "operations",
        "Weights of the linear layers, by what an average token brings to them.",
        lambda width: stacked(title, ARRIVED, bars, axis, ARRIVED_COLOURS, width=width),
        bars_sheet("part", ARRIVED, bars, "weights per token"),
    )
    return Section(
        "operations",
        "Operations by what arrived",
        (said, why),
        (chart, _operations_table(parts, tokens), *_thresholds(material.graph)),
    )


def _thresholds(graph: SpikingGraph) -> Iterator[Table]:
    """The dead zones of every population, if there are any."""
    found = thresholds_of(graph)
    if found:
        yield Table(
            ("population", "median threshold", "largest", "largest payload", "never send"),
            tuple(
                (name, f"{t.median:g}", str(t.largest), str(t.payload), percent(t.silent))
                for name, t in found.items()
            ),
            "Payloads at or below the threshold of their neuron are no events.",
            numbers=(1, 2, 3, 4),
        )


def _by_part(graph: SpikingGraph, arrivals: Iterable[Arrivals]) -> dict[str, list[Arrivals]]:
    parts = parts_of(graph)
    found: dict[str, list[Arrivals]] = {}
    for arrival in arrivals:
        found.setdefault(parts[arrival.target], []).append(arrival)
    return found


def _arrived(arrivals: Iterable[Arrivals], tokens: int) -> tuple[float, float, float]:
    """Synapses per token that met a binary spike, a graded event, nothing."""
    met = {"binary": 0, "graded": 0}
    dense = 0
    for arrival in arrivals:
        met[arrival.kind] += arrival.synaptic_operations
        dense += arrival.dense
    binary, graded = met["binary"], met["graded"]
    return binary / tokens, graded / tokens, (dense - binary - graded) / tokens


def _operations_table(parts: dict[str, list[Arrivals]], tokens: int) -> Table:
    rows = []
    for name, found in (*parts.items(), ("total", [a for each in parts.values() for a in each])):
        acs = sum(a.effective_acs for a in found) / tokens
        macs = sum(a.effective_macs for a in found) / tokens
        met = sum(a.synaptic_operations for a in found) / tokens
        dense = sum(a.dense for a in found) / tokens
        rows.append(
            (
                name.replace(" ", NO_BREAK),
                f"{acs:,.0f}",
                f"{macs:,.0f}",
                f"{met:,.0f}",
                f"{dense:,.0f}",
            )
        )
    return Table(
        ("per token", "effective ACs", "effective MACs", "synapses met", "dense"),
        tuple(rows),
        "NeuroBench's counts leave out weights that are zero; a core reads them all the same.",
        numbers=(1, 2, 3, 4),
    )


def first_graph_facts(graph: SpikingGraph) -> str:
    """One line under the title."""
    shape = graph.shape
    return (
        f"SpikeGPT, {shape.layers} layers of width {shape.width}, "
        f"{scaled(shape.parameters)} parameters, {graph.weight_bits}-bit weights"
    )
