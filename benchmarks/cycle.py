"""How fast the cycle-level simulator is, and what it says of the nearest published deployment.

    python benchmarks/cycle.py [--shapes 12x512x256,18x768x50277] [--timings T,T] [--json FILE]
    python benchmarks/cycle.py --published [--timings bound,cycle] [--json FILE]

Speed: for each shape a random model with the sparsity of training is converted and placed on
loihi2; then every timing model, in a process of its own, simulates full pipelines (every
population works on a token), several steps at a time on as many threads (NUMBA_NUM_THREADS: fewer).
A token's wall time is that of its integers, plus that of one step: messages made and timed. The
quickest of some runs of steps counts, since other work on the machine only slows it down; the mean
of all stands beside it. The limits for ``cycle``: 30 tokens/s for 12 layers of 512, 5 for 18 of 768
with 50,277 tokens, 4 GB. Exit code 1 if one is missed.

``--published``: a SpikeGPT of the shape of the one language model published on Loihi 2
(MatMul-free LLM, 370M parameters on 24 chips, embedding and head off the chip, arXiv 2503.18002):
24 layers of 1024, on 24 chips of benchmarks/loihi2-wide.toml, placed for each of the two schedules.
It has no weights: events are drawn at the rates that the example checkpoint has. Both schedules, at
both ends of the assumed constants.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from spikegpt_neuro.benchmark.machine import description

ROOT = Path(__file__).resolve().parent.parent
SHAPES = "12x512x256,18x768x50277"
TIMINGS = "bound,simple,detailed,cycle"
LIMITS = {(12, 512, 256): 30.0, (18, 768, 50277): 5.0}
BYTES = 4e9
RUNS, STEPS = 3, 16
HIDDEN_DENSITY = 0.18

PUBLISHED = {
    "source": "arXiv 2503.18002: MatMul-free LLM, 370M, Loihi 2, 24 chips",
    "pipelined": 6632.0,
    "fall-through": 41.5,
}
PUBLISHED_SHAPE, PUBLISHED_CHIPS = (24, 1024, 32000), 24
PUBLISHED_OBJECTIVES = {"pipelined": "throughput", "fall-through": "latency"}
PUBLISHED_STEPS = 4
PUBLISHED_TOKENS = 2

CONVERT = """
import sys
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.model.synthetic import random_model, random_tokens
model = random_model(*map(int, sys.argv[2:5]), hidden_density=float(sys.argv[5]))
lower(model, random_tokens(model, 256)).save(sys.argv[1])
"""

MEASURE = """
import json, sys, time
import numpy as np
import spikegpt_neuro as sgn
from spikegpt_neuro.backends.cycle.crew import Crew
from spikegpt_neuro.backends.cycle.traffic.masks import CHUNK_TOKENS, integer_run
from spikegpt_neuro.backends.cycle.simulator import PlacedGraph, Setting, time_chunks
from spikegpt_neuro.mapping.placement import load_placement
from spikegpt_neuro.hardware.profile import load_profile
from spikegpt_neuro.memory import peak_rss_bytes
artifact, timing, (runs, steps) = sys.argv[1], sys.argv[2], map(int, sys.argv[3:5])
graph, profile = sgn.load(artifact), load_profile("loihi2")
placed = PlacedGraph.of(graph, profile, load_placement(artifact + ".json"))
depth = int(placed.stage.max())
rng = np.random.default_rng(0)
count = depth + runs * steps + 1 + CHUNK_TOKENS
tokens = (graph.shape.vocab_size * rng.random(count) ** 3).astype(np.int64)
chunks = list(integer_run(graph, tokens, "logits"))
integers = min(chunk.run.seconds / len(chunk.rows) for chunk in chunks[:-1])
ticks = []
def tick(done, total):
    timed = done * (total - depth) / total  # those that fill the pipeline are not
    if not ticks or timed >= ticks[-1][0] + steps:  # sums of several steps come together
        ticks.append((timed, time.perf_counter(), time.process_time()))
setting = Setting(timing=timing, fill=False)
_, (found,) = time_chunks(placed, chunks, len(tokens), [setting], tick)
# The first step compiles, and is not in it. Steps of several threads come in bursts.
made, took, worked = np.diff(ticks, axis=0).T
took, worked = took / made, worked / made
print(json.dumps({
    "timing": timing,
    "tokens_per_second": 1 / (integers + took.min()),
    "tokens_per_second_mean": 1 / (integers + took.mean()),
    "integers_seconds_per_token": integers,
    "step_seconds": took.min(),
    "step_processor_seconds": worked.min(),
    "threads": Crew().threads,
    "messages_per_step": found.events.axon_out / found.steps,
    "peak_rss_bytes": peak_rss_bytes(),
    "hardware_tokens_per_second": found.tokens_per_second,
    "shares": found.shares,
    "critical_core": found.cores.names[found.critical_core],
    "critical_link": found.links.names[found.critical_link],
}))
"""


def output_of(*command: str) -> dict[str, Any]:
    """The JSON object that a command prints; its messages go to this process's stderr."""
    found = subprocess.run([sys.executable, *command], check=True, stdout=subprocess.PIPE)
    result: dict[str, Any] = json.loads(found.stdout)
    return result


def speed(shape: tuple[int, ...], timings: list[str]) -> dict[str, Any]:
    """Convert and place one shape, and simulate it with every timing model."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = str(Path(folder) / "model.sgn")
        numbers = [*map(str, shape), str(HIDDEN_DENSITY)]
        subprocess.run([sys.executable, "-c", CONVERT, artifact, *numbers], check=True)
        placing = ["map", artifact, "--hw", "loihi2", "-o", f"{artifact}.json", "--json"]
        placing += ["--optimize", "cores"]  # what profile and simulate do without a placement
        mapped = output_of("-m", "spikegpt_neuro", *placing)
        measured = [
            output_of("-c", MEASURE, artifact, name, str(RUNS), str(STEPS)) for name in timings
        ]
    return {
        "shape": list(shape),
        "chips": mapped["chips"],
        "cores": mapped["cores"],
        "timings": measured,
        "missed": [name for figures in measured for name in missed(shape, figures)],
    }


def missed(shape: tuple[int, ...], figures: dict[str, Any]) -> list[str]:
    """The limits that these figures do not keep."""
    if figures["timing"] != "cycle" or shape not in LIMITS:
        return []
    kept = {
        "tokens_per_second": figures["tokens_per_second"] >= LIMITS[shape],
        "peak_rss_bytes": figures["peak_rss_bytes"] <= BYTES,
    }
    return [name for name, holds in kept.items() if not holds]


def example_rates() -> dict[str, float]:
    """Events per neuron and token in the example; a population of a block without its number."""
    import spikegpt_neuro as sgn
    from spikegpt_neuro.evaluation.corpus import held_out, python_documentation
    from spikegpt_neuro.graph.layers import within_block
    from spikegpt_neuro.mapping.mapper import measured_rates

    graph = sgn.convert(str(ROOT / "examples" / "pydoc-4x128.pth"))
    assert graph.vocabulary is not None
    tokens = graph.vocabulary.encode(held_out(python_documentation()), unknown="replace")[:256]
    found: dict[str, list[float]] = {}
    for name, rates in measured_rates(graph, sgn.run(graph, tokens, record="events")).items():
        found.setdefault(within_block(name), []).append(float(rates.mean()))
    return {part: float(np.mean(rates)) for part, rates in found.items()}


def published(timings: list[str]) -> dict[str, Any]:
    """Time the shape of the published deployment, in both of its modes."""
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    from spikegpt_neuro.backends.cycle.simulator import PlacedGraph, Setting, time_chunks
    from spikegpt_neuro.backends.cycle.traffic.masks import Layout, random_run
    from spikegpt_neuro.graph.layers import within_block
    from spikegpt_neuro.hardware.profile import load_profile
    from spikegpt_neuro.mapping.goal import Goal
    from spikegpt_neuro.mapping.mapper import Mapped, place

    from shape_graphs import shape_graph

    graph = shape_graph(*PUBLISHED_SHAPE)
    profile = load_profile(ROOT / "benchmarks" / "loihi2-wide.toml")
    by_part = example_rates()
    rates = {p.name: by_part[within_block(p.name)] for p in graph.populations}
    each = {p.name: np.full(p.size, rates[p.name]) for p in graph.populations}
    results = []
    for schedule, objective in PUBLISHED_OBJECTIVES.items():
        goal = Goal(objective, chips=PUBLISHED_CHIPS, steps="shared")  # type: ignore[arg-type]
        found = place(graph, profile, each, goal=goal, embedding="host", head="host")
        assert isinstance(found, Mapped)
        assert found.prediction is not None
        placed = PlacedGraph.of(graph, profile, found.placement)
        depth, count = int(placed.stage.max()), PUBLISHED_TOKENS
        count = depth + PUBLISHED_STEPS if schedule == "pipelined" else count
        for timing in timings:
            chunks = random_run(Layout.of(graph), rates, count)
            settings = [
                Setting(schedule, timing, end, fill=False)  # type: ignore[arg-type]
                for end in ("value", "low", "high")
            ]
            _, simulations = time_chunks(placed, chunks, count, settings)
            value = simulations[0].to_json()
            ends = {s.end: s.tokens_per_second for s in simulations}
            theirs = PUBLISHED[schedule]
            results.append(
                {
                    "timing": timing,
                    "schedule": schedule,
                    "chips": found.topology.chips,
                    "cores": found.cores,
                    "interchip_messages_per_token": found.prediction.interchip_messages,
                    "predicted_tokens_per_second": 1 / found.prediction.seconds[schedule],  # type: ignore[index]
                    "tokens_per_second": ends,
                    "published_tokens_per_second": theirs,
                    "ratio": ends["value"] / theirs,  # type: ignore[operator]
                    "simulation": value,
                }
            )
    return {
        "source": PUBLISHED["source"],
        "shape": list(PUBLISHED_SHAPE),
        "parameters": graph.shape.parameters,
        "synapses_on_chip": found.load.dense_synapses,
        "rates": by_part,
        "results": results,
    }


def main() -> int:
    """Measure, print one JSON object, and say by the exit code whether the limits hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shapes", default=SHAPES, help=f"LxDxV, comma-separated [{SHAPES}]")
    parser.add_argument("--timings", default=TIMINGS, help=f"comma-separated [{TIMINGS}]")
    parser.add_argument("--published", action="store_true", help="the published deployment")
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    options = parser.parse_args()
    timings = options.timings.split(",")
    report: dict[str, Any] = {"machine": description()}
    if options.published:
        report |= published(timings)
    else:
        shapes = [tuple(map(int, shape.split("x"))) for shape in options.shapes.split(",")]
        report["shapes"] = [speed(shape, timings) for shape in shapes]
    text = json.dumps(report, indent=1)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    return int(any(shape["missed"] for shape in report.get("shapes", [])))


if __name__ == "__main__":
    sys.exit(main())
