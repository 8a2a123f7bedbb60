"""Conventions of the field: NeuroBench's counts, KerasSpiking's devices, 45 nm arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from spikegpt_neuro.energy.accounting.constants import EnergyConstant, constants
from spikegpt_neuro.energy.accounting.record import Accounting, Priced, Row, TokenCounts
from spikegpt_neuro.energy.baselines import cache_traffic, sizes_of, transformer


@dataclass(frozen=True)
class Arithmetic:
    """Number formats of a multiply-accumulate: product and sum; ``memory``: bytes are priced."""

    product: str
    sum: str
    weight_bytes: int
    memory: bool = False


FORMATS = {
    "int8": ("8-bit product, 8-bit sum", Arithmetic("int8", "int8", 1)),
    "int8-int32": ("8-bit product, 32-bit sum", Arithmetic("int8", "int32", 1)),
    "float16": ("float16", Arithmetic("float16", "float16", 2)),
    "float32": ("float32", Arithmetic("float32", "float32", 4)),
    "int8-memory": (
        "8-bit product, 32-bit sum, and every weight and cached value it meets read from memory",
        Arithmetic("int8", "int32", 1, memory=True),
    ),
}
DEVICES = {
    "loihi": ("Loihi: events", True),
    "spinnaker2": ("SpiNNaker 2 (prototype): events", True),
    "spinnaker": ("SpiNNaker: events", True),
    "cpu": ("Intel i7-4960X: every product", False),
    "gpu": ("NVIDIA GTX Titan Black: every product", False),
    "arm": ("ARM Cortex-A: every product", False),
}


def _arithmetic(counts: TokenCounts, accounting: str, variant: str, form: Arithmetic) -> Priced:
    """Effective MACs and ACs, and the dense transformer beside them, in one number format."""
    table = constants("horowitz45")
    product, total = table[f"{form.product}_multiply"], table[f"{form.sum}_add"]
    mac = product.base + total.base
    sizes = sizes_of(counts.shape, counts.context)
    theirs = transformer(sizes)
    rows = [
        Row("effective MACs", "synapse", counts.effective_macs, counts.effective_macs * mac),
        Row("effective ACs", "synapse", counts.effective_acs, counts.effective_acs * total.base),
    ]
    against = [Row("MACs", "synapse", theirs.total, theirs.total * mac)]
    used = [product, total]
    if form.memory:
        byte = table["memory_byte"]
        used.append(byte)
        read = counts.synaptic_operations * form.weight_bytes
        cache = cache_traffic(sizes, form.weight_bytes)
        weights = (theirs.projections + theirs.head) * form.weight_bytes
        rows.append(Row("bytes of weights", "synapse", read, read * byte.base))
        against.append(Row("bytes of weights", "synapse", weights, weights * byte.base))
        against.append(
            Row("bytes of the cache", "synapse", cache.per_token, cache.per_token * byte.base)
        )
    return Priced(accounting, variant, tuple(rows), tuple(used), tuple(against))


def _price_horowitz(counts: TokenCounts, variant: str) -> Priced:
    return _arithmetic(counts, "horowitz45", variant, FORMATS[variant][1])


def _price_neurobench(counts: TokenCounts, variant: str) -> Priced:
    """NeuroBench's counts at float32 constants: it names no joules itself."""
    form = Arithmetic("float32", "float32", 4)
    return _arithmetic(counts, "neurobench", variant, form)


def _price_kerasspiking(counts: TokenCounts, variant: str) -> Priced:
    """Events on a spiking device, every product on another; neuron updates on both."""
    table = constants("kerasspiking")
    operation: EnergyConstant = table[f"{variant}_synaptic_operation"]
    update: EnergyConstant = table[f"{variant}_neuron_update"]
    spiking = DEVICES[variant][1]
    synapses = counts.synaptic_operations if spiking else counts.dense
    updates = counts.neuron_updates
    return Priced(
        accounting="kerasspiking",
        variant=variant,
        rows=(
            Row("synaptic operations", "synapse", synapses, synapses * operation.base),
            Row("neuron updates", "neuron", updates, updates * update.base),
        ),
        constants=(operation, update),
        notes=("a graded event counts as one event, although the device sends binary spikes",)
        if spiking
        else (),
    )


HOROWITZ45 = Accounting(
    name="horowitz45",
    formula="effective MACs x (multiply + add) + effective ACs x add",
    source="Horowitz, ISSCC 2014, 45 nm, 0.9 V; as the literature on spiking networks uses it",
    leaves_out=("neurons", "memory (except in int8-memory)", "communication and static power"),
    variants={name: text for name, (text, _) in FORMATS.items()},
    price=_price_horowitz,
)

NEUROBENCH = Accounting(
    name="neurobench",
    formula="Effective_MACs x 4.6 pJ + Effective_ACs x 0.9 pJ: NeuroBench counts, and names no "
    "joules; these are 45 nm float32 constants",
    source="NeuroBench 2.3, SynapticOperations: zero weights and zero inputs are not counted; a "
    "layer counts as AC if all its inputs are in {-1, 0, 1}",
    leaves_out=("neurons", "memory, communication and static power"),
    variants={"float32": "45 nm, float32"},
    price=_price_neurobench,
)

KERASSPIKING = Accounting(
    name="kerasspiking",
    formula="synaptic operations x e_synapse + neuron updates x e_neuron; a device that is not "
    "spiking computes every product",
    source="KerasSpiking, ModelEnergy",
    leaves_out=("the cost of a neuron program beyond one update", "communication, static power"),
    variants={name: text for name, (text, _) in DEVICES.items()},
    price=_price_kerasspiking,
)
