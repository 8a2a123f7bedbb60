r"""``netx``: every Linear -> LIF pair as a Lava-DL network, one HDF5 file each.

A netx layer is a dense matrix of hardware integers and a CUBA neuron with one threshold for the
population: there is no place for a requantization per channel between the two. With sums
:math:`a_j = \sum_i W_{ji} e_i` and a current :math:`round\_shift(a_j m_j, s_j)`, the factor can be
folded into the weights, exactly, where every

.. math:: F_{ji} = W_{ji} \, m_j \, 2^{-s_j}

is an integer that a netx layer can hold: even in -256..254, or any in -128..127 (the loader
doubles those and halves the sum). A pair for which this fails gets a quantization of its own, one
scale for its matrix and a requantization by exactly 2, so that the file holds even weights. The
artifact with these pairs in place of the original ones is written beside the files, as
``reference.sgn``: its reference run has the spikes of the files.

Lava's u wraps where the requantization saturates: the two agree as long as the reference counts no
saturation in the pair; ``pairs.json`` says where none can occur.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.converters.exporters.exported import Exported, Format, need
from spikegpt_neuro.converters.exporters.hdf5 import hdf5_file
from spikegpt_neuro.converters.exporters.pairs import Pair, linear_lif_pairs
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.files import atomic_directory
from spikegpt_neuro.graph import artifact
from spikegpt_neuro.graph.graph import Population, Projection, SpikingGraph
from spikegpt_neuro.neurons.lif import CURRENT_SHIFT, MEMBRANE_LIMIT
from spikegpt_neuro.neurons.requantize import Requantize

TITLE = "spikegpt-neuro netx"
MANIFEST, REFERENCE, SUFFIX = "pairs.json", "reference.sgn", ".net"
EVEN_LOW, EVEN_HIGH = -256, 254
ODD_LOW, ODD_HIGH = -128, 127
VTH_MAX = MEMBRANE_LIMIT >> CURRENT_SHIFT
FOLDED = 2  # factor of a requantized pair: its weights times this are even
GROWTH_MAX = 2.0  # currents of a requantized pair use half of the headroom that lowering left
MANTISSA, SHIFT = 1 << 14, 13  # 2 as a multiplier


def is_export(path: Path) -> bool:
    """True if ``path`` is a directory that this module wrote."""
    try:
        content = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == TITLE


def export(graph: SpikingGraph, path: Path) -> Exported:
    """Write the directory ``path``: a file per pair, ``pairs.json``, perhaps ``reference.sgn``.

    Raises :class:`UnsupportedInput` where the graph has no pair that netx can hold.
    """
    h5py = need("h5py", "netx")
    pairs = linear_lif_pairs(graph)
    own = [pair for pair in pairs if folded_weights(pair) is None]
    reference = with_own_quantization(graph, own)
    holdable = [pair for pair in linear_lif_pairs(reference) if _problem(pair) is None]
    if not holdable:
        problems = [f"{pair.name} {_problem(pair)}" for pair in linear_lif_pairs(reference)]
        raise UnsupportedInput(
            f"netx cannot carry this graph: {'; '.join(problems) or 'no Linear -> LIF pair in it'}"
        )
    requantized = {pair.name for pair in own}
    with atomic_directory(path) as directory:
        for pair in holdable:
            _write_pair(h5py, directory / f"{pair.name}{SUFFIX}", pair)
        entries = [_entry(pair, pair.name in requantized) for pair in holdable]
        manifest = {
            "format": TITLE,
            "reference": REFERENCE if own else None,
            "pairs": entries,
            "unexported": list(_unexported(graph, holdable, requantized)),
        }
        (directory / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        if own:
            artifact.save(reference, directory / REFERENCE)
    return Exported(path, len(holdable), tuple(manifest["unexported"]))  # type: ignore[arg-type]


def folded_weights(pair: Pair) -> NDArray[np.int64] | None:
    """Weights (out, in) with the requantization folded in exactly, or None."""
    weights = pair.current_weights
    if not np.array_equal(weights, np.rint(weights)):
        return None
    integers: NDArray[np.int64] = weights.astype(np.int64)
    low, high = int(integers.min()), int(integers.max())
    is_even = not np.any(integers & 1)
    if (is_even and low >= EVEN_LOW and high <= EVEN_HIGH) or (low >= ODD_LOW and high <= ODD_HIGH):
        return integers
    return None


def with_own_quantization(graph: SpikingGraph, pairs: list[Pair]) -> SpikingGraph:
    """``graph`` with each of ``pairs`` quantized anew, so that its requantization is 2."""
    populations: dict[str, Population] = {}
    projections: dict[str, Projection] = {}
    for pair in pairs:
        weights, vth = _own_quantization(pair, (1 << (graph.weight_bits - 1)) - 1)
        size = pair.requantize.size
        scale = Requantize(
            np.full(size, MANTISSA, np.int32),
            np.full(size, SHIFT, np.int32),
            pair.scale.bits,
            pair.scale.quantizer,
        )
        projections[pair.name] = replace(pair.projection, weights=weights)
        populations[pair.requantize.name] = replace(pair.requantize, program=scale)
        populations[pair.lif.name] = replace(pair.lif, program=replace(pair.neuron, vth=vth))
    return replace(
        graph,
        populations=tuple(populations.get(p.name, p) for p in graph.populations),
        projections=tuple(projections.get(q.name, q) for q in graph.projections),
        provenance={**graph.provenance, "netx_requantized": sorted(projections)},
    ).validate()


def _own_quantization(pair: Pair, limit: int) -> tuple[NDArray[np.int8], int]:
    """int8 weights and the threshold mantissa; all currents grow by one factor.

    The real threshold stands for 64 vth + 1, so the factor is chosen among those that a vth has.
    """
    weights = pair.current_weights
    largest = float(np.abs(weights).max()) or 1.0
    growth = min(GROWTH_MAX, FOLDED * limit / largest)
    one = 1 << CURRENT_SHIFT
    before = one * pair.neuron.vth + 1
    vth = min(VTH_MAX, max(1, int((growth * before - 1) / one)))
    growth = (one * vth + 1) / before
    integers = np.floor(weights * growth / FOLDED + 0.5)
    return np.clip(integers, -limit, limit).astype(np.int8), vth


def _problem(pair: Pair) -> str | None:
    """Why netx cannot hold a pair whose requantization is folded."""
    weights = folded_weights(pair)
    assert weights is not None
    return None if weights.max() > 0 else "has no positive weight, on which its loader fails"


def _write_pair(h5py: Any, path: Path, pair: Pair) -> None:
    weights = folded_weights(pair)
    assert weights is not None
    outputs, inputs = weights.shape
    with hdf5_file(path) as target, h5py.File(target, "w") as file:
        entry = file.create_group("layer/0")
        entry["type"] = np.array([b"input"], "S10")
        entry["shape"] = np.array([inputs])
        layer = file.create_group("layer/1")
        layer["type"] = np.array([b"dense"], "S10")
        layer["shape"] = np.array([outputs])
        layer["weight"] = weights.astype(np.int32)
        layer["neuron/type"] = np.array([b"CUBA"], "S10")
        for name, value in _neuron(pair).items():
            layer[f"neuron/{name}"] = value


def _neuron(pair: Pair) -> Mapping[str, int]:
    neuron = pair.neuron
    return {
        "iDecay": neuron.du + 1,
        "vDecay": neuron.dv,
        "vThMant": neuron.vth,
        "refDelay": 1,
        "gradedSpike": 0,
    }


def _entry(pair: Pair, requantized: bool) -> dict[str, object]:
    """What a user of the file has to know."""
    weights = folded_weights(pair)
    assert weights is not None
    largest = int(np.abs(weights).sum(axis=1).max()) * pair.events.high
    return {
        "file": f"{pair.name}{SUFFIX}",
        "projection": pair.name,
        "input": pair.projection.source,
        "input_message_bits": 0 if pair.events.is_binary else pair.events.bits,
        "lif": pair.lif.name,
        "quantization": "own" if requantized else "the artifact's",
        "cannot_saturate": largest <= pair.scale.events.high,
    }


def _unexported(graph: SpikingGraph, pairs: list[Pair], requantized: set[str]) -> Iterator[str]:
    """Populations and projections that are in no file, in the order data flows."""
    carried = {pair.lif.name for pair in pairs}
    carried |= {pair.requantize.name for pair in pairs if pair.name not in requantized}
    yield from (p.name for p in graph.populations if p.name not in carried)
    held = {pair.name for pair in pairs}
    yield from (q.name for q in graph.projections if q.is_dense and q.name not in held)


FORMAT = Format(
    export, (SpikingGraph,), instead="an artifact (convert writes it)", is_ours=is_export
)
