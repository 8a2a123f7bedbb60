"""The whole way in seven commands: convert, look, listen, measure, verify, price, report.

Every command is printed before it runs, so that it can be typed again. The model is
``examples/pydoc-4x128.pth``; the text is the documentation of the running Python.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ARTIFACT = "build/demo.sgn"
REPORT = "build/demo.html"
CHECKPOINT = "examples/pydoc-4x128.pth"

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
    (
        "Bits per character on text it has not seen, beside the float original",
        f"evaluate {ARTIFACT} --corpus python-docs --limit 60000 --against {CHECKPOINT}",
    ),
    (
        "The same integers on Lava: every event of every population, every logit",
        f"simulate {ARTIFACT} --backend lava --corpus python-docs --tokens 256 --verify",
    ),
    (
        "What a token costs on Loihi 2, reading and writing",
        f"profile {ARTIFACT} --hw loihi2 --compare schedule=pipelined,fall-through",
    ),
    (
        "All of it on one page, with pictures",
        f"report {ARTIFACT} --against {CHECKPOINT} -o {REPORT} --force",
    ),
)


def main() -> int:
    """Run the steps in order; the first that fails ends the demo with its exit code."""
    begin = time.perf_counter()
    (ROOT / "build").mkdir(exist_ok=True)
    for number, (title, command) in enumerate(STEPS, start=1):
        print(f"\n[{number}/{len(STEPS)}] {title}\n$ spikegpt-neuro {command}", flush=True)
        program = [sys.executable, "-m", "spikegpt_neuro"]
        code = subprocess.run([*program, *shlex.split(command)], cwd=ROOT).returncode
        if code:
            return code
    seconds = time.perf_counter() - begin
    print(f"\nDone in {seconds:.0f} s; the artifact stays in {ARTIFACT}, the page in {REPORT}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
