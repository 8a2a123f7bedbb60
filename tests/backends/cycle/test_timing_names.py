"""Timing models by name: ours, and those that another package registers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spikegpt_neuro.backends.cycle.timing.bound import BoundTiming
from spikegpt_neuro.backends.cycle.timing.models import timing_model
from spikegpt_neuro.backends.cycle.timing.names import GROUP, MODELS, check_timing, timing_names
from spikegpt_neuro.backends.cycle.traffic.messages import StepMessages
from spikegpt_neuro.errors import MissingBackend, UnsupportedInput, UsageError
from spikegpt_neuro.hardware.machine import Machine
from spikegpt_neuro.hardware.profile import load_profile
from spikegpt_neuro.mapping.placed_machine import machine_of

from energy_example import example_graph, example_placement
from outside_package import write_package

MODEL = """
from spikegpt_neuro.backends.cycle.timing.bound import BoundTiming

class Twice(BoundTiming):
    name = "twice"

class Nameless:
    pass
"""


def example_machine() -> Machine:
    profile = load_profile("loihi2")
    return machine_of(profile, example_placement(example_graph(), profile))


def a_step(cores: int) -> StepMessages:
    """The first core sends one message to the last one."""
    zeros = np.zeros(cores, np.int32)
    return StepMessages(
        first=np.array([0, *[1] * cores]),
        target=np.array([cores - 1], np.int32),
        synapses=np.array([3], np.int32),
        work=np.array([1e-9]),
        leftover=np.zeros(cores),
        arrived=zeros,
        arrived_synapses=zeros.astype(np.int64),
        begins=np.ones(1, bool),
    )


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with entry points for timing models."""
    named = {"twice": "Twice", "nameless": "Nameless", "bound": "Nameless", "absent": "Absent"}
    entries = {name: f"models_from_elsewhere:{model}" for name, model in named.items()}
    entries["lost"] = "no_such_package:Model"
    write_package(tmp_path, "models_from_elsewhere", MODEL, {GROUP: entries})
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("elsewhere")
def test_a_timing_model_of_another_package_is_found() -> None:
    assert timing_names() == (*MODELS, "absent", "lost", "nameless", "twice")
    chips = example_machine()
    step = a_step(chips.mesh.cores)
    assert check_timing("twice") == "twice"
    ours, theirs = (timing_model(name, chips) for name in ("bound", "twice"))
    assert isinstance(ours, BoundTiming)
    assert theirs.name == "twice"
    assert theirs.step(step).seconds == ours.step(step).seconds


@pytest.mark.usefixtures("elsewhere")
def test_what_is_no_timing_model_is_refused() -> None:
    chips = example_machine()
    for name in ("nameless", "absent"):
        with pytest.raises(UnsupportedInput, match=f"{name}: models_from_elsewhere:.* is none; ex"):
            timing_model(name, chips)
    with pytest.raises(MissingBackend, match="timing model lost cannot be imported"):
        timing_model("lost", chips)
    with pytest.raises(UsageError, match=r"timing is 'guess', expected one of bound, .*, twice"):
        timing_model("guess", chips)


def test_every_model_has_its_name() -> None:
    for name in MODELS:
        assert timing_model(name, example_machine()).name == name
