"""The curve of bits lost against synaptic operations: as a picture, a table and a section."""

from __future__ import annotations

from spikegpt_neuro.drawing import WIDTH, framed, picture
from spikegpt_neuro.evaluation.trade import Point, Tradeoff
from spikegpt_neuro.reports.charts import Dot, scatter
from spikegpt_neuro.reports.content import Picture, Section, Sheet, Table
from spikegpt_neuro.reports.numbers import scaled

TITLE = "Bits lost against synaptic operations"
AXES = ("synaptic operations over dense", "bits lost per token")
SAID = (
    "Each dot is a conversion of the checkpoint, scored on text that it was not calibrated on. "
    "Filled dots are the front: no other one has fewer operations and loses fewer bits."
)
HEAD = ("sparsity", "prune", "weight bits", "operations over dense", "weights left", "bits lost")
SPEED = "generation here, tokens/s"


def draw(found: Tradeoff) -> str:
    """The picture as a file of its own (SVG)."""
    parts, height = _parts(found)
    return framed(parts, (WIDTH, height), TITLE)


def section(found: Tradeoff) -> Section:
    """The curve in a report."""
    head, rows = _cells(found)
    table = Table(head, tuple(rows), numbers=tuple(range(len(head) - 1)))
    drawn = Picture.drawn(
        "tradeoff", "", lambda width: _picture(found, width), Sheet(head, tuple(rows))
    )
    return Section("tradeoff", TITLE, (SAID,), (drawn, table))


def table(found: Tradeoff) -> str:
    """All points as a Markdown table."""
    head, rows = _cells(found)
    lines = [
        f"# {TITLE}",
        "",
        f"{SAID} {found.tokens:,} tokens were scored; the float checkpoint has "
        f"{found.float_bits_per_token:.4f} bits per token.",
        "",
        *(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)),
    ]
    return "\n".join(lines) + "\n"


def _picture(found: Tradeoff, width: float) -> str:
    parts, height = _parts(found, width)
    return picture(height, TITLE, parts, width)


def _parts(found: Tradeoff, width: float = WIDTH) -> tuple[list[str], float]:
    """One series per pair of pruning and weight bits."""
    series: dict[str, list[Dot]] = {}
    for point in found.points:
        pruned = f", {point.prune:.0%} of weights pruned" if point.prune else ""
        name = f"{point.weight_bits} bits{pruned}"
        series.setdefault(name, []).append(
            Dot(
                point.synops_over_dense,
                point.delta_bits_per_token,
                f"{point.setting}: {point.synops_over_dense:.3f} of dense, "
                f"{point.delta_bits_per_token:+.4f} bits",
                point.on_front,
            )
        )
    return scatter(list(series.items()), AXES, width=width)


def _cells(found: Tradeoff) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    priced = found.hardware is not None
    extra = (f"per token on {found.hardware}", f"tokens/s on {found.hardware}") if priced else ()
    rows = [_row(point, priced) for point in found.points]
    return (*HEAD, SPEED, *extra, "on the front"), rows


def _row(point: Point, priced: bool) -> tuple[str, ...]:
    hardware: tuple[str, ...] = ()
    if priced:
        hardware = (
            scaled(point.joules_per_token or 0.0, "J"),
            f"{point.hardware_tokens_per_second or 0.0:,.0f}",
        )
    return (
        f"{point.sparsity:g}",
        f"{point.prune:g}",
        str(point.weight_bits),
        f"{point.synops_over_dense:.4f}",
        f"{point.weight_density:.3f}",
        f"{point.delta_bits_per_token:+.4f}",
        f"{point.generation_tokens_per_second:,.0f} ({point.generation_speedup:.2f}x)",
        *hardware,
        "yes" if point.on_front else "",
    )
