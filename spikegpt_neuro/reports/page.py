"""The page: sections into one HTML file that needs nothing beside it."""

from __future__ import annotations

from importlib.resources import files

from spikegpt_neuro.energy.accounting import counts_of
from spikegpt_neuro.energy.counts import firing_rate
from spikegpt_neuro.energy.record import Range
from spikegpt_neuro.errors import MissingBackend
from spikegpt_neuro.reports import comparison, cost, model, sweep, tradeoff
from spikegpt_neuro.reports.content import (
    Material,
    Picture,
    Section,
    Tile,
    schedule_of,
    timing_of,
)
from spikegpt_neuro.reports.numbers import percent, scaled
from spikegpt_neuro.units import digits
from spikegpt_neuro.version import __version__

INSTALL = "pip install 'spikegpt-neuro[report]'"


def sections(material: Material) -> list[Section]:
    """All sections, in the order they are read."""
    made = (
        model.the_model,
        model.fidelity,
        model.spikes,
        model.operations,
        cost.energy,
        cost.schedules,
        cost.cores,
        comparison.baselines,
        comparison.accountings,
        cost.assumptions,
    )
    found = [section(material) for section in made]
    if material.tradeoff is not None:
        found.insert(made.index(model.operations) + 1, tradeoff.section(material.tradeoff))
    if material.sweep is not None:
        found.insert(-1, sweep.section(material.sweep))  # assumptions stand last
    return found


def tiles(material: Material) -> list[Tile]:
    """The figures that a reader looks for first."""
    first, score = material.estimates[0], material.score.evaluation
    total = first.total * (1 / first.tokens)
    delta = score.delta_bits_per_token
    return [
        Tile(
            f"{score.bits_per_token:.3f}",
            "bits per token",
            "float not compared" if delta is None else f"{delta:+.4f} against float",
        ),
        Tile(
            percent(firing_rate(material.graph, material.activity)),
            "of LIF neurons fire",
            "per token, measured",
        ),
        Tile(
            scaled(total.value, "J"),
            "per token",
            f"{schedule_of(first)}, {first.hardware}, {timing_of(first)}",
        ),
        Tile(
            digits(first.tokens_per_second.value),
            "tokens per second",
            f"{first.cores:,} cores, {first.chips:,} chip{'s' * (first.chips != 1)}",
        ),
    ]


def summary(material: Material) -> str:
    """What the figures say, in a few sentences."""
    first = material.estimates[0]
    counts = counts_of(material.graph, material.activity, material.context)
    met = counts.synaptic_operations / counts.dense
    effective = counts.effective_acs + counts.effective_macs
    share = counts.effective_acs / effective if effective else 0.0
    spikes = percent(share) if share else "none"
    static = first.joules.get("static", Range()).value / (first.total.value or 1.0)
    return (
        f"An average token meets {percent(met)} of the weights, {spikes} of them with binary "
        f"spikes. {percent(static)} of its energy is static power, and "
        f"{percent(first.share_of_kind(cost.ASSUMED))} rests on assumed constants."
    )


def render(material: Material) -> str:
    """The whole page as text.

    Raises :class:`MissingBackend` if jinja2 is not installed.
    """
    check_installed()
    from jinja2 import Environment
    from markupsafe import Markup

    here = files(__package__)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    # Pictures escape their own texts; everything else is escaped here.
    environment.filters["picture"] = lambda picture: Markup(picture.svg)  # noqa: S704
    environment.tests["picture"] = lambda block: isinstance(block, Picture)
    template = environment.from_string((here / "page.html").read_text(encoding="utf-8"))
    return template.render(
        title=material.title,
        subtitle=model.first_graph_facts(material.graph),
        tiles=tiles(material),
        summary=summary(material),
        sections=sections(material),
        style=Markup((here / "page.css").read_text(encoding="utf-8")),  # noqa: S704
        command=material.command,
        version=__version__,
    )


def check_installed() -> None:
    """Raise :class:`MissingBackend` with the install line unless jinja2 is there."""
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise MissingBackend(f"report needs jinja2: {INSTALL}") from error
