"""What placing for an objective brings, against packing onto the fewest cores: both in one run.

    python benchmarks/objectives.py [--shape 12x512x256] [--hw benchmarks/loihi2-2026-11.toml]
        [--objectives latency,throughput] [--chips N] [--hosted] [--timings bound,cycle]
        [--json FILE]

A SpikeGPT of the shape, without weights: neurons send at the rates that those of the same kind have
in the example checkpoint. It is placed on the fewest cores and for each objective, and simulated:
the tokens of a falling schedule, or steps of a full pipeline. ``--hosted``: embedding and head are
the host's, as in the published deployment of a language model (24 x 1024, arXiv 2503.18002).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from cycle import example_rates

from spikegpt_neuro.backends.cycle.simulator import PlacedGraph, Setting, time_chunks
from spikegpt_neuro.backends.cycle.traffic.masks import random_run
from spikegpt_neuro.benchmark.machine import description
from spikegpt_neuro.energy.pricing import Time, price
from spikegpt_neuro.energy.record import Range, added
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.graph.layers import within_block
from spikegpt_neuro.hardware.profile import Profile, load_profile
from spikegpt_neuro.mapping.balance import least_seconds
from spikegpt_neuro.mapping.goal import Goal
from spikegpt_neuro.mapping.mapper import Mapped, place
from spikegpt_neuro.mapping.work import Work
from spikegpt_neuro.memory import peak_rss_bytes

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))
SCHEDULE = {"latency": "fall-through", "throughput": "pipelined"}
STEPS, TOKENS = 4, 2
"""Full steps of a pipeline, and tokens that fall through, that are simulated."""


def measure(
    graph: SpikingGraph,
    profile: Profile,
    rates: dict[str, float],
    objective: str,
    timed: list[str],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Place for one objective; returns what is predicted and what the simulator says."""
    each = {p.name: np.full(p.size, rates[p.name]) for p in graph.populations}
    where = {"embedding": "host", "head": "host" if options.hosted else "chip"}
    begin = time.perf_counter()
    goal = Goal(objective, chips=options.chips, steps="shared")  # type: ignore[arg-type]
    found = place(graph, profile, each, goal=goal, **where)  # type: ignore[arg-type]
    if not isinstance(found, Mapped):
        raise SystemExit(str(found.violations[0]))
    seconds = time.perf_counter() - begin
    placed = PlacedGraph.of(graph, profile, found.placement)
    assert found.prediction is not None
    work = Work.of(graph, found.load, each, placed.machine("value").latencies)
    return {
        "objective": objective,
        "chips": found.topology.chips,
        "cores": found.cores,
        "place_seconds": seconds,
        "peak_rss_bytes": peak_rss_bytes(),
        "interchip_messages_per_token": found.prediction.interchip_messages,
        "predicted_tokens_per_second": {s: 1 / t for s, t in found.prediction.seconds.items()},
        "falling_tokens_per_second_at_most": 1 / least_seconds(work, profile, found.topology.chips),
        "simulated": [
            simulated(placed, rates, schedule, timing)
            for schedule in timed
            for timing in options.timings.split(",")
        ],
    }


def simulated(
    placed: PlacedGraph, rates: dict[str, float], schedule: str, timing: str
) -> dict[str, Any]:
    """Tokens per second and joules per token of one schedule by one timing model."""
    depth = int(placed.stage.max())
    tokens = depth + STEPS if schedule == "pipelined" else TOKENS
    setting = Setting(schedule, timing, fill=False)  # type: ignore[arg-type]
    _, (found,) = time_chunks(placed, random_run(placed.layout, rates, tokens), tokens, [setting])
    assert found.seconds_per_token is not None
    share = found.tokens if schedule == "fall-through" else found.steps
    taken = Time(Range.exactly(found.seconds_per_token * share))
    joules = added(
        price(found.by_population, taken, placed.placement.chips, placed.profile).joules.values()
    )
    link = found.critical_link
    return {
        "schedule": schedule,
        "timing": timing,
        "tokens_per_second": found.tokens_per_second,
        "joules_per_token": joules.value / share,
        "shares": found.shares,
        "critical_core": found.cores.names[found.critical_core],
        "critical_link": None if link is None else found.links.names[link],
    }


def main() -> int:
    """Measure, and print one JSON object."""
    from shape_graphs import shape_graph

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shape", default="12x512x256", help="LxDxV")
    parser.add_argument("--hw", default=str(ROOT / "benchmarks" / "loihi2-2026-11.toml"))
    parser.add_argument("--objectives", default="latency,throughput")
    parser.add_argument("--chips", type=int)
    parser.add_argument("--hosted", action="store_true", help="embedding and head on the host")
    parser.add_argument("--timings", default="bound,cycle")
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    options = parser.parse_args()
    layers, width, vocabulary = map(int, options.shape.split("x"))
    graph, profile = shape_graph(layers, width, vocabulary), load_profile(options.hw)
    by_part = example_rates()
    rates = {p.name: by_part[within_block(p.name)] for p in graph.populations}
    objectives = options.objectives.split(",")
    scheduled = {objective: [SCHEDULE.get(objective, "pipelined")] for objective in objectives}
    timed = sorted({schedule for each in scheduled.values() for schedule in each})
    report = {
        "machine": description(),
        "shape": [layers, width, vocabulary],
        "hardware": profile.title,
        "results": [
            measure(graph, profile, rates, objective, scheduled.get(objective, timed), options)
            for objective in ["cores", *objectives]
        ],
    }
    text = json.dumps(report, indent=1)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
