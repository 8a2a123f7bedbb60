r"""A job folder: everything that a measured run needs, to be copied to the Loihi host.

::

    job.json         options of the run: what is on the chip, which system, which probes
    graph.sgn/       the artifact
    tokens.npy       (T,) int64
    placement.json   where the mapper has room for the chip part
    profile.toml     the hardware profile, where it is the user's own
    lib/             this package, as it was when the job was written
    check.py         environment check, standard library only
    run.sh           checks, then measures; with --rehearse, on the CPU
    job.slurm        the same for SLURM
    README.txt

There, it needs Python 3.10 or later, the core's dependencies and Lava; no torch. It leaves
``record.json`` (the measured record) or ``rehearsal.json``.
"""

from __future__ import annotations

import importlib
import json
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.loihi.backend import LoihiBackend
from spikegpt_neuro.backends.loihi.capacity import capacity
from spikegpt_neuro.backends.loihi.job import PROBES, Probe
from spikegpt_neuro.backends.loihi.outcome import measured_profile, rehearsal
from spikegpt_neuro.documents import MEGABYTE, read_json
from spikegpt_neuro.energy.record import to_json
from spikegpt_neuro.errors import CheckFailed, SpikeGPTError, UnsupportedInput
from spikegpt_neuro.files import atomic_directory, check_output_directory, write_atomically
from spikegpt_neuro.graph.artifact import load
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import Profile, load_profile, profile_names

JOB = "job.json"
FORMAT = "spikegpt-neuro loihi job"
OWN_PROFILE = "profile.toml"
LIBRARY = ("spikegpt_neuro", "spikegpt_neuro.backends", "spikegpt_neuro.hw_profiles")
KEPT = (".py", ".toml", ".typed")
DEFAULT_MINUTES = 20
AGAIN = "write the job folder again"

RUN = """#!/bin/sh
# sh run.sh              measure on Loihi 2
# sh run.sh --rehearse   the same network on the CPU, compared with the reference
set -e
cd "$(dirname "$0")"
PYTHON="${PYTHON:-python3}"
export PYTHONPATH="$PWD/lib${PYTHONPATH:+:$PYTHONPATH}"
"$PYTHON" check.py "$@"
exec "$PYTHON" -m spikegpt_neuro.backends.loihi.package . "$@"
"""

README = """A measured run of a SpikeGPT on Loihi 2, written by spikegpt-neuro.

  python3 check.py        what this machine has and lacks
  sh run.sh --rehearse    the network on the CPU, every integer compared with the reference
  sh run.sh               the measured run: time, energy, activity; writes record.json
  sbatch job.slurm        the same through SLURM

Needs Python 3.10 or later, msgspec, numpy, numba, safetensors, tokenizers (and tomli on 3.10), Lava
(pip install lava-nc==0.10.0 on 3.10), and for the measured run Lava's Loihi extension.
PYTHON names another interpreter. job.json may be edited: slurm, host, chip_generation.
"""


def write_package(
    path: Path,
    backend: LoihiBackend,
    graph: SpikingGraph,
    tokens: NDArray[np.int64],
    profile: Profile,
    probes: Sequence[Probe] = PROBES,
    force: bool = False,
) -> Mapping[str, Any]:
    """Write the job folder, whole or not at all; returns what it holds.

    Raises :class:`DoesNotFit` where the chip part does not fit ``profile``.
    """
    check_output_directory(path, force, lambda old: (old / JOB).exists())
    plan = capacity(backend.deployment(graph), profile)
    connection = backend.settings().connection
    options = {
        "slurm": None if connection is None else connection.slurm,
        "host": None if connection is None else connection.host,
        "chip_generation": None if connection is None else connection.chip_generation,
        "layers": backend.layers,
        "only_projection": list(backend.only_projection),
        "adapter_steps": list(backend.adapter_steps),
        "time_limit": backend.time_limit,
    }
    installed = profile.name in profile_names()
    with atomic_directory(path) as folder:
        graph.save(str(folder / "graph.sgn"))
        np.save(folder / "tokens.npy", tokens)
        plan.placement().save(folder / "placement.json")
        if not installed:
            shutil.copy(profile.file, folder / OWN_PROFILE)
            load_profile(folder / OWN_PROFILE)  # its base must be an installed one
        content = {
            "format": FORMAT,
            "hw": profile.name if installed else OWN_PROFILE,
            "probes": list(probes),
            "options": options,
        }
        (folder / JOB).write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        _copy_library(folder / "lib")
        _write_scripts(folder, options)
    return {
        "path": str(path),
        "tokens": len(tokens),
        "chips": plan.chips,
        "cores": plan.cores,
        "trips": len(plan.deployment.trips),
        "run": f"sh {shlex.quote(str(path / 'run.sh'))}",
    }


def _copy_library(lib: Path) -> None:
    """Copy this package as it is now, without its converters and compiled files."""

    def unwanted(folder: str, names: list[str]) -> set[str]:
        kept = {n for n in names if n.endswith(KEPT) or (Path(folder) / n).is_dir()}
        return {n for n in names if n not in kept or n == "__pycache__"}

    for name in LIBRARY:
        source = importlib.import_module(name).__path__[0]
        shutil.copytree(source, lib.joinpath(*name.split(".")), ignore=unwanted, dirs_exist_ok=True)


def _write_scripts(folder: Path, options: Mapping[str, Any]) -> None:
    environment = importlib.import_module("spikegpt_neuro.backends.loihi.environment")
    assert environment.__file__ is not None
    shutil.copy(environment.__file__, folder / "check.py")
    (folder / "run.sh").write_text(RUN, "utf-8")
    (folder / "README.txt").write_text(README, "utf-8")
    (folder / "job.slurm").write_text(_slurm_script(options), "utf-8")


def _slurm_script(options: Mapping[str, Any]) -> str:
    partition, _, board = (options["slurm"] or "").partition(",")
    limit = options["time_limit"]
    minutes = DEFAULT_MINUTES if limit is None else -(-len(PROBES) * limit // 60)
    lines = ["#!/bin/sh", "#SBATCH --job-name=spikegpt-neuro", f"#SBATCH --time={minutes:.0f}"]
    if partition and partition != "any":
        lines.append(f"#SBATCH --partition={partition}")
    if board:
        lines.append(f"#SBATCH --nodelist={board}")
    directory = 'cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")}"'
    return "\n".join([*lines, "# Submit it from within the folder.", directory, "sh run.sh", ""])


def run_package(folder: Path, rehearse: bool) -> Mapping[str, Any]:
    """Do the job of a folder; returns the figures and leaves the record beside them."""
    content = _read(folder)
    options = content["options"]
    options["adapter_steps"] = tuple(options["adapter_steps"])
    backend = LoihiBackend(rehearse=rehearse, artifact=str(folder / "graph.sgn"), **options)
    graph = load(str(folder / "graph.sgn"))
    tokens = np.load(folder / "tokens.npy")
    own = content["hw"] == OWN_PROFILE
    profile = load_profile(folder / OWN_PROFILE if own else content["hw"])
    plan = capacity(backend.deployment(graph), profile)
    if rehearse:
        figures = rehearsal(backend, graph, tokens)
        write_atomically(folder / "rehearsal.json", json.dumps(figures) + "\n")
        if figures["first_mismatch"] is not None:
            raise CheckFailed(f"the rehearsal differs from the reference: {figures}")
        return figures
    found = measured_profile(backend, plan, tokens, content["probes"])
    write_atomically(folder / "record.json", json.dumps(to_json(found.record)) + "\n")
    return {**found.figures, "comparison": [asdict(row) for row in found.rows]}


def _read(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = read_json(folder / JOB, dict[str, Any], limit=MEGABYTE, remedy=AGAIN)
    if content.get("format") != FORMAT:
        raise UnsupportedInput(f"{folder / JOB} is not a job; {AGAIN}")
    return content


def main(arguments: Sequence[str]) -> int:
    """``package FOLDER [--rehearse]``: JSON on standard output, one line for an error."""
    try:
        figures = run_package(Path(arguments[0]), "--rehearse" in arguments[1:])
    except SpikeGPTError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
