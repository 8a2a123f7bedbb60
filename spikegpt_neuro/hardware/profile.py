"""Hardware profiles: what a chip's cores hold and support, and what its parts cost.

A profile is a TOML file. Every figure in it is a constant that says where it comes from::

    [core]
    neurons = { value = 1024, unit = "neurons", kind = "pre-silicon", source = "davies2018" }

``kind`` is one of ``measured`` (published for the silicon: a measurement, or a capacity that
the manufacturer specifies), ``pre-silicon`` (published before it), ``fitted`` (regression on
silicon), ``scaled`` (derived by a published ratio) and ``assumed``; an assumed constant carries
``low`` and ``high``. ``source`` is a key of the file's table ``[sources]``. A profile may build
on another one (``base = "loihi2"``, or a path) and give only what differs; ``docs/mapping.md``
lists every key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from spikegpt_neuro.documents import read_toml
from spikegpt_neuro.errors import UnsupportedInput, UsageError
from spikegpt_neuro.hardware.schema import (
    KINDS,
    OF_PORTS,
    OPTIONAL,
    REQUIRED,
    SECTIONS,
    SPECS,
    Spec,
    Value,
)

SCHEMA_VERSION = 1
LIBRARY = "spikegpt_neuro.hw_profiles"  # a folder of data files, nothing to import
FILE_KEYS = ("schema", "title", "base", "sources")
BASES_MAX = 16
NAME_MAX = 4096
CONSTANT_KEYS = ("value", "unit", "kind", "source", "low", "high", "note")


@dataclass(frozen=True)
class Constant:
    """One figure of a profile: ``section.key``, its value in its own unit, and its origin.

    ``low`` and ``high`` bound it; both are given for every assumed constant.
    """

    key: str
    value: Value
    unit: str
    kind: str
    source: str
    low: Value | None = None
    high: Value | None = None
    note: str = ""

    @cached_property
    def base(self) -> float:
        """The value in the base unit of its dimension (s, J, W, byte, 1/s, or a count)."""
        return SPECS[self.key].dimension.to_base(self.value, self.unit)

    @cached_property
    def range(self) -> tuple[float, float]:
        """(low, high) in base units; twice the value where none is given."""
        convert = SPECS[self.key].dimension.to_base
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        return convert(low, self.unit), convert(high, self.unit)

    @property
    def table(self) -> tuple[tuple[int, float], ...]:
        """A constant in steps: (from this count on, value in base units), ascending."""
        convert = SPECS[self.key].dimension.to_base
        steps = cast("tuple[tuple[int, float], ...]", self.value)
        return tuple((int(n), convert(v, self.unit)) for n, v in steps)

    def at(self, count: int) -> float:
        """The entry of a table in steps for ``count``; 0 where the table begins later."""
        return ([0.0] + [value for start, value in self.table if start <= count])[-1]


@dataclass(frozen=True)
class CoreLimits:
    """What one core holds; every limit holds at once.

    ``synaptic_memory`` and ``neuron_memory`` are bytes. An input axon is one neuron, anywhere,
    that reaches the core; an output axon is one neuron of the core reaching one core.
    """

    neurons: int
    synaptic_memory: int
    neuron_memory: int
    input_axons: int
    output_axons: int
    fan_in: int


@dataclass(frozen=True)
class Encoding:
    """Bytes around the weights.

    A list of synapses has a header and fills up words; a state variable or a parameter of a
    neuron takes one word. ``list_index``: bits that tell, at every weight of a sparse list, its
    target; None where all lists are dense.
    """

    list_header: int
    list_word: int
    state_word: int
    list_index: int | None = None


@dataclass(frozen=True)
class Support:
    """What a core can run.

    Neuron programs by kind, storable weight bits (ascending), the largest payload (1: binary
    spikes only), and the longest synaptic delay in steps.
    """

    programs: frozenset[str]
    weight_bits: tuple[int, ...]
    payload_bits: int
    delay: int


@dataclass(frozen=True)
class Profile:
    """A hardware profile, validated. ``file`` is where it was read from."""

    name: str
    title: str
    file: str
    constants: Mapping[str, Constant]

    def __repr__(self) -> str:
        return f"Profile({self.name}, {len(self.constants)} constants)"

    def __contains__(self, key: str) -> bool:
        return key in self.constants

    def __getitem__(self, key: str) -> Constant:
        """The constant ``section.key``; raises :class:`UnsupportedInput` if the file has none."""
        if key not in self.constants:
            raise UnsupportedInput(f"{self.file}: {key} is missing; it is needed here")
        return self.constants[key]

    def count(self, key: str) -> int:
        """A whole number in base units."""
        return int(self[key].base)

    @cached_property
    def limits(self) -> CoreLimits:
        return CoreLimits(*(self.count(f"core.{key}") for key in CoreLimits.__annotations__))

    @cached_property
    def encoding(self) -> Encoding:
        keys = [f"encoding.{key}" for key in Encoding.__annotations__]
        return Encoding(*(self.count(key) for key in keys if key not in OPTIONAL or key in self))

    @cached_property
    def support(self) -> Support:
        programs, bits = self["support.programs"].value, self["support.weight_bits"].value
        assert isinstance(programs, tuple)
        assert isinstance(bits, tuple)
        return Support(
            programs=frozenset(map(str, programs)),
            weight_bits=tuple(sorted(int(b) for b in bits)),  # type: ignore[arg-type]
            payload_bits=self.count("support.payload_bits"),
            delay=self.count("support.delay"),
        )

    @property
    def reaches_chips(self) -> bool:
        """Whether one message reaches all cores of another chip that hear it."""
        return "support.multicast" in self and self["support.multicast"].value == "chip"

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of every constant's value and unit.

        All but :data:`OPTIONAL`, which came later: placements from before stay valid.
        """
        text = "\n".join(
            f"{key} {c.value!r} {c.unit} {c.low!r} {c.high!r}"
            for key, c in sorted(self.constants.items())
            if key not in OPTIONAL
        )
        return hashlib.sha256(text.encode()).hexdigest()


def profile_names() -> list[str]:
    """Names of the profiles that are installed."""
    return sorted(file.stem for file in _library().glob("*.toml"))


def load_profile(name_or_path: str | Path, *, becomes: Path | None = None) -> Profile:
    """An installed profile by its name, or a user's own by the path of its file.

    ``becomes``: where the file will stand once it is found good; no profile builds on itself.

    Raises
    ------
    UsageError
        No installed profile has this name.
    UnsupportedInput
        The file cannot be read or breaks the schema; one line names file, key and what was
        expected.
    """
    path = _find(str(name_or_path), Path())
    title, constants = _read(path, () if becomes is None else (_real(becomes),))
    for key in REQUIRED:
        if key not in constants:
            raise UnsupportedInput(f"{path}: {key} is missing; expected {SPECS[key].expected}")
    _check_together(path, constants)
    return Profile(path.stem, title, str(path), constants)


def _library() -> Path:
    return Path(str(files(LIBRARY)))


def _find(name: str, beside: Path) -> Path:
    """A path as it stands (relative to ``beside``) if it looks like one, else a profile's name."""
    if name.endswith(".toml") or "/" in name:
        return beside / name
    if name not in profile_names():
        raise UsageError(
            f"no hardware profile named {name!r}; installed: {', '.join(profile_names())} "
            "(or give the path of a .toml file)"
        )
    return _library() / f"{name}.toml"


def _read(path: Path, seen: tuple[Path, ...]) -> tuple[str, dict[str, Constant]]:
    """Title and constants of a file, those of its base beneath its own."""
    content = read_toml(path)
    unknown = set(content) - set(FILE_KEYS) - set(SECTIONS)
    if unknown:
        expected = ", ".join((*FILE_KEYS, *SECTIONS))
        raise UnsupportedInput(f"{path}: {min(unknown)}: unknown key; expected one of {expected}")
    if content.get("schema") != SCHEMA_VERSION:
        raise UnsupportedInput(
            f"{path}: schema: expected {SCHEMA_VERSION}, found {content.get('schema')!r}"
        )
    title = _text(path, content, "title", "title")
    constants: dict[str, Constant] = {}
    if "base" in content:
        base = _find(_name_of_file(path, content, "base"), path.parent)
        if len(seen) == BASES_MAX:
            raise UnsupportedInput(f"{path}: base: {BASES_MAX} profiles build on each other")
        seen = (*seen, _real(path))
        if _real(base) in seen:
            raise UnsupportedInput(f"{path}: base: {base} builds on this file itself")
        _, constants = _read(base, seen)
    sources = _table(path, content, "sources")
    for section in SECTIONS:
        for key, entry in _table(path, content, section).items():
            name = f"{section}.{key}"
            constants[name] = _constant(path, name, entry, sources)
    return title, constants


def _real(path: Path) -> Path:
    """Where a path leads."""
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # links in a circle, names too long
        raise UnsupportedInput(f"{path}: cannot be read: {error}") from error


def _table(path: Path, content: Mapping[str, Any], key: str) -> dict[str, Any]:
    table = content.get(key, {})
    if not isinstance(table, dict):
        raise UnsupportedInput(f"{path}: {key}: expected a table, found {table!r}")
    return table


def _text(path: Path, table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        found = "nothing" if value is None else repr(value)
        raise UnsupportedInput(f"{path}: {where}: expected a text, found {found}")
    return value


def _name_of_file(path: Path, table: Mapping[str, Any], key: str) -> str:
    name = _text(path, table, key, key)
    if "\0" in name or len(name) > NAME_MAX:
        raise UnsupportedInput(f"{path}: {key}: expected the name of a profile or of its file")
    return name


def _constant(path: Path, name: str, entry: object, sources: Mapping[str, Any]) -> Constant:
    if name not in SPECS:
        section = name.split(".")[0]
        known = ", ".join(key.split(".")[1] for key in SPECS if key.startswith(f"{section}."))
        raise UnsupportedInput(f"{path}: {name}: unknown key; [{section}] has {known}")
    spec = SPECS[name]
    if not isinstance(entry, dict):
        raise UnsupportedInput(
            f"{path}: {name}: expected {{ value, unit, kind, source }}, found {entry!r}"
        )
    if unknown := set(entry) - set(CONSTANT_KEYS):
        expected = ", ".join(CONSTANT_KEYS)
        raise UnsupportedInput(
            f"{path}: {name}.{min(unknown)}: unknown key; expected one of {expected}"
        )
    unit, kind, source = (_text(path, entry, k, f"{name}.{k}") for k in ("unit", "kind", "source"))
    if unit not in spec.dimension.units:
        expected = " or ".join(spec.dimension.units)
        raise UnsupportedInput(f"{path}: {name}.unit: expected {expected}, found {unit!r}")
    if kind not in KINDS:
        raise UnsupportedInput(
            f"{path}: {name}.kind: expected one of {', '.join(KINDS)}, found {kind!r}"
        )
    value = _value(path, f"{name}.value", spec, entry.get("value"))
    low, high = (
        _value(path, f"{name}.{end}", spec, entry[end]) if end in entry else None
        for end in ("low", "high")
    )
    _check_range(path, name, kind, value, low, high)
    note = _text(path, entry, "note", f"{name}.note") if "note" in entry else ""
    cited = _text(path, sources, source, f"{name}.source: sources.{source}")
    return Constant(name, value, unit, kind, cited, low, high, note)


def _value(path: Path, where: str, spec: Spec, found: object) -> Value:
    value = spec.read(found)
    if value is None:
        shown = "nothing" if found is None else repr(found)
        raise UnsupportedInput(f"{path}: {where}: expected {spec.expected}, found {shown}")
    return value


def _check_range(
    path: Path, name: str, kind: str, value: Value, low: Value | None, high: Value | None
) -> None:
    if kind == "assumed" and (low is None or high is None):
        missing = "low" if low is None else "high"
        raise UnsupportedInput(
            f"{path}: {name}.{missing} is missing; an assumed constant carries low and high"
        )
    for smaller, larger in ((low, value), (value, high)):
        if not isinstance(smaller, (int, float)) or not isinstance(larger, (int, float)):
            continue  # no bound is given, or it is a list
        if smaller > larger:
            raise UnsupportedInput(
                f"{path}: {name}: expected low <= value <= high, found {smaller} > {larger}"
            )


def _check_together(path: Path, constants: Mapping[str, Constant]) -> None:
    """What no constant can show alone."""
    sites = ("chip.tile_columns", "chip.tile_rows", "chip.cores_per_tile")
    columns, rows, cores = (int(constants[key].base) for key in sites)
    usable = int(constants["chip.usable_cores"].base)
    if usable > columns * rows * cores:
        raise UnsupportedInput(
            f"{path}: chip.usable_cores: expected at most {columns * rows * cores} "
            f"({columns} x {rows} tiles of {cores}), found {usable}"
        )
    given = [key for key in OF_PORTS if key in constants]
    if given and len(given) < len(OF_PORTS):
        missing = next(key for key in OF_PORTS if key not in constants)
        raise UnsupportedInput(f"{path}: {missing} is missing; {given[0]} needs it")
