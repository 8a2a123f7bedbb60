r"""``nir``: projections and LIFs as nodes of the Neuromorphic Intermediate Representation.

NIR's LIF is :math:`\tau \dot v = (v_{leak} - v) + r I` and fires on :math:`v > v_{th}`; one Euler
step of :math:`dt` with :math:`\tau = T dt, r = 1, v_{leak} = 0` is

.. math:: h = (1 - 1/T) v + z / T, \qquad s = [h > v_{th}].

Ours fires on :math:`h \ge \theta`, so that ``v_threshold`` is the float32 next below
:math:`\theta`. Where the input is not decayed (gain 1), all of h, threshold and reset are divided
by T. A node needs an input and an output to be valid: every projection and LIF that is not part of
a Linear -> LIF pair stands alone between its own two.

From a checkpoint, weights and thresholds are the trained ones. From an artifact, they are in its
integer units: a projection's weights as stored, those of a pair in units of the LIF's current.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.converters.exporters.exported import Exported, Format, need
from spikegpt_neuro.converters.exporters.hdf5 import hdf5_file
from spikegpt_neuro.converters.exporters.pairs import linear_lif_pairs
from spikegpt_neuro.files import atomic_file
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.spikegpt import LIFParameters, ModelShape, SpikeGPT
from spikegpt_neuro.neurons.lif import CURRENT_SHIFT, DECAY_ONE, LIF
from spikegpt_neuro.version import __version__

if TYPE_CHECKING:
    import nir

TIME_STEP = 1e-4  # seconds of one token: what snnTorch assumes and SpikingJelly defaults to


@dataclass(frozen=True)
class _Content:
    """What a NIR file holds, whatever it came from.

    ``linears`` name -> weights (out, in); ``lifs`` name -> (size, neuron); ``pairs`` linear -> lif.
    """

    linears: Mapping[str, NDArray[Any]]
    lifs: Mapping[str, tuple[int, LIFParameters]]
    pairs: Mapping[str, str]
    unexported: tuple[str, ...]
    metadata: Mapping[str, Any]


def export(source: SpikingGraph | SpikeGPT, path: Path) -> Exported:
    """Write the NIR file of an artifact or a checkpoint."""
    nir = need("nir", "nir")
    content = _of_graph(source) if isinstance(source, SpikingGraph) else _of_model(source)
    metadata = {
        "tool": f"spikegpt-neuro {__version__}",
        "time_step": TIME_STEP,
        "unexported": json.dumps(content.unexported),
        **{name: json.dumps(value) for name, value in content.metadata.items()},
    }
    nodes = _nodes(nir, content)
    graph = nir.NIRGraph(nodes=nodes, edges=list(_edges(content)), metadata=metadata)
    with atomic_file(path) as temporary, hdf5_file(temporary) as file:
        nir.write(file, graph)
    return Exported(path, len(nodes), content.unexported)


def _nodes(nir: Any, content: _Content) -> dict[str, nir.NIRNode]:
    nodes: dict[str, nir.NIRNode] = {}
    for name, weights in content.linears.items():
        outputs, inputs = weights.shape
        nodes[name] = nir.Linear(weight=np.asarray(weights, np.float32))
        nodes[f"{name}.input"] = nir.Input(input_type=np.array([inputs]))
        nodes[f"{name}.output"] = nir.Output(output_type=np.array([outputs]))
    for name, (size, lif) in content.lifs.items():
        nodes[name] = _lif_node(nir, size, lif)
        nodes[f"{name}.input"] = nir.Input(input_type=np.array([size]))
        nodes[f"{name}.output"] = nir.Output(output_type=np.array([size]))
    for linear, lif_name in content.pairs.items():
        del nodes[f"{linear}.output"], nodes[f"{lif_name}.input"]
    return nodes


def _edges(content: _Content) -> Iterable[tuple[str, str]]:
    for linear in content.linears:
        yield f"{linear}.input", linear
        yield linear, content.pairs.get(linear, f"{linear}.output")
    for lif in content.lifs:
        if lif not in content.pairs.values():
            yield f"{lif}.input", lif
        yield lif, f"{lif}.output"


def _lif_node(nir: Any, size: int, lif: LIFParameters) -> nir.LIF:
    divisor = 1.0 if lif.decay_input else lif.tau
    threshold = np.nextafter(np.float32(lif.threshold / divisor), np.float32(0))
    return nir.LIF(
        tau=np.full(size, lif.tau * TIME_STEP),
        r=np.ones(size),
        v_leak=np.zeros(size),
        v_reset=np.full(size, lif.reset / divisor),
        v_threshold=np.full(size, threshold, np.float32),
    )


def _of_model(model: SpikeGPT) -> _Content:
    shape, every = model.shape, model.shape.rescale_every
    linears = {
        name.removesuffix(".weight"): np.asarray(model.tensors[name]) for name in shape.matrices
    }
    pairs: dict[str, str] = {}
    for layer in range(shape.layers):
        output, value = f"blocks.{layer}.att.output", f"blocks.{layer}.ffn.value"
        for name in linears.keys() & {output, value} if every else ():
            linears[name] = linears[name] / 2.0 ** (layer // every)
        if output in linears and not shape.spike_input:
            pairs[output] = f"blocks.{layer}.lif1"
    lifs = {
        f"blocks.{layer}.lif{half}": (shape.width, shape.lif)
        for layer in range(shape.layers)
        for half in (1, 2)
    }
    metadata = {
        "weights": "real",
        "shape": asdict(shape),
        "source_file": model.provenance.file,
        "source_sha256": model.provenance.sha256,
    }
    unexported = {**dict.fromkeys(_unexported(shape)), **dict.fromkeys(model.dead_zones)}
    return _Content(linears, lifs, pairs, tuple(unexported), metadata)


def _unexported(shape: ModelShape) -> Iterator[str]:
    """The parts of a model that NIR has no node for, by the names of their populations."""
    channel_mix = ("mix_k", "squared_relu", "mix_r", "gate")
    yield from ("embedding", "ln0")
    for layer in range(shape.layers):
        block, has_pre = f"blocks.{layer}", layer == 0 and shape.ffn_pre
        first = channel_mix if has_pre else ("mix_k", "mix_v", "mix_r", "wkv")
        for half, mixing, parts in (
            (1, "ffnPre" if has_pre else "att", first),
            (2, "ffn", channel_mix),
        ):
            yield f"{block}.ln{half}"
            yield from (f"{block}.{mixing}.{part}" for part in parts)
            yield f"{block}.residual{half}"
    yield from ("ln_out", "logits")


def _of_graph(graph: SpikingGraph) -> _Content:
    linears: dict[str, NDArray[Any]] = {
        q.name: weights for q in graph.projections if (weights := q.weights) is not None
    }
    lifs = {
        p.name: (p.size, _in_current_units(p.program))
        for p in graph.populations
        if isinstance(p.program, LIF) and p.program.du == DECAY_ONE - 1 and p.program.dv
    }
    pairs = {}
    for pair in linear_lif_pairs(graph):
        if pair.lif.name in lifs:
            linears[pair.name] = pair.current_weights
            pairs[pair.name] = pair.lif.name
    unexported = tuple(p.name for p in graph.populations if p.name not in lifs)
    metadata = {
        "weights": "integer; of a pair in units of the LIF's current",
        "pairs": pairs,
        "shape": asdict(graph.shape),
        **dict(graph.provenance),
    }
    return _Content(linears, lifs, pairs, unexported, metadata)


def _in_current_units(lif: LIF) -> LIFParameters:
    """A stock LIF whose u holds one token's input (du = 4095) in units of its current.

    Its smallest firing membrane is 64 vth + 1, in units of 1/64 of the current.
    """
    threshold = ((lif.vth << CURRENT_SHIFT) + 1) / (1 << CURRENT_SHIFT)
    return LIFParameters(tau=DECAY_ONE / lif.dv, threshold=threshold, decay_input=False)


FORMAT = Format(export, (SpikingGraph, SpikeGPT))
