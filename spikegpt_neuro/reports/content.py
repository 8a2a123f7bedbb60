"""What a report is made from, and the few forms that its sections are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spikegpt_neuro.energy.activity import Activity
from spikegpt_neuro.energy.record import Estimate
from spikegpt_neuro.evaluation import Evaluation
from spikegpt_neuro.evaluation.trade import Tradeoff
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.graph.layers import block_of
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.mapping.mapper import Mapped
from spikegpt_neuro.running import Run
from spikegpt_neuro.sweeps.reading import SweepTable


@dataclass(frozen=True)
class Score:
    """Bits per token, and the float checkpoint's file if one was compared with."""

    evaluation: Evaluation
    against: str | None


@dataclass(frozen=True)
class Material:
    """Everything that was measured and estimated.

    ``title``       the artifact's name.
    ``text``        which text ran, in words.
    ``run``         the run that the spikes are shown of, with every population's events.
    ``estimates``   at least one; the first is the one that the figures by layer show.
    ``context``     T: tokens that a transformer beside this model looks back on.
    ``command``     what was typed.
    ``tradeoff``    the curve of bits lost against operations, where one was given.
    ``sweep``       the points of a sweep, where one was given.
    """

    title: str
    graph: SpikingGraph
    text: str
    run: Run
    activity: Activity
    score: Score
    profile: Profile
    mapped: Mapped
    estimates: tuple[Estimate, ...]
    context: int
    command: str
    tradeoff: Tradeoff | None = None
    sweep: SweepTable | None = None


@dataclass(frozen=True)
class Picture:
    """A picture (SVG whose texts are escaped) and what it shows."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Table:
    """Rows of text; ``numbers`` says which columns are set flush right."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Section:
    """A heading, what there is to say, then pictures and tables in order."""

    name: str
    title: str
    paragraphs: tuple[str, ...]
    blocks: tuple[Picture | Table, ...] = ()


def schedule_of(estimate: Estimate) -> str:
    """What tells estimates of one report apart."""
    return estimate.schedule or estimate.estimator


def timing_of(estimate: Estimate) -> str:
    """By which model time was found, and with it static energy."""
    return f"timing model {estimate.timing}" if estimate.timing else "no timing model"


def parts_of(graph: SpikingGraph) -> Mapping[str, str]:
    """Population -> the part of the model that a reader knows it by, in the order data flows.

    ``embedding`` for what stands before the first layer, ``layer N``, then ``head``.
    """
    found: dict[str, str] = {}
    before = True
    for population in graph.populations:
        block = block_of(population.name)
        before = before and block is None
        outside = "embedding" if before else "head"
        found[population.name] = outside if block is None else f"layer {block}"
    return found


@dataclass(frozen=True)
class Tile:
    """A figure of the summary."""

    value: str
    label: str
    note: str = ""
