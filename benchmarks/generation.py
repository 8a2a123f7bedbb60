"""How fast does it write? The reference backend beside torch and beside the memory's own rate.

    python benchmarks/generation.py [--shapes ...] [--threads 1,2] [--keep DIR] [--output FILE]

For each shape four artifacts of random models are made: 8 and 4 bit weights, once with the
activity of chance (half of the squared ReLU's events are zero) and once with the sparsity that
training leaves (four fifths are). For each number of threads one process then measures all of
them, a float32 torch step and the reading of memory in turns; each side's best slice counts.
Sequence mode is measured with the first artifact, start-up and memory with the first number of
threads. ``--keep`` leaves the artifacts for the next run: remove them when the conversion has
changed. Without torch the ratios are empty.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from spikegpt_neuro.benchmark.figures import Figure
from spikegpt_neuro.benchmark.machine import description, thread_environment
from spikegpt_neuro.benchmark.memory import touched_bytes, weight_bytes
from spikegpt_neuro.benchmark.speed import (
    Plan,
    event_shares,
    generation,
    sequence,
    threads_gain,
    torch_side,
)
from spikegpt_neuro.benchmark.startup import start_figures
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.graph import artifact
from spikegpt_neuro.model.synthetic import random_model, random_tokens
from spikegpt_neuro.running import get_backend

RESULTS = Path(__file__).resolve().parent / "results" / "generation.json"
SHAPES = "12x512x256,18x768x50277"
CALIBRATION_TOKENS = 512
SEQUENCE_ROUNDS = 2
SHARE_WANTED, SEQUENCE_WANTED = 0.6, 1.5


class Variant(NamedTuple):
    """One artifact of a shape; ``wanted`` is the ratio to the torch step to reach."""

    activity: str
    hidden_density: float | None
    bits: int
    wanted: float

    def path(self, folder: Path, shape: str) -> Path:
        return folder / f"{shape}-{self.activity}-{self.bits}.sgn"

    @property
    def name(self) -> str:
        return f"{self.activity}, {self.bits} bits"


VARIANTS = (
    Variant("chance", None, 8, 4.0),
    Variant("chance", None, 4, 6.0),
    Variant("trained", 0.2, 8, 5.0),
    Variant("trained", 0.2, 4, 7.0),
)


def note(text: str) -> None:
    """Say on standard error what is going on."""
    print(text, file=sys.stderr, flush=True)


def sizes(shape: str) -> tuple[int, int, int]:
    """Layers, width and vocabulary of ``LxDxV``."""
    layers, width, vocab_size = map(int, shape.split("x"))
    return layers, width, vocab_size


def build(folder: Path, shape: str) -> None:
    """Make the artifacts of one shape that are not in ``folder`` yet."""
    for density in dict.fromkeys(variant.hidden_density for variant in VARIANTS):
        missing = [
            variant
            for variant in VARIANTS
            if variant.hidden_density == density
            and not artifact.is_artifact(variant.path(folder, shape))
        ]
        if not missing:
            continue
        model = random_model(*sizes(shape), hidden_density=density)
        for variant in missing:
            begin = time.perf_counter()
            graph = lower(model, random_tokens(model, CALIBRATION_TOKENS), weight_bits=variant.bits)
            graph.save(str(variant.path(folder, shape)))
            note(f"{shape} {variant.name}: converted in {time.perf_counter() - begin:.1f} s")


def measure(folder: Path, shape: str, plan: Plan, tokens: int, *, start: bool) -> dict[str, Any]:
    """All variants of one shape, in this process, on ``plan.threads`` threads."""
    model = random_model(*sizes(shape))
    text = random_tokens(model, tokens, seed=2)
    opponent = torch_side(model, text, plan.threads)
    graphs = {v.name: artifact.load(v.path(folder, shape)) for v in VARIANTS}
    backend = get_backend("reference", threads=plan.threads)
    runs = {name: backend.run(graph, text, record="logits") for name, graph in graphs.items()}
    note(f"{shape}, threads {plan.threads}: generation")
    speed = generation(graphs, runs, opponent, text, plan)
    if plan.threads > 1:
        note(f"{shape}, threads {plan.threads}: beside one thread")
        for name, gain in threads_gain(graphs, text, plan).items():
            speed[name].append(gain)
    note(f"{shape}, threads {plan.threads}: sequence mode")
    first, rounds = VARIANTS[0], replace(plan, rounds=min(plan.rounds, SEQUENCE_ROUNDS))
    others = [sequence(graphs[first.name], opponent, text, rounds)]
    if start:
        note(f"{shape}, threads {plan.threads}: start-up and memory")
        others += start_figures(
            str(first.path(folder, shape)),
            shape,
            threads=plan.threads,
            starts=2,
            torch=opponent is not None,
        )
    return {
        "shape": shape,
        "threads": plan.threads,
        "variants": [
            {
                "activity": variant.activity,
                "weight_bits": variant.bits,
                "wanted_ratio": variant.wanted,
                "weight_bytes": weight_bytes(graphs[variant.name]),
                "weight_bytes_per_token": touched_bytes(
                    graphs[variant.name], runs[variant.name].activity, len(text)
                ),
                "event_shares": event_shares(graphs[variant.name], runs[variant.name]),
                "figures": in_json(speed[variant.name]),
            }
            for variant in VARIANTS
        ],
        "figures": in_json(others),
    }


def remarks(results: list[dict[str, Any]]) -> list[str]:
    """What a reader must know: where more threads made torch slower, the machine was busy.

    Threads that wait for each other lose most when other programs take their cores; the ratio
    to such a torch says nothing.
    """
    alone = {r["shape"]: torch_rate(r) for r in reversed(results)}  # first number of threads
    return [
        f"{r['shape']}, threads {r['threads']}: torch is slower than on fewer threads, so the "
        "machine was busy and this comparison means little; repeat it on a quiet one"
        for r in results
        if (alone[r["shape"]] or 0) > (torch_rate(r) or 0)
    ]


def torch_rate(result: dict[str, Any]) -> float | None:
    """Tokens/s of the torch step."""
    rate: float | None = result["variants"][0]["figures"]["generation"]["theirs"]
    return rate


def in_json(figures: list[Figure]) -> dict[str, Any]:
    """Figures under their names."""
    return {figure.name: figure.to_json() for figure in figures}


def show(results: list[dict[str, Any]]) -> None:
    """A line per artifact and number of threads, then the other figures."""
    print(
        f"{'shape':16} {'activity':8} bits thr {'tok/s':>7} {'torch':>7} {'ratio':>6} {'wanted':>6}"
        f" {'MB/tok':>7} {'GB/s':>6} {'read':>6} {'share':>5} wanted"
    )
    for result in results:
        for variant in result["variants"]:
            speed, reading = (variant["figures"][n] for n in ("generation", "weight_reading"))
            print(
                f"{result['shape']:16} {variant['activity']:8} {variant['weight_bits']:4}"
                f" {result['threads']:3} {speed['ours']:7.1f} {number(speed['theirs']):>7}"
                f" {number(speed['ratio']):>6} {variant['wanted_ratio']:6.1f}"
                f" {variant['weight_bytes_per_token'] / 1e6:7.1f} {reading['ours'] / 1e9:6.2f}"
                f" {reading['theirs'] / 1e9:6.2f} {reading['ratio']:5.2f} {SHARE_WANTED:6}"
            )
    for result in results:
        print(f"\n{result['shape']}, threads {result['threads']}")
        for variant in result["variants"]:
            if gain := variant["figures"].get("threads"):
                print(
                    f"  {variant['activity']}, {variant['weight_bits']} bits: "
                    f"{gain['ours']:.1f} {gain['unit']} on {result['threads']} threads, "
                    f"{gain['theirs']:.1f} on one; ratio {number(gain['ratio'])}"
                )
        for name, figure in result["figures"].items():
            scale, unit = (1e-6, "MB") if figure["unit"] == "bytes" else (1.0, figure["unit"])
            theirs = None if figure["theirs"] is None else figure["theirs"] * scale
            wanted = f" (wanted {SEQUENCE_WANTED})" if name == "sequence" else ""
            print(
                f"  {name:12} {figure['ours'] * scale:9.3f} {unit:9} {figure['against']}:"
                f" {number(theirs)}; ratio {number(figure['ratio'])}{wanted}"
            )


def number(value: float | None) -> str:
    """Two decimals, or a dash for what could not be measured."""
    return "-" if value is None else f"{value:.2f}"


def in_a_process(arguments: argparse.Namespace, folder: Path, shape: str, threads: int) -> Any:
    """:func:`measure` in a process whose libraries all keep to ``threads`` threads."""
    command = [sys.executable, __file__, "--measure", "--keep", str(folder), "--shapes", shape]
    command += ["--threads", str(threads), "--rounds", str(arguments.rounds)]
    command += ["--seconds", str(arguments.seconds), "--tokens", str(arguments.tokens)]
    if threads == arguments.threads[0]:
        command.append("--start")
    environment = {**os.environ, **thread_environment(threads)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shapes", type=lambda s: s.split(","), default=SHAPES.split(","), help=f"[{SHAPES}]"
    )
    parser.add_argument(
        "--threads", type=lambda s: [int(n) for n in s.split(",")], default=[1, 2], help="[1,2]"
    )
    parser.add_argument("--tokens", type=int, default=256, help="length of the text [256]")
    parser.add_argument("--rounds", type=int, default=8, help="turns of every side [8]")
    parser.add_argument("--seconds", type=float, default=0.3, help="per side and round [0.3]")
    parser.add_argument("--keep", type=Path, help="folder of artifacts to reuse and to leave")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON to write [results/]")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--start", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Build what is missing, measure, write the JSON file and print the table."""
    arguments = parse()
    if arguments.measure:
        plan = Plan(arguments.threads[0], arguments.rounds, arguments.seconds)
        (shape,) = arguments.shapes
        found = measure(arguments.keep, shape, plan, arguments.tokens, start=arguments.start)
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for shape in arguments.shapes:
            build(folder, shape)
        results = [
            in_a_process(arguments, folder, shape, threads)
            for shape in arguments.shapes
            for threads in arguments.threads
        ]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(
        json.dumps(
            {"machine": description(), "remarks": remarks(results), "results": results}, indent=1
        )
        + "\n"
    )
    show(results)
    for remark in remarks(results):
        note(remark)


if __name__ == "__main__":
    main()
