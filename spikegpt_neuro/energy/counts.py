r"""What arrived at synapses, projection by projection: nothing, a binary spike or a graded event.

The events of source neuron i meet the F_i synapses of its fan-out:

.. math:: synaptic\ operations = \sum_i F_i \cdot events_i

All synapses of a projection exist, those too whose weight is 0: a core reads the whole list. Of a
sparse projection, those exist whose weight is not 0. A binary spike accumulates; a graded event,
of the b payload bits of its format, multiplies and accumulates. A *dense* value would be one that
is handed over whether it is 0 or not: no event of a spiking graph is, so that kind counts what a
machine would do that skips nothing.

Beside them stand NeuroBench's Effective_ACs, Effective_MACs and Dense, by its definitions: of the
linear layers (dense projections) alone, without zero weights, and a layer accumulates only if all
its inputs of the run are -1, 0 or 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.energy.activity import Activity
from spikegpt_neuro.graph.graph import Projection, SpikingGraph
from spikegpt_neuro.neurons import LIF

Kind = Literal["binary", "graded"]


@dataclass(frozen=True)
class Arrivals:
    """What arrived over one projection in a run of ``tokens`` tokens.

    ``kind``, ``payload_bits``  of the source's event format.
    ``is_linear``            dense weights; else one-to-one.
    ``fan_out``              synapses that one event would meet if none were missing.
    ``events``               (T,) events for each token.
    ``synaptic_operations``  synapses that the events met.
    ``possible``             source neurons x tokens.
    ``nonzero_operations``   synaptic operations without those of zero weights.
    ``is_unit``              no payload of the run was beyond -1, 0, 1.
    """

    name: str
    source: str
    target: str
    kind: Kind
    payload_bits: int
    is_linear: bool
    fan_out: int
    events: NDArray[np.int64]
    synaptic_operations: int
    possible: int
    nonzero_operations: int
    is_unit: bool

    @property
    def payload_bit_operations(self) -> int:
        """Payload bits beyond the first, summed over synaptic operations."""
        return self.synaptic_operations * (self.payload_bits - 1)

    @property
    def effective_acs(self) -> int:
        """NeuroBench's Effective_ACs of this layer; 0 for what is no linear layer."""
        return self.nonzero_operations if self.is_linear and self.is_unit else 0

    @property
    def effective_macs(self) -> int:
        """NeuroBench's Effective_MACs."""
        return self.nonzero_operations if self.is_linear and not self.is_unit else 0

    @property
    def dense(self) -> int:
        """NeuroBench's Dense: every weight for every token, those too that do not exist."""
        return self.possible * self.fan_out if self.is_linear else 0


def arrivals_of(graph: SpikingGraph, activity: Activity) -> tuple[Arrivals, ...]:
    """What arrived over every projection, in the graph's order."""
    return tuple(_arrivals(graph, activity, q) for q in graph.projections)


def _arrivals(graph: SpikingGraph, activity: Activity, projection: Projection) -> Arrivals:
    source = graph.by_name[projection.source]
    per_neuron = activity.per_neuron[source.name]
    operations = nonzero = projection.operations(per_neuron)
    if projection.is_dense and not projection.is_sparse:
        nonzero = int(per_neuron @ np.count_nonzero(projection.weights, axis=0))  # type: ignore[arg-type]
    return Arrivals(
        name=projection.name,
        source=projection.source,
        target=projection.target,
        kind="binary" if source.events.is_binary else "graded",
        payload_bits=source.events.bits,
        is_linear=projection.is_dense,
        fan_out=projection.dense_fan_out,
        events=activity.per_token[source.name],
        synaptic_operations=operations,
        possible=activity.tokens * source.size,
        nonzero_operations=nonzero,
        is_unit=activity.largest.get(source.name, source.events.high) <= 1,
    )


def firing_rate(graph: SpikingGraph, activity: Activity) -> float:
    """Mean share of ones over the outputs of all LIF populations; 0 if there are none."""
    lif = [p for p in graph.populations if isinstance(p.program, LIF)]
    possible = activity.tokens * sum(p.size for p in lif)
    return sum(activity.events(p.name) for p in lif) / possible if possible else 0.0
