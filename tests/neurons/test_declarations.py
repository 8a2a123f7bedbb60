"""What a program declares: ranges that kernels keep without overflow, and nothing outside them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegpt_neuro import plugins
from spikegpt_neuro.backends.reference import ReferenceBackend
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.graph import artifact
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import load_profile
from spikegpt_neuro.hardware.schema import SPECS
from spikegpt_neuro.mapping.requirements import workload
from spikegpt_neuro.neurons import PROGRAMS, Embedding, Residual, SquaredReLU, program_class
from spikegpt_neuro.neurons import micro_operations as counting
from spikegpt_neuro.neurons.program import (
    Advance,
    Counts,
    EventFormat,
    Parameter,
    Program,
    declared,
    scalar,
)

from places import ROOT
from random_models import random_model, random_tokens
from toy_graph import toy_graph

SIZE, TOKENS = 2, 3
KERNELS = sorted(kind for kind, program in PROGRAMS.items() if program.kernel is not None)
INT32 = st.sampled_from([-(2**31), 2**31 - 1, -(2**23), 2**23 - 1, 0, 1, -1]) | st.integers(
    -(2**31), 2**31 - 1
)


def value_of(parameter: Parameter, number: int, size: int = SIZE) -> Any:
    """``number`` in the form of the parameter."""
    if parameter.form == "flag":
        return bool(number)
    if parameter.form == "scalar":
        return number
    (dtype,) = parameter.ranges
    return np.full(size, number, dtype)


def drawn(data: st.DataObject, kind: str) -> Program:
    """A program with any parameters in their ranges, the ends more often than by chance."""
    values: dict[str, Any] = {}
    for parameter in declared(PROGRAMS[kind]):
        ((low, high),) = parameter.ranges.values()
        number = st.sampled_from([low, high]) | st.integers(low, high)
        if parameter.optional and data.draw(st.booleans()):
            values[parameter.name] = None
        elif parameter.type is np.ndarray:
            numbers = data.draw(st.lists(number, min_size=SIZE, max_size=SIZE))
            values[parameter.name] = np.array(numbers, np.int32)
        else:
            values[parameter.name] = value_of(parameter, data.draw(number))
    return PROGRAMS[kind](**values)


@pytest.mark.parametrize("kind", KERNELS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_kernels_equal_unbounded_integers_and_both_modes(kind: str, data: st.DataObject) -> None:
    program = drawn(data, kind)
    assert program.problems(SIZE) == []
    words = st.lists(INT32, min_size=SIZE * TOKENS, max_size=SIZE * TOKENS)
    inputs = [np.array(data.draw(words), np.int32).reshape(TOKENS, SIZE) for _ in program.ports]
    compiled = program.advance(program.initial_state(SIZE), *inputs)
    unbounded = counting._Tally().advance(
        program,
        tuple(s.astype(object) for s in program.initial_state(SIZE)),
        *(x.astype(object) for x in inputs),
    )
    assert compiled.events.tolist() == unbounded.events.tolist()
    assert [s.tolist() for s in compiled.state] == [s.tolist() for s in unbounded.state]
    assert compiled.counts == unbounded.counts
    state, rows = program.initial_state(SIZE), []
    for t in range(TOKENS):
        step = program.advance(state, *(x[t : t + 1] for x in inputs))
        state = step.state
        rows.append(step.events[0].tolist())
    assert rows == compiled.events.tolist()
    assert [s.tolist() for s in state] == [s.tolist() for s in compiled.state]


def middle(kind: str) -> Program:
    """A program of valid parameters."""
    return PROGRAMS[kind](
        **{
            p.name: value_of(p, sum(next(iter(p.ranges.values()))) // 2)
            for p in declared(PROGRAMS[kind])
        }
    )


@pytest.mark.parametrize("kind", KERNELS)
def test_just_outside_a_bound_is_refused_by_name(kind: str) -> None:
    program: Any = middle(kind)
    assert program.problems(SIZE) == []
    for parameter in declared(PROGRAMS[kind]):
        if parameter.form == "flag":
            assert replace(program, **{parameter.name: 1}).problems(SIZE)
            continue
        ((low, high),) = parameter.ranges.values()
        for inside, outside in ((low, low - 1), (high, high + 1)):
            accepted = replace(program, **{parameter.name: value_of(parameter, inside)})
            assert accepted.problems(SIZE) == []
            each = parameter.type is np.ndarray
            where = parameter.name + ("[1]" if each else "")
            value = value_of(parameter, inside)
            if each:
                value[1] = outside
            else:
                value = outside
            refused = replace(program, **{parameter.name: value}).problems(SIZE)
            assert refused == [f"{where} is {outside}, expected {low}..{high}"]


def test_an_embedding_beyond_its_format_is_named() -> None:
    table = np.zeros((3, SIZE), np.uint8)
    table[2, 1] = 2
    assert Embedding(table).problems(SIZE) == ["table[2, 1] is 2, expected 0..1"]
    wrong: Any = Embedding(cast(Any, np.zeros((3, SIZE))))
    assert wrong.problems(SIZE) == ["table is float64, expected uint8 or int16"]


def test_a_shift_that_wraps_is_refused_in_a_graph() -> None:
    graph = toy_graph()
    at = next(i for i, p in enumerate(graph.populations) if p.name == "blocks.0.current")
    ones = np.ones(graph.populations[at].size, np.int32)
    hidden = SquaredReLU(ones, ones, 1, 64, 8)
    populations = list(graph.populations)
    populations[at] = replace(populations[at], program=hidden)
    with pytest.raises(UnsupportedInput, match=r"square_shift is 64, expected 0\.\.46"):
        replace(graph, populations=tuple(populations)).validate()


@pytest.mark.parametrize(
    "options",
    [{}, {"ffn_pre": True}, {"spike_input": True}, {"spike_embedding": False}],
    ids=["plain", "ffn_pre", "spike_input", "real_embedding"],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=12, deadline=None)
@given(
    exponents=st.fixed_dictionaries(
        {part: st.integers(-40, 26) for part in ("emb.weight", ".ln", "ln_out", ".time_")}
    ),
    seed=st.integers(0, 99),
)
def test_what_lowering_accepts_is_in_range(
    options: dict[str, Any], exponents: dict[str, int], seed: int
) -> None:
    """Parts of a model scaled by powers of two: no range refuses what else can be lowered."""
    model = random_model(1, 8, 11, seed=seed, **options)
    tensors = {name: np.asarray(tensor) for name, tensor in model.tensors.items()}
    for part, exponent in exponents.items():
        for name in tensors:
            if part in name:
                tensors[name] = tensors[name] * np.float32(2.0**exponent)
    try:
        graph = lower(replace(model, tensors=tensors), random_tokens(model, 40))
    except UnsupportedInput as error:
        assert "expected" not in str(error)  # noqa: PT017 (a scale factor, or an overflow)
        return
    assert not [x for p in graph.populations for x in p.program.problems(p.size)]


@pytest.mark.parametrize("scale", [0.25, 1.0, 30.0])
def test_odd_scales_are_lowered(scale: float) -> None:
    model = random_model(2, 16, 19, seed=3)
    tensors = {
        name: np.asarray(tensor) * np.float32(scale if ".ln" in name or ".time_" in name else 1)
        for name, tensor in model.tensors.items()
    }
    graph = lower(replace(model, tensors=tensors), random_tokens(model, 40))
    assert not [x for p in graph.populations for x in p.program.problems(p.size)]


def test_the_golden_artifact_is_in_range() -> None:
    artifact.load(ROOT / "tests" / "golden" / "artifact").validate()


@dataclass(frozen=True)
class Doubling(Program):
    """y = x << times, as another package would write it: no kernel, its own advance."""

    kind = "doubling"
    ports = ("stream", "branch")

    times: int = scalar(0, 4, default=0)

    @property
    def events(self) -> EventFormat:
        return EventFormat(24, signed=True)

    def advance(self, state: Any, *inputs: Any) -> Any:
        stream, branch = inputs
        return Advance(state, (stream << self.times) + branch, Counts())


@pytest.fixture
def doubling(monkeypatch: pytest.MonkeyPatch) -> SpikingGraph:
    """The toy graph with a residual of another package."""
    register(monkeypatch, "doubling", f"{__name__}:Doubling", Doubling)
    graph = toy_graph()
    populations = tuple(
        replace(p, program=Doubling(1)) if isinstance(p.program, Residual) else p
        for p in graph.populations
    )
    return replace(graph, populations=populations)


def register(monkeypatch: pytest.MonkeyPatch, kind: str, value: str, loads: Any) -> None:
    class Entry:
        name = kind

        def load(self) -> Any:
            if isinstance(loads, Exception):
                raise loads
            return loads

    Entry.value = value  # type: ignore[attr-defined]
    monkeypatch.setattr(plugins, "registered", lambda group: {kind: Entry()})


def test_a_program_of_another_package_runs_and_says_it_is_slow(
    doubling: SpikingGraph, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = np.arange(8) % 11
    artifact.save(doubling, tmp_path / "a")
    loaded = artifact.load(tmp_path / "a")
    assert loaded.by_name["blocks.0.residual"].program == Doubling(1)
    expected = ReferenceBackend().run(loaded, tokens).logits_int
    with caplog.at_level(logging.INFO), ReferenceBackend().session(loaded) as session:
        assert np.array_equal(np.stack([session.step(int(t)) for t in tokens]), expected)
    assert "doubling" in caplog.text
    assert "slower" in caplog.text
    demands = {d.name: d for d in workload(loaded, load_profile("loihi2")).demands}
    assert demands["blocks.0.residual"].program == "doubling"
    assert SPECS["support.programs"].read(["lif", "doubling"]) == ("lif", "doubling")
    assert counting.micro_operations(Doubling(1), 5) > 0


def test_stepped_sessions_log_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), ReferenceBackend().session(toy_graph()) as session:
        session.step(1)
    assert "slower" not in caplog.text


@dataclass(frozen=True)
class Undeclared(Residual):
    """A field without a range."""

    kind = "undeclared"

    x: int = 1


@pytest.mark.parametrize(
    ("kind", "loads", "says"),
    [
        ("gone", ImportError("no module"), "cannot be loaded: no module"),
        ("number", int, "is no subclass of Program"),
        ("other", Residual, "is of another kind"),
        ("undeclared", Undeclared, "Undeclared.x declares no range"),
    ],
)
def test_a_wrong_registration_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, kind: str, loads: Any, says: str
) -> None:
    register(monkeypatch, kind, "stranger:Thing", loads)
    with pytest.raises(UnsupportedInput, match=f"program {kind}: entry point stranger:Thing") as e:
        program_class(kind)
    assert says in str(e.value)


def test_builtin_kinds_scan_no_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "registered", lambda group: 1 / 0)
    assert program_class("lif") is PROGRAMS["lif"]
