"""The figures of a profile, per token: from a record, and what arrived at the synapses.

:func:`figures` is what ``profile --json`` prints. ``joules`` and everything beside it are per
token of the steady state, ``..._low`` and ``..._high`` are the ends of their ranges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from spikegpt_neuro.energy.counts import Arrivals
from spikegpt_neuro.energy.pricing import POWERS, category_of, weakest
from spikegpt_neuro.energy.record import CATEGORIES, SHARED, Category, Estimate, Range, added
from spikegpt_neuro.graph.layers import layer_of
from spikegpt_neuro.hardware.profile import Constant

SYSTEM = "system"
"""The layer of what belongs to no population: static power and the host."""


def figures(
    estimate: Estimate, arrivals: Sequence[Arrivals], constants: Sequence[Constant]
) -> dict[str, Any]:
    """All figures of one profile as JSON values; see the module."""
    tokens = estimate.tokens
    per_token = 1 / tokens
    total, seconds = estimate.total * per_token, estimate.seconds * per_token
    rate = estimate.tokens_per_second
    return {
        "backend": estimate.estimator,
        "hardware": estimate.hardware,
        "schedule": estimate.schedule,
        "timing": estimate.timing,
        "accounting": estimate.accounting,
        "tokens": tokens,
        **synaptic_figures(arrivals, tokens),
        "joules_per_token": total.value,
        "joules_per_token_low": total.low,
        "joules_per_token_high": total.high,
        "joules": {c: estimate.joules.get(c, Range()).value * per_token for c in CATEGORIES},
        "joules_low": {c: estimate.joules.get(c, Range()).low * per_token for c in CATEGORIES},
        "joules_high": {c: estimate.joules.get(c, Range()).high * per_token for c in CATEGORIES},
        "joules_undivided": estimate.undivided.value * per_token,
        "seconds_per_token": seconds.value,
        "seconds_per_token_low": seconds.low,
        "seconds_per_token_high": seconds.high,
        "tokens_per_second": rate.value,
        "tokens_per_second_low": rate.low,
        "tokens_per_second_high": rate.high,
        "chips": estimate.chips,
        "cores": estimate.cores,
        "steps": estimate.steps,
        "is_steady": estimate.is_steady,
        "filling": {
            "steps": estimate.filling_steps,
            "seconds": estimate.filling_seconds.value,
            "joules": estimate.filling_joules.value,
        },
        "by_layer": by_layer(estimate, arrivals),
        "by_operation": by_operation(estimate, constants),
        "by_arrival": by_arrival(arrivals, tokens),
        "share_assumed": estimate.share_of_kind("assumed"),
        "time_assumed": estimate.time_assumed,
        "shares_by_kind": {kind: estimate.share_of_kind(kind) for kind in estimate.by_kind},
        "constants": [constant_json(c) for c in constants],
        "not_modelled": list(estimate.not_modelled),
        "is_measured": estimate.is_measured,
    }


def synaptic_figures(arrivals: Sequence[Arrivals], tokens: int) -> dict[str, float]:
    """Synaptic operations of the whole network per token, wherever its parts stand."""
    synops = sum(a.synaptic_operations for a in arrivals)
    spike_driven = sum(a.synaptic_operations for a in arrivals if a.kind == "binary")
    return {
        "synops_per_token": synops / tokens,
        "effective_acs_per_token": sum(a.effective_acs for a in arrivals) / tokens,
        "effective_macs_per_token": sum(a.effective_macs for a in arrivals) / tokens,
        "dense_per_token": sum(a.dense for a in arrivals) / tokens,
        "share_spike_driven": spike_driven / (synops or 1),
    }


def synops_over_dense(arrivals: Sequence[Arrivals]) -> float:
    """Synaptic operations of the matrices over those if every weight were read for every token."""
    linear = [a for a in arrivals if a.is_linear]
    dense = sum(a.dense for a in linear)
    return sum(a.synaptic_operations for a in linear) / dense if dense else 0.0


def by_arrival(arrivals: Sequence[Arrivals], tokens: int) -> dict[str, dict[str, float]]:
    """Kind of event -> events, synaptic operations and payload bits per token.

    A dense value, handed over though it is 0, does not occur; see
    :mod:`spikegpt_neuro.energy.counts`.
    """
    found = {}
    for kind in ("binary", "graded", "dense"):
        mine = [a for a in arrivals if a.kind == kind]
        found[kind] = {
            "events": sum(int(a.events.sum()) for a in mine) / tokens,
            "synaptic_operations": sum(a.synaptic_operations for a in mine) / tokens,
            "payload_bit_operations": sum(a.payload_bit_operations for a in mine) / tokens,
        }
    return found


def layers(estimate: Estimate) -> dict[str, dict[Category, Range]]:
    """Layer -> category -> joules of the run; all layers together are the categories' sums."""
    found: dict[str, dict[Category, Range]] = {}
    for population, table in estimate.by_population.items():
        layer = found.setdefault(layer_of(population), {})
        for category, joules in table.items():
            layer[category] = layer.get(category, Range()) + joules
    shared = SHARED if found else CATEGORIES
    found[SYSTEM] = {c: estimate.joules[c] for c in shared if c in estimate.joules}
    return found


def by_layer(estimate: Estimate, arrivals: Sequence[Arrivals]) -> list[dict[str, Any]]:
    """A row per layer: what its neurons did and what their events caused."""
    synops: dict[str, int] = {}
    for arrived in arrivals:
        layer = layer_of(arrived.source)
        synops[layer] = synops.get(layer, 0) + arrived.synaptic_operations
    rows = []
    for layer, table in layers(estimate).items():
        shared = estimate.undivided if layer == SYSTEM else Range()
        total = (added(table.values()) + shared) * (1 / estimate.tokens)
        rows.append(
            {
                "layer": layer,
                "synops_per_token": synops.get(layer, 0) / estimate.tokens,
                "joules_per_token": total.value,
                "joules_per_token_low": total.low,
                "joules_per_token_high": total.high,
                "joules": {c: joules.value / estimate.tokens for c, joules in table.items()},
            }
        )
    return rows


def by_operation(estimate: Estimate, constants: Sequence[Constant]) -> list[dict[str, Any]]:
    """A row per operation, the most expensive first, and the kind of constant it rests on."""
    kinds = {c.key.split(".")[-1]: c.kind for c in constants if not _is_of_time(c)}
    of_time = [c.kind for c in constants if _is_of_time(c)]
    if estimate.time_assumed is not None and estimate.time_assumed < 0.5:  # less than half of it
        of_time = [kind for kind in of_time if kind != "assumed"]
    for power in POWERS:
        if power in kinds:
            kinds[power] = weakest([kinds[power], *of_time])
    rows = [
        {
            "operation": operation,
            "category": category_of(operation),
            "joules_per_token": joules.value / estimate.tokens,
            "joules_per_token_low": joules.low / estimate.tokens,
            "joules_per_token_high": joules.high / estimate.tokens,
            "kind": kinds.get(operation),
        }
        for operation, joules in estimate.by_operation.items()
        if joules.high
    ]
    return sorted(rows, key=lambda row: -row["joules_per_token"])


def _is_of_time(constant: Constant) -> bool:
    return constant.key.startswith(("latency.", "bandwidth."))


def constant_json(constant: Constant) -> dict[str, Any]:
    """A constant with its origin, as JSON values; what it does not have is left out."""
    values = {f.name: _listed(getattr(constant, f.name)) for f in fields(Constant)}
    return {name: value for name, value in values.items() if value not in (None, "")}


def _listed(value: object) -> object:
    """Tuples as JSON has them."""
    return [_listed(item) for item in value] if isinstance(value, tuple) else value
