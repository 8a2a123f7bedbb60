"""Every verb that writes: what to type, for tests of outputs; and killed at random moments.

``python writing_verbs.py FOLDER NAME KILLS SEED``: FOLDER holds what :func:`prepare` made. Prints,
as JSON, what each kill left and what stood there after the next run. A process with everything
imported forks one for each run, so that most of the moments lie in the work.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TEXT = "The quick brown fox returns a list of all items, if any.\n" * 12
NEEDS = {"nir": "nir", "netx": "h5py", "onnx": "onnx", "onnx-float": "onnx", "report": "jinja2"}
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:e-?\d+)?")
Words = list[object]


def commands(folder: Path, output: Path, model: str = "model") -> dict[str, Words]:
    """Name -> the words that write ``output`` from ``model``, replacing what is there."""
    artifact = folder / f"{model}.sgn"
    text = ["--prompt", "The quick", "--tokens", 8, "-q"]
    source = [folder / f"{model}.pth", "--vocab", folder / "vocab.json"]
    replacing = ["-o", output, "-q", "--force"]
    place: Words = ["map", artifact, "--hw", "loihi2", "--activity", folder / "text.txt", "-q"]
    cycle: Words = ["simulate", artifact, "--backend", "cycle", "--hw", "loihi2", *text]
    job: Words = ["profile", artifact, "--backend", "loihi", "--dry-run", *text]
    export = ["export", artifact, *replacing, "--to"]
    return {
        "convert": ["convert", *source, "--calibrate", folder / "text.txt", *replacing],
        "nir": [*export, "nir"],
        "netx": [*export, "netx"],
        "onnx": [*export, "onnx"],
        "onnx-float": ["export", *source, *replacing, "--to", "onnx-float"],
        "placement": [*place, "-o", output],
        "map": [*place, "--svg", output],
        "report": ["report", artifact, "-o", output, *text, "--force"],
        "trace": [*cycle, "--trace", output],
        "congestion": [*cycle, "--svg", output],
        "job": [*job, "-o", output, "--force"],
    }


NAMES = tuple(commands(Path(), Path()))


def prepare(folder: Path) -> Path:
    """Checkpoints, artifacts, a vocabulary and a text: ``model``, and ``other`` of more layers."""
    from random_models import random_model, save_upstream, write_vocabulary
    from verbs import verb

    write_vocabulary(folder / "vocab.json")
    (folder / "text.txt").write_text(TEXT)
    for layers, name in enumerate(("model", "other"), start=1):
        save_upstream(folder / f"{name}.pth", random_model(layers=layers, width=16))
        done = verb(*commands(folder, folder / f"{name}.sgn", name)["convert"])
        assert done.code == 0, done.err
    return folder


def content(path: Path) -> dict[str, bytes]:
    """The files of an output."""
    if path.is_dir():
        return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}
    return {".": path.read_bytes()} if path.exists() else {}


def forked(words: Sequence[object], kill_after: float | None = None) -> tuple[int, float]:
    """Run a verb in a process of its own; its status and seconds."""
    begin = time.perf_counter()
    child = os.fork()
    if child == 0:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1):
            os.dup2(nowhere, number)
        from spikegpt_neuro.cli import run

        os._exit(run([str(word) for word in words]))
    ended, status = os.waitpid(child, 0 if kill_after is None else os.WNOHANG)
    while not ended:  # a child that is not waited for keeps its number: no other one is killed
        if time.perf_counter() - begin > (kill_after or 0):
            os.kill(child, signal.SIGKILL)
            ended, status = os.waitpid(child, 0)
            break
        time.sleep(0.001)
        ended, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status), time.perf_counter() - begin


def shape_of(found: dict[str, bytes]) -> dict[str, bytes]:
    """Seconds of a run differ: text without its numbers."""
    return {name: NUMBER.sub(b"#", data) for name, data in found.items()}


def main(folder: Path, name: str, kills: int, seed: int) -> list[dict[str, Any]]:
    import spikegpt_neuro.backends.cycle.backend
    import spikegpt_neuro.backends.loihi.package
    import spikegpt_neuro.converters.exporters.registry
    import spikegpt_neuro.evaluation
    import spikegpt_neuro.reports.page  # noqa: F401

    place = folder / f"place-{name}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    output = place / "out"
    old, new = (commands(folder, output, model)[name] for model in ("other", "model"))
    forked(new)  # kernels are compiled and kept
    seconds = min(forked(new)[1] for _ in range(2))
    fresh = shape_of(content(output))
    rng = random.Random(seed)
    found = []
    for number in range(kills):
        shutil.rmtree(place)
        place.mkdir()
        replacing = number % 2 == 0
        if replacing:
            assert forked(old)[0] == 0
        before = content(output)
        status, _ = forked(new, rng.uniform(0, seconds))
        after = content(output)
        seen = "old" if after == before else "new" if shape_of(after) == fresh else "neither"
        hidden = len(list(place.iterdir())) - output.exists()
        again, _ = forked(new)
        then = "new" if shape_of(content(output)) == fresh else "other"
        left = sorted(path.name for path in place.iterdir())
        found.append(
            {"status": status, "replacing": replacing, "seen": seen, "hidden": hidden}
            | {"again": again, "then": then, "left": left}
        )
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))))
