"""The page: sections into one HTML file that needs nothing beside it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from importlib.resources import files

from spikegpt_neuro.drawing import THEMED
from spikegpt_neuro.energy.accounting import counts_of
from spikegpt_neuro.energy.counts import firing_rate
from spikegpt_neuro.energy.record import Estimate, Range
from spikegpt_neuro.errors import MissingBackend
from spikegpt_neuro.reports import comparison, cost, model, sweep, tradeoff
from spikegpt_neuro.reports.content import (
    Material,
    Section,
    Tile,
    schedule_of,
    timing_of,
)
from spikegpt_neuro.reports.numbers import percent, scaled
from spikegpt_neuro.reports.sheets import link_of
from spikegpt_neuro.units import digits
from spikegpt_neuro.version import __version__

INSTALL = "pip install 'spikegpt-neuro[report]'"


def sections(material: Material) -> list[Section]:
    """All sections, in the order they are read; appendices last."""
    return list(_sections(material))


def _sections(material: Material) -> Iterator[Section]:
    if (written := model.writing(material)) is not None:
        yield written
    yield model.fidelity(material)
    yield model.verdict(material)
    yield model.spikes(material)
    yield model.operations(material)
    if material.tradeoff is not None:
        yield tradeoff.section(material.tradeoff)
    if material.sweep is not None:
        yield sweep.section(material.sweep)
    yield cost.energy(material)
    yield cost.schedules(material)
    yield cost.cores(material)
    yield comparison.baselines(material)
    yield model.the_model(material)
    yield comparison.accountings(material)
    yield cost.assumptions(material)


def tiles(material: Material) -> list[Tile]:
    """The figures that a reader looks for first."""
    first, score = material.estimates[0], material.score.evaluation
    total = first.total * (1 / first.tokens)
    return [
        Tile(f"{score.bits_per_token:.3f}", "bits per token", _lost(material)),
        Tile(
            percent(firing_rate(material.graph, material.activity)),
            "of LIF neurons fire",
            (f"per token, measured over {material.activity.tokens:,}",),
        ),
        Tile(
            scaled(total.value, "J"),
            "per token",
            (
                f"{scaled(total.low, 'J')} to {scaled(total.high, 'J')}",
                f"{schedule_of(first)}, {first.hardware}, {timing_of(first)}",
                evidence(first),
            ),
        ),
        Tile(
            digits(first.tokens_per_second.value),
            "tokens per second",
            (
                f"{schedule_of(first)}, {first.hardware}, {timing_of(first)}",
                f"{first.cores:,} cores, {first.chips:,} chip{'s' * (first.chips != 1)}",
            ),
        ),
    ]


def _lost(material: Material) -> tuple[str, ...]:
    """How the bits per token stand to the float model's, and on how much text."""
    score = material.score
    delta = score.evaluation.delta_bits_per_token
    if delta is None:
        return "float not compared", model.positions(score)
    between = "" if score.delta is None else f" ({model.ends(score.delta, '+.4f')})"
    return f"{delta:+.4f}{between} against float", model.positions(score)


def evidence(estimate: Estimate) -> str:
    """By what kind of constants the joules are backed, the largest share first."""
    total = estimate.total.value or 1.0
    shares = sorted(estimate.by_kind.items(), key=lambda item: -item[1])
    return "evidence: " + ", ".join(f"{kind} {percent(j / total)}" for kind, j in shares if j)


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

    def own(name: str) -> Markup:
        return Markup((files(__package__) / name).read_text(encoding="utf-8").strip())  # noqa: S704

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    # Pictures escape their own texts; everything else is escaped here.
    environment.filters["drawn"] = lambda svg: Markup(svg)  # noqa: S704
    environment.filters["link"] = link_of
    environment.tests["of"] = lambda block, kind: type(block).__name__ == kind
    template = environment.from_string(own("page.html"))
    script = own("page.js")
    return template.render(
        title=material.title,
        subtitle=model.first_graph_facts(material.graph),
        tiles=tiles(material),
        summary=summary(material),
        sections=sections(material),
        style=own("page.css") + Markup(themed()),  # noqa: S704
        script=script,
        script_hash=b64encode(sha256(script.encode()).digest()).decode(),
        command=material.command,
        version=__version__,
    )


def themed() -> str:
    """Rules that give pictures the page's colours; a picture that is taken along keeps its own."""
    return "".join(
        f'\nfigure svg [{what}="{colour}"] {{ {what}: var(--{name}); }}'
        for colour, name in THEMED.items()
        for what in ("fill", "stroke")
    )


def check_installed() -> None:
    """Raise :class:`MissingBackend` with the install line unless jinja2 is there."""
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise MissingBackend(f"report needs jinja2: {INSTALL}") from error
