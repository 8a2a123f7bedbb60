"""Published runs: what was measured on a chip, what it did meanwhile, and who read that where.

A run is a TOML file of ``hw_profiles/published``. Every figure in it is written as::

    seconds = { value = 24.1, unit = "ms", mark = "S", note = "41.5 tokens per second" }

``mark`` is V (read in the source itself), S (read in another text that quotes it) or D (derived
here; the note says from what). All figures are for one of what the file counts in (``per``: a
frame, a token, a step); those under ``busiest`` are of the core that had most to do, in one step.
``docs/validation.md`` lists every key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Literal

from spikegpt_neuro.documents import converted, read_toml
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.hardware.profile import profile_names
from spikegpt_neuro.hardware.schema import ENERGY, POWER, SPECS, TIME, Dimension, count_of

LIBRARY = "spikegpt_neuro.hw_profiles"
FOLDER = "published"
READINGS = "readings"
SCHEMA_VERSION = 1
FIGURE_MAX = 1e15
"""Far beyond any run; up to here every whole number is a float."""
NAME_MAX = 200

Mark = Literal["V", "S", "D"]
MARKS: Mapping[Mark, str] = {
    "V": "read in the source itself",
    "S": "read in a text that quotes it",
    "D": "derived here",
}
Quantity = Literal["seconds", "joules", "joules_dynamic"]
QUANTITIES: tuple[Quantity, ...] = ("seconds", "joules", "joules_dynamic")
UNITS: Mapping[str, Dimension] = {
    "seconds": TIME,
    "joules": ENERGY,
    "joules_dynamic": ENERGY,
    "watts_static": POWER,
    "chips_on": count_of("chips"),
    "cores": count_of("cores"),
    "steps": count_of("steps"),
    "busy_steps": count_of("steps"),
    "neuron_passes": count_of("passes"),
    "synaptic_operations": count_of("operations"),
    "messages": count_of("messages"),
}
"""Figure -> the units that it may be given in."""


@dataclass(frozen=True)
class Reading:
    """A figure as a source gives it."""

    value: float
    unit: str
    mark: Mark
    note: str = ""


@dataclass(frozen=True)
class Source:
    """``text``: what was read; ``where`` in it; ``date`` of the measurement, if it is told."""

    text: str
    where: str
    date: str = ""


@dataclass(frozen=True)
class Busiest:
    """The core that had most to do, in one step."""

    neuron_passes: Reading
    synaptic_operations: Reading
    messages: Reading


@dataclass(frozen=True)
class Activity:
    """What the chips did for one of what the run counts in.

    ``chips_on``       chips that share the measured power, used or not.
    ``neuron_passes``  how often a core looked at a neuron; a neuron may take several in a step.
    ``messages``       that cores sent and received.
    ``busy_steps``     steps in which some core has the load of the busiest one; None: all.
    """

    chips_on: Reading
    cores: Reading
    steps: Reading
    neuron_passes: Reading
    synaptic_operations: Reading
    messages: Reading
    busy_steps: Reading | None = None


@dataclass(frozen=True)
class Measurement:
    """What was measured: time, the power of chips that do nothing, energy with and without it."""

    seconds: Reading
    watts_static: Reading | None = None
    joules: Reading | None = None
    joules_dynamic: Reading | None = None


@dataclass(frozen=True)
class _File:
    """A file as it is written; see :class:`PublishedRun`."""

    schema: int
    title: str
    board: str
    network: str
    per: str
    counts_embedded: bool
    source: Source
    measured: Measurement
    activity: Activity | None = None
    busiest: Busiest | None = None
    unpredicted: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PublishedRun:
    """One published run, checked.

    ``name``             of its file.
    ``board``            the hardware profile of the board that it ran on.
    ``network``          what ran: several measurements of one network say little more than one.
    ``per``              what all figures are for: a frame, a token, a step.
    ``counts_embedded``  the measured power is that of the embedded processors, too.
    ``activity``, ``busiest``  None where they are not published.
    ``unpredicted``      quantity -> why it cannot be predicted from what is published.
    """

    name: str
    title: str
    board: str
    network: str
    per: str
    counts_embedded: bool
    source: Source
    measured: Measurement
    activity: Activity | None
    busiest: Busiest | None
    unpredicted: Mapping[str, str]

    def reading(self, quantity: Quantity) -> Reading | None:
        """The measurement of a quantity; None where there is none."""
        found: Reading | None = getattr(self.measured, quantity)
        return found

    def value(self, name: str) -> float:
        """A figure of measurement or activity by its name, in base units; 0 if it is not there."""
        for part in (self.measured, self.activity):
            reading = getattr(part, name, None)
            if reading is not None:
                return in_base_units(name, reading)
        return 0.0

    def on_busiest(self, name: str) -> float:
        """A figure of the busiest core; 0 if it is not published."""
        return 0.0 if self.busiest is None else in_base_units(name, getattr(self.busiest, name))

    @property
    def predictable(self) -> tuple[Quantity, ...]:
        """Quantities that were measured and that follow from what is published."""
        if self.activity is None:
            return ()
        wanted = (q for q in QUANTITIES if self.reading(q) is not None)
        return tuple(q for q in wanted if q not in self.unpredicted)


@dataclass(frozen=True)
class _ReadingsFile:
    schema: int
    title: str
    source: Source
    constants: Mapping[str, Reading]


@dataclass(frozen=True)
class PublishedConstants:
    """Constants that a source gives as such: key of a profile -> reading."""

    name: str
    title: str
    source: Source
    constants: Mapping[str, Reading]


def in_base_units(name: str, reading: Reading) -> float:
    """Seconds, joules, watts or a count."""
    return UNITS[name].to_base(reading.value, reading.unit)


def published_runs(folder: Path | None = None) -> tuple[PublishedRun, ...]:
    """All runs of a folder, by name; None: those that are installed.

    Raises :class:`UnsupportedInput` for the first file that is no run.
    """
    found = folder or Path(str(files(LIBRARY))) / FOLDER
    try:
        listed = sorted(found.glob("*.toml"))
    except OSError as error:
        raise UnsupportedInput(f"{found}: cannot be read: {error.strerror}") from error
    if not listed:
        raise UnsupportedInput(f"{found}: holds no published run (.toml)")
    return tuple(map(load_run, listed))


def published_constants(folder: Path | None = None) -> tuple[PublishedConstants, ...]:
    """What sources say of constants directly, in the folder ``readings`` beside the runs."""
    found = (folder or Path(str(files(LIBRARY))) / FOLDER) / READINGS
    return tuple(load_constants(path) for path in sorted(found.glob("*.toml")))


def load_constants(path: Path) -> PublishedConstants:
    """Readings of constants from their file; raises :class:`UnsupportedInput` as a run does."""
    content = converted(read_toml(path), _ReadingsFile, where=str(path), exact=True)
    if content.schema != SCHEMA_VERSION:
        raise UnsupportedInput(f"{path}: schema: expected {SCHEMA_VERSION}, found {content.schema}")
    for key, reading in content.constants.items():
        if not key.startswith(("energy.", "latency.", "power.")) or key not in SPECS:
            raise UnsupportedInput(f"{path}: constants.{key}: no constant of energy, time or power")
        units = SPECS[key].dimension.units
        if reading.unit not in units:
            expected = " or ".join(units)
            raise UnsupportedInput(f"{path}: constants.{key}.unit: expected {expected}")
        if not 0 < reading.value <= FIGURE_MAX:
            raise UnsupportedInput(f"{path}: constants.{key}.value: expected more than 0")
    return PublishedConstants(path.stem, content.title, content.source, content.constants)


def load_run(path: Path) -> PublishedRun:
    """A run from its file.

    Raises :class:`UnsupportedInput` with one line that names file, key and what was expected.
    """
    content = converted(read_toml(path), _File, where=str(path), exact=True)
    for place, problem in _problems(content):
        raise UnsupportedInput(f"{path}: {place}: {problem}")
    given = {f.name: getattr(content, f.name) for f in fields(_File) if f.name != "schema"}
    return PublishedRun(name=path.stem, **given)


def _problems(content: _File) -> Iterator[tuple[str, str]]:
    """What types cannot tell, the first problem first."""
    if content.schema != SCHEMA_VERSION:
        yield "schema", f"expected {SCHEMA_VERSION}, found {content.schema}"
    texts = {name: getattr(content, name) for name in ("title", "board", "network", "per")}
    texts |= {f"source.{name}": getattr(content.source, name) for name in ("text", "where")}
    for place, text in texts.items():
        if not text.strip() or len(text) > NAME_MAX or not text.isprintable():
            yield place, f"expected a text of one line and at most {NAME_MAX} characters"
    if content.board not in profile_names():
        yield "board", f"expected an installed profile, one of {', '.join(profile_names())}"
    yield from _misread(content)
    if content.busiest is not None and content.activity is None:
        yield "activity", "is missing; the busiest core is a part of it"
    for quantity, reason in content.unpredicted.items():
        if quantity not in QUANTITIES:
            yield f"unpredicted.{quantity}", f"expected one of {', '.join(QUANTITIES)}"
        if not reason.strip():
            yield f"unpredicted.{quantity}", "expected the reason"
    if content.busiest is None and "seconds" not in content.unpredicted:
        yield "busiest", "is missing; give it, or say under unpredicted.seconds why not"
    yield from _contradictions(content)


def _misread(content: _File) -> Iterator[tuple[str, str]]:
    """Readings in a foreign unit, or of a size that nothing has."""
    for part in ("activity", "busiest", "measured"):
        table = getattr(content, part)
        for entry in fields(table) if table is not None else ():
            reading = getattr(table, entry.name)
            if reading is None:
                continue
            place, units = f"{part}.{entry.name}", UNITS[entry.name].units
            if reading.unit not in units:
                yield f"{place}.unit", f"expected {' or '.join(units)}, found {reading.unit!r:.40}"
            elif not 0 <= reading.value <= FIGURE_MAX:  # NaN is neither
                yield f"{place}.value", f"expected 0 to {FIGURE_MAX:g}, found {reading.value:g}"
            elif reading.value == 0 and not _may_be_0(entry.name):
                yield f"{place}.value", "expected more than 0"
            elif reading.mark == "D" and not reading.note.strip():
                yield f"{place}.note", "is missing; say from what the figure was derived"


def _may_be_0(name: str) -> bool:
    """Counts of operations may be too few to be published."""
    return name in ("neuron_passes", "synaptic_operations", "messages", "busy_steps")


def _contradictions(content: _File) -> Iterator[tuple[str, str]]:
    measured, activity = content.measured, content.activity
    if measured.joules is not None and measured.joules_dynamic is not None:
        whole = in_base_units("joules", measured.joules)
        if in_base_units("joules_dynamic", measured.joules_dynamic) > whole:
            yield "measured.joules_dynamic", "is more than joules, of which it is a part"
    busy_steps = None if activity is None else activity.busy_steps
    if activity is not None and busy_steps is not None and busy_steps.value > activity.steps.value:
        yield "activity.busy_steps", "is more than steps, of which they are a part"
