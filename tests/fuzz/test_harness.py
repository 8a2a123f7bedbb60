"""The harness finds what it is made to find, and lays it to the right input."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from random import Random

import numpy as np
import pytest
from fuzzing import running
from fuzzing.case import Case, Changed
from fuzzing.running import Fuzzer, case_of
from fuzzing.seeds import read_seed
from fuzzing.targets import make
from fuzzing.values import OTHERS, RAW, changed, to_json

from spikegpt_neuro.errors import UnsupportedInput

BAD = {
    3: "crash",
    5: "exception",
    7: "message",
    8: "memory",
    9: "meaning",
    13: "noise",
    17: "time",
    19: "memory",
    20: "meaning",
}


class Unprintable(UnsupportedInput):
    def __str__(self) -> str:
        return "two\nlines"


class Numbers:
    """Files of a number; those of :data:`BAD` are read badly, other odd ones are refused."""

    def case(self, rng: Random) -> Case:
        number = rng.randrange(24)
        return Case({"number": b"%d" % number}, same=number == 20)

    def bases(self) -> list[Case]:
        return [Case({"number": b"0"})]

    def read(self, folder: Path) -> object:
        number = int((folder / "number").read_bytes())
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 5:
            raise KeyError("x")
        if number == 7:
            raise Unprintable
        if number == 8:
            np.ones(1 << 32)
        if number == 9:
            raise Changed("it is nine")
        if number == 13:
            os.write(2, b"a library talks")
        if number == 17:
            time.sleep(3600)
        if number == 19:
            try:
                bytearray(1 << 33)
            except MemoryError as error:
                raise UnsupportedInput("too large") from error
        if number % 2 and number != 13:
            raise UnsupportedInput(f"{number} is odd")
        return number


def _number(case: Case) -> int:
    content = case.files["number"]
    assert isinstance(content, bytes)
    return int(content)


def test_what_is_bad_is_found_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "ASLEEP_SECONDS", 0.3)
    monkeypatch.setattr(running, "ALIKE_MOST", 1)
    fuzzer = Fuzzer({"numbers": Numbers()}, seed=1, keep=tmp_path)
    fuzzer.draw(inputs=100, seconds=None, workers=2)
    drawn = [case_of(Numbers(), "numbers", 1, index) for index in range(100)]
    numbers = [_number(case) for case in drawn]
    tally = fuzzer.tallies["numbers"]
    assert set(numbers) >= set(BAD)
    assert tally.inputs == 100
    assert sum(tally.causes.values()) == sum(number in BAD for number in numbers)
    assert tally.refused == sum(n % 2 == 1 and n not in BAD for n in numbers)
    assert tally.understood == sum(n % 2 == 0 and n not in BAD for n in numbers)
    for found in tally.findings:
        assert found.index is not None
        assert found.seed is not None
        assert BAD[numbers[found.index]] == found.finding.kind
        assert read_seed(found.seed) == ("numbers", drawn[found.index])
    assert {found.finding.kind for found in tally.findings} == set(BAD.values())

    again = Fuzzer({"numbers": Numbers()}, seed=0, keep=None)
    again.replay([read_seed(found.seed) for found in tally.findings if found.seed])
    assert again.tallies["numbers"].causes.keys() == tally.causes.keys()


@pytest.mark.parametrize("name", ["artifact", "safetensors", "placement", "record"])
def test_inputs_follow_from_seed_and_number(name: str) -> None:
    """So that a finding can be made again anywhere."""
    first, second = make([name])[name], make([name])[name]
    cases = [case_of(first, name, 4, index) for index in range(20)]
    assert cases == [case_of(second, name, 4, index) for index in range(20)]
    assert cases != [case_of(second, name, 5, index) for index in range(20)]
    assert len({str(sorted(case.files.items())) for case in cases}) > 15


def test_deep_values_are_written_as_text() -> None:
    deep, huge = RAW
    assert to_json({"a": deep, "b": [huge]}).decode() == f'{{"a": {RAW[deep]}, "b": [{RAW[huge]}]}}'


def test_a_change_leaves_nothing_for_the_next_one() -> None:
    """A list that a change puts in is not the one that others put in, too."""
    before = to_json(list(OTHERS))
    document = {"a": [1, {"b": 2}], "c": "x"}
    drawn = [to_json(changed(document, Random(n))) for n in range(2000)]
    assert to_json(list(OTHERS)) == before
    assert to_json(document) == b'{"a": [1, {"b": 2}], "c": "x"}'
    assert drawn == [to_json(changed(document, Random(n))) for n in range(2000)]
