"""The loihi backend's network: what goes onto the chip, and the reference's integers on the CPU."""

from __future__ import annotations

import importlib.util
import resource
import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegpt_neuro import api
from spikegpt_neuro.backends.lava.compat import load_lava
from spikegpt_neuro.backends.lava.job import Job, write_job
from spikegpt_neuro.backends.lava.steps import Recorder
from spikegpt_neuro.backends.loihi import limits
from spikegpt_neuro.backends.loihi.backend import LoihiBackend
from spikegpt_neuro.backends.loihi.capacity import capacity
from spikegpt_neuro.backends.loihi.deployment import (
    MESSAGE_LIMIT,
    Crossing,
    Deployment,
    deploy,
    message_bits,
)
from spikegpt_neuro.backends.loihi.host import HostStep
from spikegpt_neuro.backends.reference import ReferenceBackend
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.errors import DoesNotFit, UnsupportedInput, UsageError
from spikegpt_neuro.graph.graph import Population, SpikingGraph
from spikegpt_neuro.graph.pipeline import depth
from spikegpt_neuro.hardware.profile import load_profile
from spikegpt_neuro.mapping.placement import load_placement
from spikegpt_neuro.neurons import LIF
from spikegpt_neuro.neurons.program import EventFormat
from spikegpt_neuro.running import Run, first_mismatch, get_backend

from children import assert_nothing_left
from dense_weights import weights_of
from loihi_setting import PATIENCE
from places import EXAMPLES
from random_models import random_model, random_tokens
from sparse_graphs import pruned, sparse
from toy_graph import VOCABULARY, WIDTH, toy_graph

needs_lava = pytest.mark.skipif(
    importlib.util.find_spec("lava") is None, reason="Lava is not installed"
)


@pytest.fixture(autouse=True)
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where job directories of this test go; made after ``tmp_path``, which is elsewhere."""
    with tempfile.TemporaryDirectory(prefix="sgn-test-") as directory:
        monkeypatch.setattr(tempfile, "tempdir", directory)
        yield Path(directory)


@pytest.fixture(scope="module")
def example() -> SpikingGraph:
    pytest.importorskip("torch", reason="reading .pth needs torch")
    calibration = np.random.default_rng(0).integers(0, 96, 1000)
    checkpoint = EXAMPLES / "pydoc-4x128.pth"
    return api.convert(checkpoint, vocab=EXAMPLES / "pydoc-vocab.json", calibration=calibration)


@pytest.fixture(scope="module")
def two_layers() -> SpikingGraph:
    model = random_model(layers=2)
    return lower(model, random_tokens(model, 500))


def assert_same(graph: SpikingGraph, run: Run, tokens: np.ndarray) -> None:
    reference = ReferenceBackend().run(graph, tokens, record="events")
    assert first_mismatch(graph, run, reference) is None
    assert run.events.keys() == reference.events.keys()
    assert run.activity == reference.activity
    assert {name: reference.counts[name] for name in run.counts} == run.counts
    assert np.count_nonzero(run.logits_int) > 0


# What goes onto the chip.


def test_the_whole_model_has_a_trip_for_every_projection_and_lif(two_layers: SpikingGraph) -> None:
    found = deploy(two_layers)
    dense = [q for q in two_layers.projections if q.is_dense]
    assert len(found.trips) == len(dense) + len(found.lifs)
    assert {t.name for t in found.trips} == {q.name for q in dense} | found.lifs
    assert found.depth == depth(two_layers) + len(found.lifs)


def test_layers_and_single_projections(two_layers: SpikingGraph) -> None:
    one = deploy(two_layers, layers="1")
    assert {t.target.name.split(".")[1] for t in one.trips} == {"1"}
    assert one.lifs == {"blocks.1.lif1", "blocks.1.lif2"}
    both = deploy(two_layers, layers="0-1")
    assert len(both.trips) == 2 * len(one.trips)
    assert deploy(two_layers, layers="0,1").projections == both.projections
    single = deploy(two_layers, only=["blocks.0.att.output"])
    assert [t.name for t in single.trips] == ["blocks.0.att.output"]
    assert single.lifs == frozenset()


@pytest.mark.parametrize("layers", ["", "2", "0-2", "one", "1-0", "-1"])
def test_layers_that_are_not_there(two_layers: SpikingGraph, layers: str) -> None:
    with pytest.raises(UsageError, match="layers="):
        deploy(two_layers, layers=layers)


def test_a_projection_that_is_not_there(two_layers: SpikingGraph) -> None:
    with pytest.raises(UsageError, match=r"no dense projection 'blocks\.9\.key'; there are"):
        deploy(two_layers, only=["blocks.9.key"])
    with pytest.raises(UsageError, match=r"layers=\.\.\. or only_projection=\.\.\., not both"):
        deploy(two_layers, layers="0", only=["blocks.0.att.output"])


@pytest.mark.parametrize(
    ("bits", "signed", "expected"), [(1, False, 0), (8, True, 8), (8, False, 16), (18, True, 24)]
)
def test_message_bits(bits: int, signed: bool, expected: int) -> None:
    assert message_bits(EventFormat(bits, signed)) == expected


def with_projection(graph: SpikingGraph, name: str, **changes: object) -> SpikingGraph:
    changed = tuple(
        replace(q, **changes) if q.name == name else q  # type: ignore[arg-type]
        for q in graph.projections
    )
    return replace(graph, projections=changed)


def with_wide_head(weights: np.ndarray) -> SpikingGraph:
    """A head whose sources send 18 bits."""
    return with_projection(toy_graph(), "head", source="blocks.0.current", weights=weights)


def test_sums_that_exceed_a_message_come_back_in_slices() -> None:
    largest = 63
    wide = with_wide_head(np.full((VOCABULARY, WIDTH), largest, np.int8)).validate()
    high = wide.by_name["blocks.0.current"].events.high
    assert largest * high <= MESSAGE_LIMIT < 2 * largest * high
    trips = [t for t in deploy(wide).trips if t.projection.name == "head"]
    assert [(t.first, t.last) for t in trips] == [(i, i + 1) for i in range(WIDTH)]
    too_much = with_wide_head(np.full((VOCABULARY, WIDTH), 2 * largest, np.int8))
    with pytest.raises(UnsupportedInput, match=r"projection head: one weight times .* 24 bits"):
        _ = deploy(too_much).trips


# The host's share, with the chip played by a few lines of numpy.


class PlayedChip:
    """Every trip as Lava's stock processes compute it, with adapters that take steps."""

    def __init__(self, deployment: Deployment) -> None:
        self.trips = deployment.trips
        steps = deployment.crossing.steps
        self.under_way = [deque([np.zeros(t.last - t.first, int)] * steps) for t in self.trips]
        self.state = {
            t.lif.name: t.lif.program.initial_state(t.lif.size) for t in self.trips if t.lif
        }

    def arrived(self) -> list[np.ndarray]:
        """What comes back at this time step."""
        found = []
        for trip, under_way in zip(self.trips, self.under_way, strict=True):
            events = under_way.popleft().astype(np.int32)
            if trip.lif is None:
                weights = weights_of(trip.projection)[:, trip.first : trip.last].astype(np.int64)
                sums = weights @ events
                assert np.abs(sums).max() <= MESSAGE_LIMIT
                found.append(sums)
                continue
            state, spikes, _ = trip.lif.program.advance(self.state[trip.lif.name], events[None])
            self.state[trip.lif.name] = state
            found.append(spikes[0])
        return found

    def leave(self, leaving: list[np.ndarray]) -> None:
        for events, under_way in zip(leaving, self.under_way, strict=True):
            under_way.append(events)


def play(deployment: Deployment, tokens: np.ndarray, directory: Path) -> Job:
    graph = deployment.graph
    names = [p.name for p in graph.populations if p is not graph.output]
    job: Job = write_job(
        directory,
        graph,
        tokens,
        granularity="population",
        closed_loop=False,
        recorded=names,
        artifact="unused",
    )
    recorders = {}
    for i, p in enumerate(graph.populations):
        events = job.logits if p is graph.output else job.events(i)
        assert events is not None
        recorders[p.name] = Recorder(job.tallies[i], [events])
    host, chip = HostStep(deployment, tokens, recorders), PlayedChip(deployment)
    for step in range(1, len(tokens) + deployment.depth + 1):
        chip.leave(host(step, chip.arrived()))
    return job


@settings(max_examples=15)
@given(
    chosen=st.sets(st.integers(0, 40)),
    lifs=st.booleans(),
    crossing=st.builds(Crossing, st.integers(0, 3), st.integers(0, 3)),
    count=st.integers(1, 12),
)
def test_any_part_on_the_chip_gives_the_same_integers(
    two_layers: SpikingGraph, chosen: set[int], lifs: bool, crossing: Crossing, count: int
) -> None:
    dense = [q.name for q in two_layers.projections if q.is_dense]
    all_lifs = [p.name for p in two_layers.populations if isinstance(p.program, LIF)]
    deployment = Deployment(
        two_layers,
        frozenset(name for i, name in enumerate(dense) if i in chosen),
        frozenset(all_lifs if lifs else ()),
        crossing,
    )
    tokens = np.random.default_rng(count).integers(0, two_layers.shape.vocab_size, count)
    reference = ReferenceBackend().run(two_layers, tokens, record="events")
    with tempfile.TemporaryDirectory() as directory:
        job = play(deployment, tokens, Path(directory))
        np.testing.assert_array_equal(job.logits, reference.logits_int)
        for index, population in enumerate(two_layers.populations[:-1]):
            np.testing.assert_array_equal(job.events(index), reference.events[population.name])


# The whole of it on Lava.


@needs_lava
@pytest.mark.parametrize(
    "options",
    [{}, {"layers": "0", "adapter_steps": (1, 2)}, {"only_projection": ["value"]}],
    ids=["whole", "layer and slow adapters", "projection"],
)
def test_rehearsal_of_a_small_graph(options: dict[str, object], jobs: Path) -> None:
    graph, tokens = toy_graph(), np.random.default_rng(1).integers(0, VOCABULARY, 40)
    seen: list[int] = []
    backend = LoihiBackend(rehearse=True, time_limit=PATIENCE, **options)  # type: ignore[arg-type]
    run = backend.run(graph, tokens, record="events", progress=lambda done, _: seen.append(done))
    assert_same(graph, run, tokens)
    assert seen[-1] == 40
    assert_nothing_left(jobs)


@needs_lava
def test_rehearsal_of_sparse_projections() -> None:
    rng = np.random.default_rng(5)
    wide = with_wide_head(rng.integers(-40, 41, (VOCABULARY, WIDTH), dtype=np.int8))
    graph, tokens = sparse(pruned(wide, 0.7)), rng.integers(0, VOCABULARY, 24)
    assert len(deploy(graph, only=["head"]).trips) > 1
    backend = LoihiBackend(rehearse=True, time_limit=PATIENCE)
    assert_same(graph, backend.run(graph, tokens, record="events"), tokens)


@needs_lava
def test_rehearsal_with_sums_in_slices() -> None:
    rng = np.random.default_rng(5)
    graph = with_wide_head(rng.integers(-40, 41, (VOCABULARY, WIDTH), dtype=np.int8))
    tokens = rng.integers(0, VOCABULARY, 16)
    assert len(deploy(graph, only=["head"]).trips) > 1
    backend = LoihiBackend(rehearse=True, time_limit=PATIENCE, only_projection=["head"])
    assert_same(graph, backend.run(graph, tokens, record="events"), tokens)


@needs_lava
def test_rehearsal_of_the_whole_example(example: SpikingGraph, jobs: Path) -> None:
    tokens = np.random.default_rng(2).integers(0, 96, 128)
    backend = LoihiBackend(rehearse=True, time_limit=PATIENCE)
    assert_same(example, backend.run(example, tokens, record="events"), tokens)
    assert_nothing_left(jobs)


@needs_lava
@pytest.mark.parametrize(
    "options",
    [
        {"only_projection": ["blocks.0.att.output"]},
        pytest.param({"layers": "0-3"}, marks=pytest.mark.slow),
        pytest.param({"layers": "1,2", "adapter_steps": (2, 1)}, marks=pytest.mark.slow),
    ],
)
def test_rehearsal_of_a_part_of_the_example(
    example: SpikingGraph, options: dict[str, object]
) -> None:
    tokens = np.random.default_rng(2).integers(0, 96, 128)
    backend = LoihiBackend(rehearse=True, time_limit=PATIENCE, **options)  # type: ignore[arg-type]
    assert_same(example, backend.run(example, tokens, record="events"), tokens)


def test_a_rehearsal_measures_nothing_and_closes_no_loop() -> None:
    backend = get_backend("loihi", rehearse=True)
    assert isinstance(backend, LoihiBackend)
    with pytest.raises(UsageError, match="measures nothing"):
        backend.measure(toy_graph(), np.zeros(3, np.int64), "time")
    with pytest.raises(UsageError, match="loihi has no closed loop"):
        backend.session(toy_graph())


# Limits.


def test_what_a_stock_lif_cannot_compute_stays_on_the_host() -> None:
    graph = toy_graph()
    slow = Population("blocks.0.lif", WIDTH, LIF(du=2047, dv=2048, vth=60))
    changed = replace(
        graph, populations=tuple(slow if p.name == slow.name else p for p in graph.populations)
    )
    with pytest.raises(UnsupportedInput, match=r"population blocks\.0\.lif: its current may wrap"):
        limits.check_arithmetic(deploy(changed))
    limits.check_arithmetic(deploy(changed, only=["head"]))


def test_too_many_processes_for_the_machine(
    example: SpikingGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = deploy(example)
    assert limits.footprint(whole).processes == 4 * (29 + 8) + 2
    found = {resource.RLIMIT_NOFILE: (1024, 1024)}
    none = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda limit: found.get(limit, none))
    with pytest.raises(DoesNotFit, match=r"150 Lava processes .* the limit is 1024.*layers="):
        limits.check_rehearsal(whole, 0)
    limits.check_rehearsal(deploy(example, layers="0"), 0)


def test_the_chip_part_alone_is_packed(example: SpikingGraph, tmp_path: Path) -> None:
    profile = load_profile("loihi2-1")
    whole, part = (capacity(deploy(example, layers=n), profile) for n in (None, "0-1"))
    assert 0 < part.cores < whole.cores
    weights = sum(q.synapses for q in example.projections)
    assert whole.load.dense_synapses == weights
    assert {p.population for p in part.pieces} == {t.name for t in part.deployment.trips}
    whole.placement().save(tmp_path / "placement.json")
    assert load_placement(tmp_path / "placement.json") == whole.placement()


def test_a_part_that_does_not_fit_is_refused(tmp_path: Path, example: SpikingGraph) -> None:
    small = tmp_path / "small.toml"
    small.write_text(
        'schema = 1\ntitle = "few cores"\nbase = "loihi2-1"\n[sources]\ns = "test"\n[chip]\n'
        'usable_cores = { value = 2, unit = "cores", kind = "measured", source = "s" }\n'
    )
    profile = load_profile(small)
    with pytest.raises(DoesNotFit, match=r"fills \d+ cores of \d chips, small has 1; .*layers="):
        capacity(deploy(example), profile)
    assert capacity(deploy(example, only=["blocks.0.att.output"]), profile).chips == 1
    with pytest.raises(DoesNotFit, match="loihi1 carry 1; choose a chip with graded events"):
        capacity(deploy(example), load_profile("loihi1"))


@needs_lava
def test_a_port_of_lava_announces_every_message() -> None:
    """Also one that arrives while another is still there, about to be taken."""
    load_lava()
    from lava.magma.compiler.channels import pypychannel

    heard: list[int] = []
    port = pypychannel.CspRecvPort.__new__(pypychannel.CspRecvPort)
    port._done, port._queue = False, pypychannel.CspRecvQueue(4)
    port.observer = lambda: heard.append(port._queue.qsize())

    class TwoMessages:
        arrived = 0

        def acquire(self) -> bool:
            self.arrived += 1
            if self.arrived > 2:
                raise EOFError
            return True

    port._req_callback(TwoMessages())
    assert heard == [1, 2]
