r"""The accountings of SpikeGPT's papers, as they were printed.

The energy table compares one layer of a transformer with one of SpikeGPT over T tokens::

    row        transformer        SpikeGPT
    QKV        E_MAC 3 T d^2      E_AC R 3 T d^2
    mixing     E_MAC 2 T^2 d      E_MAC 7 T d      (6 T d in another version)
    scale      E_MAC T^2
    softmax    E_MAC 2 T^2
    FFN        E_MAC FL           E_AC R FL        (4 d^2 + d^2 + 4 d^2, once per token)

Every projection of SpikeGPT is priced as if binary spikes at the rate R reached it. In the released
code every one of them receives LayerNorm's real values.
"""

from __future__ import annotations

from dataclasses import dataclass

from spikegpt_neuro.energy.accounting.constants import constants
from spikegpt_neuro.energy.accounting.record import Accounting, Priced, Row, TokenCounts
from spikegpt_neuro.energy.baselines import sizes_of, spikegpt_of, transformer
from spikegpt_neuro.energy.record import Category

_PAPER = "Zhu, Zhao, Li, Eshraghian, arXiv 2302.13939"


@dataclass(frozen=True)
class Sum:
    """Which rows one total adds up, and how it reads them.

    ``mixing``     multiply-accumulates of a WKV step, in d.
    ``ffn_once``   FL as its definition stands (inputs x outputs), without the T tokens.
    """

    rows: tuple[str, ...]
    mixing: int = 7
    ffn_once: bool = False


ROWS = ("QKV", "mixing", "scale", "softmax", "FFN")
_FROM_SCALE = ("scale", "softmax", "FFN")
SUMS: dict[str, tuple[str, Sum]] = {
    "full-7Td": ("all rows", Sum(ROWS)),
    "full-6Td": ("all rows, WKV as 6 T d", Sum(ROWS, mixing=6)),
    "ffn-once-7Td": ("all rows, the FFN's FL without T", Sum(ROWS, ffn_once=True)),
    "ffn-once-6Td": ("the same, WKV as 6 T d", Sum(ROWS, mixing=6, ffn_once=True)),
    "without-qkv-7Td": ("without QKV and 2 T² d", Sum(_FROM_SCALE)),
    "without-qkv-6Td": ("the same, WKV as 6 T d", Sum(_FROM_SCALE, mixing=6)),
}


@dataclass(frozen=True)
class Layer:
    """Operations of one layer over T tokens, by row of the table."""

    transformer: dict[str, float]
    spikegpt: dict[str, float]


def operations(T: int, d: int, total: Sum) -> Layer:
    """The table's counts; those of SpikeGPT's spike-driven rows before the firing rate."""
    ffn = float(9 * d * d if total.ffn_once else 9 * T * d * d)
    counts = {
        "QKV": 3.0 * T * d * d,
        "mixing": 2.0 * T * T * d,
        "scale": 1.0 * T * T,
        "softmax": 2.0 * T * T,
        "FFN": ffn,
    }
    ours = {"QKV": counts["QKV"], "mixing": float(total.mixing * T * d), "FFN": ffn}
    # WKV belongs to every total: it is what the transformer's scale and softmax stand against.
    return Layer(
        {name: counts[name] for name in total.rows},
        {name: count for name, count in ours.items() if name in total.rows or name == "mixing"},
    )


@dataclass(frozen=True)
class PublishedTotal:
    """A total as printed, in joules over T tokens and one layer: it follows from no sum of rows."""

    transformer: float = 3.29e-2
    spikegpt: float = 1.02e-3
    ratio: float = 32.2


PUBLISHED = PublishedTotal()


def _price_v5(counts: TokenCounts, variant: str) -> Priced:
    """Joules per token of L layers at this model's width and firing rate, context T."""
    table = constants("paper")
    mac, ac = table["mac"], table["ac"]
    T, L, R = counts.context, counts.shape.layers, counts.firing_rate
    layer = operations(T, counts.shape.width, SUMS[variant][1])
    share = L / T

    def ours(name: str, count: float) -> Row:
        if name == "mixing":
            return Row(
                "WKV, multiply-accumulates", "neuron", share * count, share * count * mac.base
            )
        driven = share * count * R
        return Row(f"{name}, accumulates at the firing rate", "synapse", driven, driven * ac.base)

    return Priced(
        accounting="paper-v5",
        variant=variant,
        rows=tuple(ours(name, count) for name, count in layer.spikegpt.items()),
        against=tuple(
            Row(name, "synapse", share * count, share * count * mac.base)
            for name, count in layer.transformer.items()
        ),
        constants=(mac, ac),
        notes=(
            "prices every projection as if spikes at the firing rate reached it; the released "
            "code feeds every one of them real values",
        ),
    )


def _price_v1(counts: TokenCounts, variant: str) -> Priced:
    """Joules per token of one side's products as accumulates, the other's as MACs."""
    table = constants("paper")
    mac, ac = table["mac"], table["ac"]
    ours = spikegpt_of(counts.shape)
    products = ours.projections + ours.head
    category: Category = "synapse"
    if variant == "constants":
        rows = (Row("products as accumulates", category, products, products * ac.base),)
        against = (Row("the same products", category, products, products * mac.base),)
        note = "the ratio is E_MAC / E_AC, whatever the model"
    else:
        arrived = counts.effective_acs + counts.effective_macs
        theirs = transformer(sizes_of(counts.shape, counts.context)).total
        rows = (Row("products with non-zero activations", category, arrived, arrived * mac.base),)
        against = (Row("the transformer's products", category, theirs, theirs * mac.base),)
        note = "the published 22x cannot be derived: its definition is not published"
    return Priced("paper-v1", variant, rows, (mac, ac), against, (note,))


PAPER_V5 = Accounting(
    name="paper-v5",
    formula="rows of the energy table, L layers, per token: E_AC R FLOPs for projections, "
    "E_MAC 7 d for WKV",
    source=f"{_PAPER}, energy table",
    leaves_out=(
        "the projections' real-valued inputs",
        "attention's output projection, receptance, the head, LayerNorm and neurons",
        "memory, communication and static power",
    ),
    variants={name: text for name, (text, _) in SUMS.items()},
    price=_price_v5,
    published=(
        "published at T = 3072, d = 512, R = 0.15: 3.29e10 pJ against 1.02e9 pJ, 32.2x; "
        "no sum of the table's rows gives 3.29e10 or 32.2x, 'without-qkv-6Td' gives 1.02e9 and "
        "comes nearest with 32.07x",
    ),
)

PAPER_V1 = Accounting(
    name="paper-v1",
    formula="constants: E_AC against E_MAC for each product; synops: the transformer's products "
    "against products with non-zero activations, both as float32 MACs",
    source=f"{_PAPER}v1",
    leaves_out=("neurons", "memory, communication and static power"),
    variants={
        "constants": "every product an accumulate against a multiply-accumulate",
        "synops": "products with non-zero activations",
    },
    price=_price_v1,
    published=(
        "published: 5x less energy, which is E_MAC / E_AC; 22x fewer synaptic operations, whose "
        "definition is not published",
    ),
)
