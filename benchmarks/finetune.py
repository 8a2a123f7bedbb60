"""How fast fine-tuning learns, beside eager PyTorch with a Python loop over tokens.

    python benchmarks/finetune.py [--checkpoint CKPT] [--threads 1,2] [--output FILE]

Both sides take the same step in turns: the forward pass of the student with dead zones and
rounding, that of the unchanged model, and the gradient of their loss, over the same windows. Theirs
is ``spikegpt_neuro.training.plain``: WKV and LIF token by token in torch's operations, the rest in
parallel over tokens, differentiated by autograd, with torch's own threads. Ours divides the windows
among as many threads. Before they are timed, the gradients of both are compared in float64 (in
float32 a sum in another order moves a spike, and with it all that follows).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from spikegpt_neuro.benchmark.machine import description, thread_environment

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "finetune.json"
BATCH, WINDOW = 8, 256
ALIKE = 1e-6
"""Largest distance between the gradients of a tensor, of its length."""


def measure(checkpoint: str, threads: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Both sides on ``threads`` threads."""
    import torch

    from spikegpt_neuro.api import read_model
    from spikegpt_neuro.benchmark.rounds import take_turns
    from spikegpt_neuro.evaluation.corpus import python_documentation
    from spikegpt_neuro.training.gradients import Objective, Point, Threads, pool
    from spikegpt_neuro.training.network import EAGER, EXACT, FAST, Operations
    from spikegpt_neuro.training.recipe import Recipe
    from spikegpt_neuro.training.trainer import Trainer

    model = read_model(checkpoint)
    assert model.vocabulary is not None
    tokens = model.vocabulary.encode(python_documentation(), unknown="replace")
    recipe = Recipe(synops=0.3, batch=BATCH, window=WINDOW)
    trainer = Trainer.begin(model, tokens, recipe)
    point = trainer.student.point(trainer.scales, recipe.weight_bits)
    windows = trainer.windows()

    def gradients(does: Operations, threads: Threads) -> Any:
        objective = Objective(model.shape, trainer.teacher, recipe.distill, does)
        return threads.sums(objective, point, windows, 0.3).gradients

    def wide(narrow: Point) -> Point:
        tensors = {n: t.double() for n, t in narrow.tensors.items()}
        thresholds = {n: t.double() for n, t in narrow.thresholds.items()}
        return replace(narrow, tensors=tensors, thresholds=thresholds)

    def doubled(does: Operations) -> Any:
        objective = Objective(model.shape, wide(trainer.teacher), recipe.distill, does)
        return Threads(1, None).sums(objective, wide(point), windows[:2, :65], 0.3).gradients

    def side(does: Operations, threads: Threads | None) -> Any:
        def step() -> float:
            if threads is not None:
                gradients(does, threads)
            else:  # all windows at once, with torch's own threads
                torch.set_num_threads(count)
                gradients(does, Threads(1, None))
                torch.set_num_threads(1)
            return float(BATCH * WINDOW)

        return step

    count = threads
    with pool(threads) as many:
        distance = apart(*(doubled(does) for does in (EXACT, EAGER)))
        if distance > ALIKE:
            raise SystemExit(f"the gradients differ by {distance:.2g} of their length")
        sides = {"ours": side(FAST, many), "float32": side(EXACT, many), "eager": side(EAGER, None)}
        rates = take_turns(sides, rounds=rounds, seconds=seconds)
    return {
        "threads": threads,
        "gradients_apart": distance,
        "tokens_per_second": {name: rate.best for name, rate in rates.items()},
        "rounds": {name: list(rate.rounds) for name, rate in rates.items()},
        "ratio": rates["ours"].best / rates["eager"].best,
        "ratio_float32": rates["float32"].best / rates["eager"].best,
    }


def apart(one: Any, other: Any) -> float:
    """Largest distance between gradients of the same name, relative to their length."""
    return max(float((one[n] - other[n]).norm() / (other[n].norm() + 1e-12)) for n in other)


def main(arguments: list[str] | None = None) -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default=str(ROOT / "examples" / "pydoc-4x128.pth"))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--output", default=str(RESULTS))
    given = parser.parse_args(arguments)
    found = []
    for threads in map(int, given.threads.split(",")):
        result = measure(given.checkpoint, threads, given.rounds, given.seconds)
        found.append(result)
        rates = result["tokens_per_second"]
        print(
            f"{threads} thread{'s' * (threads > 1)}: {rates['ours']:,.0f} tokens/s "
            f"(float32 products {rates['float32']:,.0f}) / {rates['eager']:,.0f} eager = "
            f"{result['ratio']:.1f}x ({result['ratio_float32']:.1f}x)",
            flush=True,
        )
    content = {"machine": description(), "batch": BATCH, "window": WINDOW, "results": found}
    Path(given.output).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if "OMP_NUM_THREADS" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | thread_environment(2))
    main()
