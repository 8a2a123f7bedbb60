"""The same LIF network here and in SANA-FE: random networks, placements, and a run of either side.

SANA-FE is GPL software: it runs beside ours in :mod:`sanafe_worker`, never as part of the product.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.cycle.timing.models import timing_model
from spikegpt_neuro.energy.events import HardwareEvents
from spikegpt_neuro.energy.pricing import Time, price
from spikegpt_neuro.energy.record import Range
from spikegpt_neuro.hardware.profile import load_profile

from lif_network import Dense, LIFNetwork, machine_on
from lif_run import simulate

WORKER = Path(__file__).with_name("sanafe_worker.py")
PROFILE = load_profile("loihi1-sanafe")
CORE_NEURONS = 1024  # fixed in SANA-FE
PLACEMENTS = ("fill", "round-robin", "random")
GRID = 256  # weights and biases are multiples of 1/GRID: sums of potentials are exact
PRICED = tuple(field.name for field in fields(HardwareEvents))
COUNTS = ("neuron_update", "spike_out", "axon_out", "synaptic_operation")


@dataclass(frozen=True)
class PlacedNetwork:
    """A network and the number on the chip of every core that it uses, ascending."""

    network: LIFNetwork
    cores: tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """What one side says of a run: joules, seconds (also step by step), counts, wall time."""

    joules: float
    parts: dict[str, float]
    seconds: float
    steps: Sequence[float]
    counts: dict[str, int]
    wall_seconds: float


def on_grid(values: Any) -> NDArray[np.float32]:
    return (np.round(np.asarray(values) * GRID) / GRID).astype(np.float32)


def random_network(
    seed: int,
    sizes: Sequence[int],
    *,
    cores: int,
    spread: int = 128,
    placement: str = "fill",
    recurrent: bool = False,
    zero_weights: float = 0.2,
    bias: Sequence[float] = (0.0, 0.0, 0.3, 1.5),
    threshold: tuple[float, float] = (0.5, 1.0),
) -> PlacedNetwork:
    """Layers joined in a row, with random weights, biases, thresholds and leaks.

    ``cores`` of the first ``spread`` cores of the chip, picked at random, are filled one after
    the other, dealt to in turn, or drawn for every neuron. ``recurrent``: the last layer also
    feeds itself and the first. ``zero_weights``: share of the synapses that weigh nothing.
    Biases are drawn from ``bias``, thresholds evenly from an interval.
    """
    rng = np.random.default_rng(seed)
    size = sum(sizes)
    starts = np.cumsum([0, *sizes])
    pairs = [(k, k + 1) for k in range(len(sizes) - 1)]
    pairs += [(len(sizes) - 1, len(sizes) - 1), (len(sizes) - 1, 0)] if recurrent else []
    deal = {
        "fill": np.arange(size) * cores // size,
        "round-robin": np.arange(size) % cores,
        "random": rng.integers(cores, size=size),
    }[placement]
    used, core = np.unique(deal, return_inverse=True)
    assert np.bincount(core).max() <= CORE_NEURONS, "SANA-FE holds 1024 neurons on a core"
    chosen = np.sort(rng.choice(spread, len(used), replace=False))
    network = LIFNetwork(
        threshold=on_grid(rng.uniform(*threshold, size)),
        leak=rng.choice([0.5, 0.75, 0.9], size).astype(np.float32),
        bias=on_grid(rng.choice(bias, size)),
        core=core.astype(np.int64),
        projections=tuple(
            Dense(int(starts[s]), int(starts[t]), _weights(rng, sizes[s], sizes[t], zero_weights))
            for s, t in pairs
        ),
    )
    return PlacedNetwork(network, tuple(map(int, chosen)))


def _weights(
    rng: np.random.Generator, sources: int, targets: int, zeros: float
) -> NDArray[np.float32]:
    weights = on_grid(rng.normal(0, 2 / np.sqrt(sources), (sources, targets)))
    weights[rng.random(weights.shape) < zeros] = 0
    return weights


def ours(placed: PlacedNetwork, steps: int, timing: str) -> Outcome:
    """Run the network here."""
    machine = machine_on(PROFILE, placed.cores)
    model = timing_model(timing, machine)
    begin = time.perf_counter()
    events, seconds = HardwareEvents(), []
    for step in simulate(placed.network, machine, steps):
        seconds.append(float(model.step(step.messages).seconds))
        events += step.events
    paid = price({"all": events}, Time(Range.exactly(sum(seconds))), 1, PROFILE).by_operation
    wall = time.perf_counter() - begin
    joules = {name: paid[name].value if name in paid else 0.0 for name in PRICED}
    network = ("axon_out", "axon_in", "spike_within_tile", "hop_east_west", "hop_north_south")
    return Outcome(
        joules=sum(joules.values()),
        parts={
            "synapse": joules["synaptic_operation"],
            "soma": sum(joules[k] for k in ("neuron_access", "neuron_update", "spike_out")),
            "network": sum(joules[k] for k in network),
        },
        seconds=sum(seconds),
        steps=seconds,
        counts={name: getattr(events, name) for name in COUNTS}
        | {"hops": events.hop_east_west + events.hop_north_south},
        wall_seconds=wall,
    )


def theirs(
    placed: PlacedNetwork,
    steps: int,
    timings: Sequence[str],
    *,
    threads: int = 1,
    repeats: int = 1,
) -> dict[str, Outcome]:
    """Run the network in SANA-FE, in a process of its own; of several repeats, the quickest."""
    network = placed.network
    borders = {0, network.size}
    for p in network.projections:
        n, m = p.weights.shape
        borders |= {p.source, p.source + n, p.target, p.target + m}
    job = {
        "steps": steps,
        "timings": list(timings),
        "threads": threads,
        "repeats": repeats,
        "cores": placed.cores,
        "edges": sorted(borders),
        "projections": [(p.source, p.target) for p in network.projections],
    }
    weights: dict[str, Any] = {f"weights{k}": p.weights for k, p in enumerate(network.projections)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        np.savez(
            folder / "network.npz",
            threshold=network.threshold,
            leak=network.leak,
            bias=network.bias,
            core=network.core,
            **weights,
        )
        subprocess.run([sys.executable, str(WORKER), name], check=True, stdout=subprocess.DEVNULL)
        found = json.loads((folder / "outcome.json").read_text(encoding="utf-8"))
    return {
        timing: Outcome(**min(runs, key=lambda run: run["wall_seconds"]))
        for timing, runs in found["runs"].items()
    }
