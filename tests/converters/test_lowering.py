"""Lowering and the reference backend: every variant of the model, in both modes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.arithmetic.threads import most_threads
from spikegpt_neuro.backends.reference import Executor, ReferenceBackend
from spikegpt_neuro.backends.reference.stepper import Stepper, can_step
from spikegpt_neuro.converters.lowering import current_per_unit, lif_program, lower
from spikegpt_neuro.converters.ranges import merged
from spikegpt_neuro.errors import UnsupportedInput, UsageError
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.float_forward import FloatModel
from spikegpt_neuro.model.spikegpt import LIFParameters, SpikeGPT
from spikegpt_neuro.neurons import Requantize
from spikegpt_neuro.neurons.lif import LIF
from spikegpt_neuro.neurons.residual import Residual
from spikegpt_neuro.neurons.token_mix import TokenMix
from spikegpt_neuro.quantization.calibration import TapStatistics
from spikegpt_neuro.running import Run, first_mismatch

from dense_weights import weights_of
from random_models import random_model, random_tokens

MYELIN = LIFParameters(tau=4.0, threshold=0.7, decay_input=False)
VARIANTS = {
    "plain": random_model(),
    "ffn-pre": random_model(ffn_pre=True, seed=2),
    "graded embedding": random_model(spike_embedding=False, seed=3),
    "spike input": random_model(spike_input=True, seed=4),
    "myelin": random_model(lif=MYELIN, seed=5),
    "upstream-run": random_model(layers=7, seed=6).with_compat("upstream-run"),
}
TOKENS = 96


@pytest.fixture(params=sorted(VARIANTS), scope="module")
def variant(request: pytest.FixtureRequest) -> tuple[SpikeGPT, SpikingGraph]:
    model = VARIANTS[request.param]
    return model, lower(model, random_tokens(model, 700))


def spike_mismatch(model: SpikeGPT, run: Run) -> float:
    floating = FloatModel(model).forward(run.tokens).spikes
    lifs = [name for name in floating if "lif" in name]
    return float(np.mean([floating[name] != run.spikes[name] for name in lifs]))


def test_every_integer_is_the_same_token_by_token(variant: tuple[SpikeGPT, SpikingGraph]) -> None:
    model, graph = variant
    tokens = random_tokens(model, TOKENS)
    together = ReferenceBackend().run(graph, tokens, record="events")
    for chunk in (1, 17):
        run = ReferenceBackend(chunk=chunk).run(graph, tokens, record="events")
        assert first_mismatch(graph, run, together) is None
        assert run.counts == together.counts
        assert run.activity == together.activity
    for threads in (1, 2):
        with ReferenceBackend(threads=threads).session(graph) as session:
            logits = np.stack([session.step(int(token)) for token in tokens])
        assert np.array_equal(logits, together.logits_int)


def test_the_stepper_counts_the_same_losses(variant: tuple[SpikeGPT, SpikingGraph]) -> None:
    model, graph = variant
    tokens = random_tokens(model, TOKENS)
    stepper = Stepper(graph)
    for token in tokens:
        stepper.step(int(token))
    counts = ReferenceBackend().run(graph, tokens, record="logits").counts.values()
    assert stepper.losses[:, 0].sum() == sum(count.saturations for count in counts)
    assert stepper.losses[:, 1].sum() == sum(count.clipped for count in counts)


@pytest.mark.parametrize("weight_bits", [4, 8])
def test_products_shared_by_threads_and_packed_weights(weight_bits: int) -> None:
    """A model large enough for products on several threads; 4-bit weights are packed."""
    model = random_model(1, 512, 2100, seed=8)
    graph = lower(model, random_tokens(model, 300), weight_bits=weight_bits)
    tokens = random_tokens(model, 20)
    expected = ReferenceBackend().run(graph, tokens, record="logits").logits_int
    for threads in (1, 2, 1000):
        stepper = Stepper(graph, threads)
        assert stepper.threads == min(threads, most_threads())
        assert np.array_equal(np.stack([stepper.step(int(t)).copy() for t in tokens]), expected)


def test_a_program_without_a_layout_runs_through_the_executor() -> None:
    model = VARIANTS["plain"]
    graph = lower(model, random_tokens(model, 300))
    program = graph.populations[-1].program
    assert isinstance(program, Requantize)
    wide = replace(program, bits=20)
    other = type("Other", (type(wide),), {})(**vars(wide))
    changed = replace(
        graph, populations=(*graph.populations[:-1], replace(graph.populations[-1], program=other))
    )
    assert not can_step(changed)
    with ReferenceBackend().session(changed) as session:
        logits = session.step(5)
    assert np.array_equal(logits, ReferenceBackend().run(changed, np.array([5])).logits_int[0])


def test_integers_follow_the_float_model(variant: tuple[SpikeGPT, SpikingGraph]) -> None:
    model, graph = variant
    tokens = random_tokens(model, TOKENS)
    run = ReferenceBackend().run(graph, tokens)
    floating = FloatModel(model).logits(tokens)
    assert run.logits.shape == floating.shape
    assert run.logits.dtype == np.float32
    # In a random model a flipped spike moves everything after it: agreement is loose (the
    # trained example is held to 0.005 bits per token in test_evaluation), chance is 0 and 0.3.
    assert np.corrcoef(run.logits.ravel(), floating.ravel())[0, 1] > 0.8
    assert spike_mismatch(model, run) < 0.08
    assert run.saturations == 0


def test_fewer_bits_cost_fidelity() -> None:
    model = VARIANTS["plain"]
    tokens = random_tokens(model, 256)
    mismatch = {}
    for bits in (8, 6, 4):
        graph = lower(model, tokens, weight_bits=bits, activation_bits=bits)
        limit = 2 ** (bits - 1) - 1
        assert max(np.abs(weights_of(q)).max() for q in graph.projections if q.is_dense) <= limit
        run = ReferenceBackend().run(graph, tokens, record="events")
        assert np.abs(run.events["blocks.0.att.mix_k"]).max() <= limit
        assert run.events["blocks.0.ffn.squared_relu"].max() <= 2**bits - 1
        mismatch[bits] = spike_mismatch(model, run)
    assert mismatch[8] < mismatch[6] < mismatch[4] < 0.35


def test_the_binary_embedding_is_the_float_model_s() -> None:
    model = VARIANTS["plain"]
    tokens = random_tokens(model, 50)
    run = ReferenceBackend().run(lower(model, tokens), tokens)
    assert np.array_equal(
        run.spikes["embedding"], FloatModel(model).forward(tokens).spikes["embedding"]
    )


def test_upstream_run_halves_the_stream_and_keeps_the_embedding_graded() -> None:
    graph = lower(VARIANTS["upstream-run"], random_tokens(VARIANTS["upstream-run"], 300))
    halving = [
        p.name for p in graph.populations if isinstance(p.program, Residual) and p.program.halve
    ]
    assert halving == ["blocks.5.residual2"]
    assert not graph.input.events.is_binary


def test_activity_is_what_an_independent_recount_finds() -> None:
    model = VARIANTS["plain"]
    graph = lower(model, random_tokens(model, 300))
    run = ReferenceBackend().run(graph, random_tokens(model, 40), record="events")
    for projection in graph.projections:
        events = int((run.events[projection.source] != 0).sum())
        assert run.activity[projection.name].events == events
        fan_out = graph.by_name[projection.target].size if projection.is_dense else 1
        assert run.activity[projection.name].synaptic_operations == events * fan_out
    dense = sum(run.activity[q.name].dense_operations for q in graph.projections if q.is_dense)
    assert dense == 40 * (3 * 13 * 32**2 + 96 * 32)


def test_a_graph_in_parts_is_the_graph() -> None:
    """Block by block, each part given only what arrives from outside it."""
    model = VARIANTS["plain"]
    graph = lower(model, random_tokens(model, 300))
    tokens = random_tokens(model, 12).astype(np.int32)[:, None]
    whole = Executor(graph)
    expected = whole.advance(whole.initial_state(), {"token": tokens}).events
    events: dict[str, np.ndarray] = {"token": tokens}
    for prefix in (
        "embedding",
        "ln0",
        "blocks.0.",
        "blocks.1.",
        "blocks.2.",
        "ln_out",
        "head",
        "logits",
    ):
        names = [p.name for p in graph.populations if p.name.startswith(prefix)]
        part = Executor(graph, names)
        arrivals = {name: events[name] for name in part.arriving}
        assert len(arrivals) == 1
        events |= part.advance(part.initial_state(), arrivals).events
    assert all(np.array_equal(events[name], expected[name]) for name in expected)


def test_only_kept_events_are_returned() -> None:
    model = VARIANTS["plain"]
    executor = Executor(lower(model, random_tokens(model, 300)))
    step = executor.advance(
        executor.initial_state(), {"token": np.zeros((3, 1), np.int32)}, keep=("logits",)
    )
    assert set(step.events) == {"logits"}


def test_the_real_threshold_is_one_unit_above_the_stock_threshold() -> None:
    for lif in (LIFParameters(), MYELIN):
        program = lif_program(lif, largest=10.0)
        z = lif.threshold / lif.gain
        current = current_per_unit(lif, program) * z
        assert current * 64 == pytest.approx(64 * program.vth + 1, abs=1e-6)
        assert program.du == 4095
        assert program.dv == round(4096 / lif.tau)


def test_the_threshold_leaves_room_for_the_largest_input() -> None:
    program = lif_program(LIFParameters(), largest=100.0)
    assert program.vth * 64 * 100 * 4 <= 2**23
    assert lif_program(LIFParameters(), largest=0.0) == LIF(4095, 2048, 8160)


@pytest.mark.parametrize(
    ("lif", "message"),
    [
        (LIFParameters(reset=0.1), "resets to 0.1"),
        (LIFParameters(tau=0.5), "tau 0.5"),
        (LIFParameters(threshold=-1.0), "threshold -1"),
    ],
)
def test_a_neuron_that_the_stock_lif_cannot_be_is_refused(lif: LIFParameters, message: str) -> None:
    model = replace(VARIANTS["plain"], shape=replace(VARIANTS["plain"].shape, lif=lif))
    with pytest.raises(UnsupportedInput, match=message):
        lower(model, np.zeros(10, np.int64))


def test_other_bit_widths_are_refused() -> None:
    with pytest.raises(UsageError, match="weight bits 5"):
        lower(VARIANTS["plain"], np.zeros(10, np.int64), weight_bits=5)


def test_tokens_are_checked() -> None:
    graph = lower(VARIANTS["plain"], random_tokens(VARIANTS["plain"], 300))
    for tokens, message in (([1, 96], "96 at position 1"), ([], "shape"), ([0.5], "float64")):
        with pytest.raises(UnsupportedInput, match=message):
            ReferenceBackend().run(graph, np.array(tokens))
    with ReferenceBackend().session(graph) as session, pytest.raises(UnsupportedInput, match="-1"):
        session.step(-1)


def test_a_mismatch_names_the_first_population_upstream() -> None:
    model = VARIANTS["plain"]
    graph = lower(model, random_tokens(model, 300))
    tampered = []
    for projection in graph.projections:
        if projection.name == "blocks.1.att.value":
            assert projection.weights is not None
            projection = replace(projection, weights=-projection.weights)
        tampered.append(projection)
    tokens = random_tokens(model, 30)
    ours = ReferenceBackend().run(
        replace(graph, projections=tuple(tampered)), tokens, record="events"
    )
    reference = ReferenceBackend().run(graph, tokens, record="events")
    found = first_mismatch(graph, ours, reference)
    assert found is not None
    assert found.startswith("blocks.1.att.wkv, token 0")
    assert first_mismatch(graph, reference, reference) is None


# What the number formats cannot hold


def with_tensor(name: str, change: Callable[[np.ndarray], Any], **shape: Any) -> SpikeGPT:
    """The plain model with one tensor changed."""
    model = VARIANTS["plain"]
    tensors = dict(model.tensors) | {name: np.asarray(change(model.tensors[name]), np.float32)}
    return replace(model, tensors=tensors, shape=replace(model.shape, **shape))


def lowered(model: SpikeGPT) -> SpikingGraph:
    return lower(model, random_tokens(model, 300))


def test_a_model_that_fits_has_no_remarks(variant: tuple[SpikeGPT, SpikingGraph]) -> None:
    assert variant[1].remarks == ()


@pytest.mark.parametrize(
    ("name", "change", "remark"),
    [
        (
            "blocks.0.att.time_mix_k",
            lambda t: np.where(np.arange(len(t)) < 3, 20, t),
            "blocks.0.att.time_mix_k: 3 of 32 values lie beyond +-7.99976, the largest at 20, and",
        ),
        (
            "blocks.1.ffn.time_mix_r",
            lambda t: t * 0 - 8.1,
            "blocks.1.ffn.time_mix_r: 32 of 32 values lie beyond +-7.99976, the largest at 8.1,",
        ),
        (
            "blocks.0.att.time_first",
            lambda t: t * 0 + 100,
            "blocks.0.att.time_first: 32 of 32 values lie beyond +-88.7228, the largest at 100,",
        ),
        (
            "blocks.0.att.time_decay",
            lambda t: t * 0 + 5,
            "exp of blocks.0.att.time_decay: 32 of 32 values lie beyond +-88.7228, the largest "
            "at 148.413, and are held there: a decay that fast leaves nothing",
        ),
        (
            "blocks.0.ln1.bias",
            lambda t: t + 5000,
            "blocks.0.ln1.bias: 32 of 32 values lie beyond +-2048, the largest at",
        ),
        ("blocks.0.att.key.weight", lambda t: t * 100, "blocks.0.att.key.weight: the key reaches"),
        (
            "blocks.1.att.output.weight",
            lambda t: t * 1e5,
            "blocks.1.lif1: its input reaches so far beyond the threshold that this is 1 of the",
        ),
        (
            "emb.weight",
            lambda t: t * 0 + 1,
            "blocks.0.ln0 and 1 more: its input is the same for every token",
        ),
        (
            "blocks.0.ln0.weight",
            lambda t: t * 1e-3,
            "blocks.0.ln1: its input is nearly constant",
        ),
    ],
)
def test_what_a_format_limits_is_told(
    name: str, change: Callable[[np.ndarray], Any], remark: str
) -> None:
    model = with_tensor(name, change)
    if name == "blocks.0.ln0.weight":
        model = replace(
            model, tensors={**model.tensors, "blocks.0.ln0.bias": np.ones(32, np.float32)}
        )
    remarks = lowered(model).remarks
    assert any(text.startswith(remark) for text in remarks), remarks
    assert all("\n" not in text for text in remarks)


def test_what_is_held_is_the_limit() -> None:
    graph = lowered(with_tensor("blocks.0.att.time_mix_k", lambda t: t * 0 + 20))
    program = graph.by_name["blocks.0.att.mix_k"].program
    assert isinstance(program, TokenMix)
    assert (program.coefficient == 32767).all()


def test_a_value_at_the_limit_is_no_remark() -> None:
    model = with_tensor("blocks.0.att.time_mix_k", lambda t: np.clip(t, 0, 1) * 0 + 7.9997)
    assert not any("time_mix" in text for text in lowered(model).remarks)


def test_remarks_that_differ_in_numbers_are_one() -> None:
    assert merged(["a: reaches 3.5", "b: reaches 1e+04", "c: other"]) == (
        "a and 1 more: reaches 3.5",
        "c: other",
    )


@pytest.mark.parametrize(
    ("name", "scale", "blamed"),
    [
        ("blocks.0.att.key.weight", 1e5, "blocks.0.att.key.weight or the LayerNorm before it is"),
        ("blocks.1.att.receptance.weight", 1e8, "blocks.1.att.receptance.weight or the LayerNorm"),
        ("blocks.1.ffn.key.weight", 1e5, "blocks.1.ffn.value.weight or the key.weight before it"),
        ("blocks.1.ffn.key.weight", 1e-8, "blocks.1.ffn.key.weight or the LayerNorm before it lea"),
        ("head.weight", 1e8, "head.weight is too large"),
        ("blocks.0.ln1.weight", 1e11, "blocks.0.ln1.weight reaches"),
    ],
)
def test_a_tensor_out_of_range_is_named_with_its_file(name: str, scale: float, blamed: str) -> None:
    with pytest.raises(UnsupportedInput) as error:
        lowered(with_tensor(name, lambda t: t * scale))
    message = str(error.value)
    assert message.startswith(f"random-0: {blamed}")
    assert "check" in message
    assert "\n" not in message


# Slow membranes


@pytest.mark.parametrize(("tau", "vth"), [(2.0, 1), (64.0, 1), (128.0, 2), (1e3, 15), (1e5, 32)])
def test_a_slow_membrane_has_a_fine_threshold(tau: float, vth: int) -> None:
    """At least tau units of the membrane, where its range would allow one of the current."""
    lif = LIFParameters(tau=tau, decay_input=False)
    assert lif_program(lif, largest=1e6).vth == vth
    fast = lif_program(LIFParameters(), largest=10.0)
    assert fast.vth == int(131071.98 / 40)


def test_a_slow_membrane_follows_the_float_one() -> None:
    """tau 4096 without scaled input: a threshold of one unit lost 1/65 of itself per token."""
    lif = LIFParameters(tau=4096.0, decay_input=False)
    program = lif_program(lif, largest=100.0)
    rng = np.random.default_rng(0)
    z = rng.normal(0.02, 0.05, (2000, 64))
    scale = current_per_unit(lif, program)
    current = np.floor(z * scale + 0.5).astype(np.int32)
    found = program.advance(program.initial_state(64), current).events
    v, expected = np.zeros(64), np.zeros_like(found)
    for t, step in enumerate(z):
        v = v * lif.decay + step
        expected[t] = v >= 1
        v[v >= 1] = 0
    assert abs(int(found.sum()) - int(expected.sum())) < 0.02 * expected.sum()
    coarse = replace(program, vth=1)
    current = np.floor(z * current_per_unit(lif, coarse) + 0.5).astype(np.int32)
    assert coarse.advance(program.initial_state(64), current).events.sum() == 0


@pytest.mark.parametrize(
    ("tau", "remark"),
    [
        (2000.0, None),
        (
            5000.0,
            "blocks.0.lif1 and 5 more: tau 5000 is more than Lava's LIF resolves, which leaks "
            "in steps of 1/4096: it becomes tau 4096",
        ),
        (
            1e5,
            "blocks.0.lif1 and 5 more: tau 100000 is more than Lava's LIF resolves, which leaks "
            "in steps of 1/4096: it becomes no leak at all",
        ),
    ],
)
def test_a_tau_that_the_stock_lif_rounds_is_told(tau: float, remark: str | None) -> None:
    lif = LIFParameters(tau=tau, decay_input=False)
    model = replace(VARIANTS["plain"], shape=replace(VARIANTS["plain"].shape, lif=lif))
    assert lowered(model).remarks == (() if remark is None else (remark,))


@pytest.mark.parametrize("name", ["blocks.0.ffn.key.weight", "blocks.2.ffn.key.weight"])
@pytest.mark.filterwarnings("error")
def test_weights_that_overflow_floats_are_refused_in_one_line(name: str) -> None:
    """And numpy does not talk of it."""
    model = random_model()
    tensors = {**model.tensors, name: model.tensors[name] * np.float32(1e30)}
    with pytest.raises(UnsupportedInput, match="is not finite; the checkpoint overflows"):
        lower(replace(model, tensors=tensors), random_tokens(model, 16))


def test_calibration_sees_what_is_no_number() -> None:
    statistics = TapStatistics()
    statistics.add(np.array([[1.0, np.nan]], np.float32))
    statistics.add(np.array([[1.0, 2.0]], np.float32))
    assert np.isnan(statistics.largest)
