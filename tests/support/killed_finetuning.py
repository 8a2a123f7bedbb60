"""kill -9 of a fine-tuning at random moments, and what its next runs make of it.

``python killed_finetuning.py CHECKPOINT FOLDER``: a run that is left alone, and one that is killed
again and again and goes on each time. Prints, as JSON, how often it was killed before it came to
its end, whether the two left the same bytes, and what is in FOLDER. A process with everything
imported forks one for each run, so that most of the moments lie in the work.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import spikegpt_neuro as sgn
from spikegpt_neuro.converters.reader import read_checkpoint

from random_models import random_tokens

KEPT = ("config.json", "model.safetensors", "optimizer.safetensors", "log.jsonl")
MOST_KILLS = 6
OPTIONS: dict[str, Any] = {
    "synops": 0.4,
    "prune": 0.3,
    "steps": 30,
    "batch": 2,
    "window": 12,
    "learning_rate": 0.01,
    "threads": 1,
    "save_every": 1,
    "device": "cpu",
    "resume": True,
}


def tune(checkpoint: Path, output: Path) -> None:
    tokens = random_tokens(read_checkpoint(checkpoint), 900)
    sgn.finetune(checkpoint, tokens, output, **OPTIONS)


def killed_after(seconds: float, checkpoint: Path, output: Path) -> int:
    """One run in a process of its own; its status."""
    child = os.fork()
    if child == 0:
        try:
            tune(checkpoint, output)
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
        os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)  # not waited for yet: no other process has its number
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(checkpoint: Path, folder: Path) -> dict[str, Any]:
    whole, killed = folder / "whole", folder / "killed"
    tune(checkpoint, whole)  # kernels are loaded
    shutil.rmtree(whole)
    begin = time.perf_counter()
    tune(checkpoint, whole)
    seconds = time.perf_counter() - begin
    rng, kills, status = random.Random(3), 0, -signal.SIGKILL
    while status == -signal.SIGKILL and kills < MOST_KILLS:
        status = killed_after(rng.uniform(0.1, 0.6) * seconds, checkpoint, killed)
        kills += status == -signal.SIGKILL
        if killed.exists():
            read_checkpoint(killed)
    tune(checkpoint, killed)
    equal = [(whole / name).read_bytes() == (killed / name).read_bytes() for name in KEPT]
    left = sorted(path.name for path in folder.iterdir())
    return {"kills": kills, "equal": all(equal), "left": left}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
