"""Operation counts of baselines: by hand for small sizes, and as torch counts them."""

from __future__ import annotations

from typing import Any

import pytest

from spikegpt_neuro.energy.baselines import (
    ENWIK8,
    Published,
    Sizes,
    cache_traffic,
    linear_transformer,
    performer,
    reformer,
    sha_lstm,
    sizes_of,
    spikegpt,
    spikegpt_of,
    stacked_lstm,
    synthesizer,
    transformer,
    transformer_at,
)
from spikegpt_neuro.model.spikegpt import ModelShape
from spikegpt_neuro.model.synthetic import random_model

SMALL = Sizes(L=2, d=8, T=6, V=10)


def test_transformer_by_hand() -> None:
    # Position t: 4 projections, 4d and back; t scores and t values. Mean of t = 1..6 is 3.5.
    count = transformer(SMALL)
    assert count.projections == 2 * (4 * 64 + 2 * 4 * 64)
    assert count.mixing == 2 * (2 * 3.5 * 8)
    assert count.head == 80
    assert count.total == 1536 + 112 + 80


def test_the_mean_over_positions_is_the_mean() -> None:
    positions = [transformer_at(SMALL, t).total for t in range(1, SMALL.T + 1)]
    assert transformer(SMALL).total == sum(positions) / SMALL.T


def test_cache_traffic_by_hand() -> None:
    # Token t writes a key and a value of 8, and reads those of t - 1 tokens, in 2 layers.
    moved = [2 * (2 * 8 + (t - 1) * 2 * 8) for t in range(1, 7)]
    traffic = cache_traffic(SMALL, bytes_per_value=2)
    assert traffic.per_token == 2 * sum(moved) / 6
    assert traffic.size == 2 * (2 * 6 * 2 * 8)


def test_spikegpt_by_hand() -> None:
    count = spikegpt(SMALL)
    assert count.projections == 2 * (4 + 9) * 64
    assert count.mixing == 2 * 7 * 8
    assert count.head == 80


def test_spikegpt_of_a_shape_counts_its_matrices() -> None:
    shape = ModelShape(layers=2, width=8, vocab_size=10)
    assert spikegpt_of(shape) == spikegpt(sizes_of(shape, 6))
    # ffnPre: block 0 has two channel mixes (9 d^2 each) and no WKV.
    pre = spikegpt_of(ModelShape(layers=2, width=8, vocab_size=10, ffn_pre=True))
    assert pre.projections == (9 + 9 + 13) * 64
    assert pre.mixing == 7 * 8


def test_other_models_by_hand() -> None:
    sizes = Sizes(L=1, d=128, T=256, V=10)  # two heads of 64
    square = 128 * 128
    assert linear_transformer(sizes).projections == 12 * square
    assert linear_transformer(sizes).mixing == 2 * 128 * 64 + 128
    features = 266  # 64 ln 64
    assert performer(sizes).mixing == 4 * 128 * features + 2 * features
    assert reformer(sizes).projections == 11 * square
    assert reformer(sizes).mixing == 4 * 128 * (2 + 2 * 128)  # 4 chunks of 64: 2 bits
    assert synthesizer(sizes).projections == 11 * square + 256 * 128
    assert synthesizer(sizes).mixing == 128 * 257 / 2
    assert stacked_lstm(sizes).projections == 8 * square
    assert sha_lstm(sizes).projections == 12 * square
    assert stacked_lstm(sizes).mixing == sha_lstm(sizes).mixing == 3 * 128


@pytest.mark.parametrize("row", ENWIK8, ids=lambda row: row.model)
def test_only_attention_grows_with_the_context(row: Published) -> None:
    grown = row.count(row.sizes._replace(T=4 * row.sizes.T)).total / row.operations.total
    assert (grown > 1) == (row.model in ("Transformer", "Reformer", "Synthesizer"))
    assert row.source
    assert row.figures


def test_the_table_has_the_published_figures() -> None:
    found = {row.model: (row.sizes.L, row.train, row.test) for row in ENWIK8}
    assert found == {
        "Transformer": (12, 0.977, 1.137),
        "Reformer": (12, 1.040, 1.195),
        "Synthesizer": (12, 0.994, 1.298),
        "Linear Transformer": (12, 0.981, 1.207),
        "Performer": (12, 1.002, 1.199),
        "Stacked LSTM": (7, 1.420, 1.670),
        "SHA-LSTM": (4, None, 1.330),
        "SpikeGPT 46M": (12, 1.113, 1.283),
    }
    units = {row.model: row.unit for row in ENWIK8}
    assert units.pop("SpikeGPT 46M") == "character"
    assert set(units.values()) == {"byte"}


def test_torch_counts_the_same_for_a_plain_transformer() -> None:
    """Token by token with a key-value cache, every matrix product seen by torch's counter."""
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    layers, d, T, V = 2, 12, 7, 9
    weights = [
        {name: torch.randn(d, d) for name in "qkvo"}
        | {"up": torch.randn(d, 4 * d), "down": torch.randn(4 * d, d)}
        for _ in range(layers)
    ]
    head = torch.randn(d, V)
    counter = FlopCounterMode(display=False)
    cache: list[tuple[list[object], list[object]]] = [([], []) for _ in range(layers)]
    with counter:
        for _ in range(T):
            x = torch.randn(1, d)
            for w, (keys, values) in zip(weights, cache, strict=True):
                keys.append(x @ w["k"])
                values.append(x @ w["v"])
                scores = (x @ w["q"]) @ torch.cat(keys).T
                x = x + (scores.softmax(-1) @ torch.cat(values)) @ w["o"]
                x = x + (x @ w["up"]).relu() @ w["down"]
            x @ head
    macs = counter.get_total_flops() / 2  # torch counts a multiply and an add
    assert macs == T * transformer(Sizes(layers, d, T, V)).total


def test_torch_counts_the_same_for_the_products_of_spikegpt() -> None:
    """The training forward itself, its matrix products seen by torch's counter."""
    pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from torch_reference import Reference

    class Counted(Reference):
        def matrix(self, name: str, x: Any) -> Any:
            return (self.w[f"{name}.weight"] @ x[:, None])[
                :, 0
            ]  # the counter sees no matrix-vector

    model = random_model(layers=2, width=12)
    reference = Counted(model)
    counter = FlopCounterMode(display=False)
    with counter:
        reference.step(0)
    count = spikegpt_of(model.shape)
    assert counter.get_total_flops() / 2 == count.projections + count.head
