"""The whole way: convert, look, listen, measure, verify, price; the sparse model, and a report.

Every command is printed before it runs, so that it can be typed again. The model is
``examples/pydoc-4x128.pth``; ``finetune`` made ``examples/pydoc-4x128-sparse`` of it; the text
is the documentation of the running Python. All run in this process, which reads that text once;
the sparse model is measured beside it while the report is made.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from spikegpt_neuro.cli import run
from spikegpt_neuro.cli.session import Invocation
from spikegpt_neuro.units import digits, scaled

ROOT = Path(__file__).resolve().parent.parent
ARTIFACT = "build/demo.sgn"
REPORT = "build/demo.html"
CHECKPOINT = "examples/pydoc-4x128.pth"
SPARSE = "build/demo-sparse.sgn"
EVALUATE = "--corpus python-docs --limit 60000"
PROFILE = "--hw loihi2 --compare schedule=pipelined,fall-through"

EVALUATED = f"evaluate {ARTIFACT} {EVALUATE} --against {CHECKPOINT}"
PROFILED = f"profile {ARTIFACT} {PROFILE}"
MADE_SPARSE = f"convert examples/pydoc-4x128-sparse -o {SPARSE} --force"
STEPS = (
    (
        "A float checkpoint becomes 8-bit integers",
        f"convert {CHECKPOINT} --vocab examples/pydoc-vocab.json -o {ARTIFACT} --force",
    ),
    ("What is in it", f"info {ARTIFACT}"),
    (
        "It still speaks",
        f'generate {ARTIFACT} "The built-in function" -n 200 --temperature 0.8 --seed 7',
    ),
    ("Bits per character on text it has not seen, beside the float original", EVALUATED),
    (
        "The same integers on Lava: every event of every population, every logit",
        f"simulate {ARTIFACT} --backend lava --corpus python-docs --tokens 32 --verify",
    ),
    ("What a token costs on Loihi 2, reading and writing", PROFILED),
    ("The same model after finetune, sparse", MADE_SPARSE),
    (
        "All of the first on one page, with pictures (and the sparse one is measured)",
        f"report {ARTIFACT} --against {CHECKPOINT} -o {REPORT} --force",
    ),
)
rounded, joules = digits, partial(scaled, unit="J")
ROWS: dict[str, tuple[str, Callable[[float], str]]] = {
    "bits per character, unseen text": ("bits_per_token", "{:.4f}".format),
    "synaptic operations over dense": ("synops_over_dense", "{:.3f}".format),
    "synaptic operations per token": ("synops_per_token", "{:,.0f}".format),
    "reading (pipelined): tokens/s": ("pipelined tokens_per_second", rounded),
    "reading: J/token": ("pipelined joules_per_token", joules),
    "writing (fall-through): tokens/s": ("fall-through tokens_per_second", rounded),
    "writing: J/token": ("fall-through joules_per_token", joules),
}

CLOSING = f"""
Done in {{seconds:.0f}} s. Shown: a float SpikeGPT as integers, its bits beside the float model's,
the same integers on Lava, joules on Loihi 2 with their range; then all of it after finetune.

Next:
  open {REPORT}                            all of it in pictures
  . .venv/bin/activate                            then, with your own checkpoint:
  spikegpt-neuro convert model.pth --vocab vocab.json -o model.sgn
  docs/first-half-hour.md                         the same by hand, step by step"""


def main() -> int:
    """Run the steps in order; the first that fails ends the demo with its exit code."""
    begin = time.perf_counter()
    os.chdir(ROOT)
    Path("build").mkdir(exist_ok=True)
    found: dict[str, Any] = {}
    with ProcessPoolExecutor(1, get_context("spawn")) as beside:
        for number, (title, command) in enumerate(STEPS, start=1):
            print(f"\n[{number}/{len(STEPS)}] {title}\n$ spikegpt-neuro {command}", flush=True)
            code, found[command] = carried_out(command)
            if code:
                return code
            if command == MADE_SPARSE:
                measured: Future[dict[str, Any]] = beside.submit(figures_of, SPARSE)
        dense, sparse = figures(found[EVALUATED], found[PROFILED]), measured.result()
    print(
        f"\nDense beside sparse, on loihi2, timing model {dense['timing']} "
        "(evaluate and profile of both):"
    )
    side_by_side(dense, sparse)
    seconds = time.perf_counter() - begin
    print(CLOSING.format(seconds=seconds))
    return 0


def carried_out(command: str) -> tuple[int, Any]:
    """Run a command here; its exit code, and what it found."""
    invocation = Invocation()
    code = run(shlex.split(command), invocation)
    return code, invocation.document


def figures_of(artifact: str) -> dict[str, Any]:
    """:func:`figures` of an artifact; prints nothing."""
    with redirect_stdout(StringIO()):
        commands = (f"evaluate {artifact} {EVALUATE} -q", f"profile {artifact} {PROFILE} -q")
        (_, score), (_, costs) = map(carried_out, commands)
    return figures(score, costs)


def figures(score: Mapping[str, Any], costs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What ``evaluate`` and ``profile`` measured, and by which timing model."""
    found = {name: score[name] for name in ("bits_per_token", "synops_over_dense")}
    for cost in costs:
        found |= {name: cost[name] for name in ("synops_per_token", "timing")}
        found[f"{cost['schedule']} tokens_per_second"] = cost["tokens_per_second"]
        found[f"{cost['schedule']} joules_per_token"] = cost["joules_per_token"]
    return found


def side_by_side(dense: dict[str, Any], sparse: dict[str, Any]) -> None:
    """A row per figure."""
    print(f"{'':34}{'dense':>10}{'sparse':>10}")
    for title, (name, form) in ROWS.items():
        print(f"{title:34}{form(dense[name]):>10}{form(sparse[name]):>10}")


if __name__ == "__main__":
    sys.exit(main())
