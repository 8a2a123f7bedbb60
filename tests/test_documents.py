"""Documents: typed values, or one line that says the file, the place and what was found."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegpt_neuro.documents import converted, decode_json, read_json, read_toml
from spikegpt_neuro.energy.record import from_json
from spikegpt_neuro.errors import SpikeGPTError, UnsupportedInput
from spikegpt_neuro.mapping.placement import load_placement


class Row(NamedTuple):
    name: str
    start: int


@dataclass(frozen=True)
class Inner:
    value: float = 0.0


@dataclass(frozen=True)
class Example:
    where: Literal["chip", "host"]
    rows: tuple[Row, ...]
    table: Mapping[str, Inner]
    pairs: tuple[tuple[int, int], ...] = ()
    maybe: Inner | None = None


GOOD = {"where": "chip", "rows": [["a", 1], ["b", 2]], "table": {"x": {"value": 1}}}


def test_a_good_document_is_typed() -> None:
    found = decode_json(b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), Example, where="f")
    assert found == Example("chip", (Row("a", 1), Row("b", 2)), {"x": Inner(1.0)})
    assert converted(GOOD, Example, where="f", exact=True) == found


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "row": ({"rows": [["a", 1], ["b", "2"]]}, "rows[1].start: expected a whole number, found '2'"),
    "half": ({"rows": [["a", 1.5]]}, "rows[0].start: expected a whole number, found 1.5"),
    "short": ({"rows": [["a"]]}, "rows[0]: expected a list of 2, found a list of 1"),
    "choice": ({"where": "moon"}, "where: expected 'chip' or 'host', found 'moon'"),
    "bool": ({"pairs": [[0, 1], [1, True]]}, "pairs[1][1]: expected a whole number, found True"),
    "key": ({"table": {"x": {}, "y.z": {"value": "1"}}}, "y.z.value: expected a number, found '1'"),
    "list": ({"table": [1, 2]}, "table: expected an object, found a list of 2"),
    "optional": ({"maybe": 3}, "maybe: expected an object or null, found 3"),
    "inside": ({"maybe": {"value": None}}, "maybe.value: expected a number, found nothing"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("exact", [False, True])
def test_what_is_wrong_is_named(case: str, exact: bool) -> None:
    change, expected = WRONG[case]
    text = json.dumps(GOOD | change).encode()
    with pytest.raises(UnsupportedInput) as error:
        decode_json(text, Example, where="f.json", remedy="write it again", exact=exact)
    assert str(error.value).startswith("f.json: ")
    assert str(error.value).endswith(f"{expected}; write it again")


def test_keys_are_those_of_the_type() -> None:
    for content, expected in (
        (GOOD | {"more": 1}, "f: more: unknown key; expected one of where, rows, table, "),
        (GOOD | {"table": {"x": {"worth": 1}}}, "f: table.x.worth: unknown key; expected one of "),
        ({k: v for k, v in GOOD.items() if k != "rows"}, "f: rows: is missing"),
    ):
        with pytest.raises(UnsupportedInput) as error:
            converted(content, Example, where="f", exact=True)
        assert str(error.value).startswith(expected)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "not valid JSON: it ends too early"),
        (b'{"a": NaN}', "not valid JSON: invalid character (byte 6), JSON has neither NaN nor"),
        (b"[1e999]", "[0]: number out of range"),
        (b"[" * 100_000, "not valid JSON: nested too deeply"),
        (b'"\xff"', "not UTF-8 text: byte 0xff at position 1"),
        (b"1" * 5000, "integer value out of range"),
    ],
)
def test_bytes_that_are_no_document(data: bytes, expected: str) -> None:
    with pytest.raises(UnsupportedInput) as error:
        decode_json(data, object, where="f")
    assert str(error.value).startswith(f"f: {expected}")


def test_files_are_measured_before_they_are_read(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps(GOOD))
    assert read_json(file, Example, limit=1000).where == "chip"
    with pytest.raises(UnsupportedInput, match="is larger than 10 bytes"):
        read_json(file, Example, limit=10)
    with pytest.raises(UnsupportedInput, match="is a device, not a file"):
        read_json(Path("/dev/zero"), Example, limit=1000)
    with pytest.raises(UnsupportedInput, match=r"lost: cannot be read: No such file"):
        read_json(tmp_path / "lost", Example, limit=10)
    with pytest.raises(UnsupportedInput, match="cannot be read: Is a directory"):
        read_json(tmp_path, Example, limit=10)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a = ", "not a TOML file"),
        (b"a = " + b"[" * 5000, "not a TOML file: nested too deeply"),
        (b"a = '\xff'", "not UTF-8 text: byte 0xff"),
        (b"a = " + b"1" * 5000, "not a TOML file"),
    ],
)
def test_bytes_that_are_no_toml(tmp_path: Path, data: bytes, expected: str) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(b"\xef\xbb\xbfa = 1\r\n")
    assert read_toml(file) == {"a": 1}
    file.write_bytes(data)
    with pytest.raises(UnsupportedInput, match=expected):
        read_toml(file)


# Whatever happens to a valid document, only our own errors come out.

PLACEMENT = {
    "format": "spikegpt-neuro placement",
    "schema_version": 2,
    "hardware": {"name": "loihi2", "sha256": "0"},
    "graph": "0",
    "artifact": None,
    "embedding": "host",
    "head": "chip",
    "seed": 0,
    "steps": "separate",
    "objective": "cores",
    "schedule": "pipelined",
    "chips": 1,
    "usable_cores": 4,
    "sites": [[0, 1], [0, 2]],
    "pieces": [["a", 0, 4, 0], ["b", 0, 2, 1], ["b", 2, 4, 0]],
}
RANGE = {"value": 1.0, "low": 0.5, "high": 2}
RECORD = {
    "estimator": "cycle",
    "accounting": "x",
    "hardware": "loihi2",
    "tokens": 3,
    "joules": {"static": RANGE},
    "seconds": RANGE,
    "chips": 1,
    "cores": 2,
    "by_population": {"a": {"synapse": RANGE}},
    "by_kind": {"measured": 1.0},
    "constants": ["energy.axon_in"],
    "raw": {"rail": [1, 2.5, None]},
}


def _load(directory: Path) -> Callable[[bytes], object]:
    def load(data: bytes) -> object:
        (directory / "placement.json").write_bytes(data)
        return load_placement(directory / "placement.json")

    return load


def _record(data: bytes) -> object:
    return from_json(decode_json(data, dict, where="record.json"))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@st.composite
def damaged(draw: st.DrawFn, document: dict[str, Any]) -> bytes:
    """A document with one value replaced or lost, or with one byte of its text changed."""
    content = json.loads(json.dumps(document))
    place: Any = content
    while True:
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], (dict, list)) or not place[key] or draw(st.booleans()):
            break
        place = place[key]
    if draw(st.booleans()):
        place[key] = draw(ANYTHING)
    else:
        del place[key]
    text = bytearray(json.dumps(content).encode())
    if draw(st.booleans()):
        text[draw(st.integers(0, len(text) - 1))] = draw(st.integers(0, 255))
    return bytes(text)


@pytest.mark.parametrize("document", [PLACEMENT, RECORD], ids=["placement", "record"])
def test_a_damaged_document_gets_one_line(document: dict[str, Any], tmp_path: Path) -> None:
    read = _load(tmp_path) if document is PLACEMENT else _record
    read(json.dumps(document).encode())

    @given(damaged(document))
    @settings(max_examples=300, deadline=None)
    def fuzz(data: bytes) -> None:
        try:
            read(data)
        except SpikeGPTError as error:
            text = str(error)
        else:
            text = ""
        assert "\n" not in text

    fuzz()
