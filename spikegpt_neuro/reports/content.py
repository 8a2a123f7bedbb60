"""What a report is made from, and the few forms that its sections are made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import takewhile

from spikegpt_neuro.drawing import WIDTH
from spikegpt_neuro.energy.activity import Activity
from spikegpt_neuro.energy.record import Estimate
from spikegpt_neuro.evaluation import Evaluation
from spikegpt_neuro.evaluation.interval import Interval
from spikegpt_neuro.evaluation.trade import Tradeoff
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.graph.layers import block_of
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.mapping.mapper import Mapped
from spikegpt_neuro.reports.charts import NARROW
from spikegpt_neuro.running import Run
from spikegpt_neuro.sweeps.reading import SweepTable


@dataclass(frozen=True)
class Score:
    """Bits per token, and the float checkpoint's file if one was compared with.

    ``interval``  of the bits per token; ``delta``: of what they are more than the float model's.
                  None where there are too few windows.
    ``wanted``    positions that were asked for; the text may have fewer.
    """

    evaluation: Evaluation
    against: str | None
    interval: Interval | None = None
    delta: Interval | None = None
    wanted: int | None = None


@dataclass(frozen=True)
class Writing:
    """What the model wrote after ``prompt``, and what the float model did, drawn alike."""

    prompt: str
    text: str
    float_text: str | None
    tokens: int
    same: int
    """Tokens until the two differ."""
    settings: str

    @property
    def shared(self) -> str:
        """The text up to where the two part; all of it where there is only one."""
        if self.float_text is None:
            return self.text
        pairs = zip(self.text, self.float_text, strict=False)
        alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        return self.text[:alike]

    def parted(self, text: str | None) -> tuple[str, str]:
        """What a text goes on with where the two part: the word there, and the rest."""
        own = (text or "")[len(self.shared) :]
        word = re.match(r"\s*\S*", own)
        assert word is not None
        return word[0], own[len(word[0]) :].rstrip()

    def blank(self, text: str | None) -> int:
        """Spaces and line ends after the last word, which a page does not show."""
        found = text or ""
        return len(found) - len(found.rstrip())


@dataclass(frozen=True)
class Verdict:
    """What another backend said of ``tokens`` tokens; ``mismatch`` names the first difference."""

    backend: str
    settings: str
    tokens: int
    mismatch: str | None


@dataclass(frozen=True)
class Material:
    """Everything that was measured and estimated.

    ``title``       the artifact's name.
    ``text``        which text ran, in words.
    ``run``         the run that the spikes are shown of, with every population's events.
    ``estimates``   at least one; the first is the one that the figures by layer show.
    ``context``     T: tokens that a transformer beside this model looks back on.
    ``command``     what was typed.
    ``writing``     text of the model, where it has a vocabulary.
    ``verdict``     where another backend ran.
    ``tradeoff``    the curve of bits lost against operations, where one was given.
    ``sweep``       the table of a sweep, where one was given.
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
    writing: Writing | None = None
    verdict: Verdict | None = None
    tradeoff: Tradeoff | None = None
    sweep: SweepTable | None = None


@dataclass(frozen=True)
class Sheet:
    """What a picture shows as rows of values, to be taken along (CSV)."""

    head: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


@dataclass(frozen=True)
class Picture:
    """A picture (SVG whose texts are escaped) and what it shows.

    ``name``    of the files that it and its ``data`` are kept in.
    ``narrow``  the same for a telephone.
    """

    svg: str
    caption: str
    name: str
    data: Sheet
    narrow: str

    @staticmethod
    def drawn(name: str, caption: str, draw: Callable[[float], str], data: Sheet) -> Picture:
        """A picture that ``draw`` makes for either width."""
        return Picture(draw(WIDTH), caption, name, data, draw(NARROW))


@dataclass(frozen=True)
class Colouring:
    """One way to colour a map: its name, what it means, and its scale of colours from 0 up."""

    name: str
    meaning: str
    colours: tuple[str, ...]
    ends: tuple[str, str]


@dataclass(frozen=True)
class Map:
    """A picture of cores with colours to choose from; the first is shown before one chooses."""

    svg: str
    caption: str
    name: str
    data: Sheet
    colourings: tuple[Colouring, ...]


@dataclass(frozen=True)
class Table:
    """Rows of text; ``numbers`` says which columns are set flush right."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    numbers: tuple[int, ...] = ()


Block = Picture | Map | Table | Writing


@dataclass(frozen=True)
class Section:
    """A heading, what there is to say, then what there is to see in order.

    ``folded``: an appendix, which opens when its heading is pressed.
    """

    name: str
    title: str
    paragraphs: tuple[str, ...]
    blocks: tuple[Block, ...] = ()
    folded: bool = False


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
    """A figure of the summary, and what has to be known with it, line by line."""

    value: str
    label: str
    notes: tuple[str, ...] = ()
