"""What the parts of the chips did, from events counted by segment: exact sums, no timing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.cycle.traffic.messages import HOST
from spikegpt_neuro.backends.cycle.traffic.routes import Routes
from spikegpt_neuro.energy.events import HardwareEvents
from spikegpt_neuro.hardware.mesh import Mesh

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Accounts:
    """Turns events by segment into counts.

    ``sizes``, ``updates``, ``micro_operations``  (P,) neurons of a source, and what one token
                    asks of the whole population.
    ``extra_bits``  (P,) payload bits of its events beyond the first.
    """

    routes: Routes
    mesh: Mesh
    sizes: Indices
    updates: Indices
    micro_operations: Indices
    extra_bits: Indices

    @cached_property
    def on_chip(self) -> NDArray[np.bool_]:
        """(P,) True where the population stands on cores."""
        found = np.zeros(len(self.sizes), bool)
        found[self.routes.population[: self.routes.first[self.routes.cores]]] = True
        return found

    @cached_property
    def neurons(self) -> int:
        """Neurons on cores."""
        return int(self.sizes[self.on_chip].sum())

    @cached_property
    def _per_event(self) -> Mapping[str, Indices]:
        """Count -> (S,) what one event of each segment adds to it."""
        routes = self.routes
        sends = routes.core[routes.segment] < routes.cores
        hears = routes.target != HOST
        way = _ways(self.mesh, routes, sends & hears)
        bits = self.extra_bits[routes.population[routes.segment]]
        by_route = {
            "axon_out": sends,
            "axon_in": hears,
            "synaptic_operation": routes.synapses,
            "graded_payload_bit": routes.synapses * bits,
            "host_message": ~sends | ~hears,
            **way,
        }
        count = len(routes.start)
        per_event = {
            name: _sum_by(routes.segment, values, count) for name, values in by_route.items()
        }
        return per_event | {"spike_out": (routes.core < routes.cores).astype(np.int64)}

    def by_population(
        self, events: Indices, active: Indices, steps: int
    ) -> dict[str, HardwareEvents]:
        """Counts of every source that is on the chip or reaches it.

        ``events`` (S,) by segment, ``active`` (P,) steps in which the source had a token.
        """
        routes, count = self.routes, len(self.sizes)
        sums = {
            name: _sum_by(routes.population, each * events, count)
            for name, each in self._per_event.items()
        }
        sums["neuron_access"] = self.on_chip * self.sizes * steps
        sums["neuron_update"] = self.on_chip * self.updates * active
        sums["micro_operation"] = self.on_chip * self.micro_operations * active
        names = [field.name for field in fields(HardwareEvents)]
        present = np.union1d(np.flatnonzero(self.on_chip), routes.population).tolist()
        return {
            routes.sources[p]: HardwareEvents(**{name: int(sums[name][p]) for name in names})
            for p in present
        }

    def by_core(self, events: Indices) -> dict[str, Indices]:
        """(C,) each: messages ``sent`` and ``received``, and ``synaptic_operations`` met."""
        routes, cores = self.routes, self.routes.cores
        each = events[routes.segment]
        hears = routes.target != HOST
        target = routes.target[hears]
        return {
            "sent": _sum_by(routes.core[routes.segment], each, cores + 1)[:cores],
            "received": _sum_by(target, each[hears], cores),
            "synaptic_operations": _sum_by(target, (each * routes.synapses)[hears], cores),
        }


def _sum_by(index: Indices | NDArray[np.int32], values: NDArray[Any], count: int) -> Indices:
    """Sums of ``values`` by ``index``, in integers."""
    total = np.zeros(count, np.int64)
    np.add.at(total, index, values)
    return total


def _ways(mesh: Mesh, routes: Routes, on_mesh: NDArray[np.bool_]) -> dict[str, Indices]:
    """(R,) each: hops along rows and columns, chip boundaries, and ends within one tile."""
    source = routes.core[routes.segment][on_mesh]
    target = routes.target[on_mesh]
    x, y = mesh.x.astype(np.int64), mesh.y.astype(np.int64)
    chip_x, chip_y = x // mesh.chip_columns, y // mesh.chip_rows

    def apart(axis: Indices) -> Indices:
        distance: Indices = np.abs(axis[source] - axis[target])
        return distance

    row, column = apart(x), apart(y)
    found = {
        "hop_east_west": row,
        "hop_north_south": column,
        "interchip_hop": apart(chip_x) + apart(chip_y),
        "spike_within_tile": ((row + column == 0) & (source != target)).astype(np.int64),
    }
    ways = {name: np.zeros(len(on_mesh), np.int64) for name in found}
    for name, values in found.items():
        ways[name][on_mesh] = values
    return ways
