r"""A job folder: everything that a measured run needs, to be copied to the Loihi host.

::

    job.json         options of the run: what is on the chip, which system, which probes; and the
                     checksums of the files that are not to be edited
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
``record.json`` (the measured record) or ``rehearsal.json``. Everything in the folder is read and
checked before hardware time is spent; a record that cannot be saved is printed.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.loihi.backend import LoihiBackend
from spikegpt_neuro.backends.loihi.capacity import Capacity, capacity
from spikegpt_neuro.backends.loihi.job import PROBES, Probe
from spikegpt_neuro.backends.loihi.outcome import measured_profile, rehearsal
from spikegpt_neuro.documents import MEGABYTE, Kind, decode_json, read_bytes
from spikegpt_neuro.energy.record import to_json
from spikegpt_neuro.errors import CannotWrite, CheckFailed, SpikeGPTError, UnsupportedInput
from spikegpt_neuro.files import (
    atomic_directory,
    check_output_directory,
    check_output_file,
    sha256_of,
    write_atomically,
)
from spikegpt_neuro.graph.artifact import CONFIG, load
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import Profile, load_profile, profile_names
from spikegpt_neuro.mapping.placement import load_placement
from spikegpt_neuro.running import check_tokens
from spikegpt_neuro.signals import ending_as_interrupted

JOB = "job.json"
FORMAT = "spikegpt-neuro loihi job"
ARTIFACT, TOKENS, PLACEMENT = "graph.sgn", "tokens.npy", "placement.json"
ARTIFACT_CONFIG = f"{ARTIFACT}/{CONFIG}"
OWN_PROFILE = "profile.toml"
RECORD, REHEARSAL = "record.json", "rehearsal.json"
FILE_LIMIT = 512 * MEGABYTE
SECONDS_MAX = 1e9
ADAPTER_STEPS_MAX = 1000
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
    with atomic_directory(path, force=force) as folder:
        graph.save(str(folder / ARTIFACT))
        (folder / TOKENS).write_bytes(_saved(np.asarray(tokens, np.int64)))
        plan.placement().save(folder / PLACEMENT)
        if not installed:
            shutil.copy(profile.file, folder / OWN_PROFILE)
            load_profile(folder / OWN_PROFILE)  # its base must be an installed one
        content = {
            "format": FORMAT,
            "hw": profile.name if installed else OWN_PROFILE,
            "probes": list(probes),
            "options": options,
            "files": {name: sha256_of(folder / name) for name in _sealed(installed)},
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


def _saved(tokens: NDArray[np.int64]) -> bytes:
    """The content of an .npy file; numpy itself would not say why it cannot write one."""
    content = BytesIO()
    np.save(content, tokens)
    return content.getvalue()


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
    # exec: SLURM's signals must reach the run.
    lines += ["# Submit it from within the folder.", directory, "exec sh run.sh"]
    return "\n".join([*lines, ""])


def _sealed(installed: bool) -> tuple[str, ...]:
    """Files with a checksum in the job; ``config.json`` has those of the artifact's others."""
    return (ARTIFACT_CONFIG, TOKENS, PLACEMENT, *(() if installed else (OWN_PROFILE,)))


@dataclass(frozen=True)
class _Options:
    """How the backend is made; what a host's user may edit."""

    slurm: str | None
    host: str | None
    chip_generation: str | None
    layers: str | None
    only_projection: tuple[str, ...]
    adapter_steps: tuple[int, int]
    time_limit: float | None


@dataclass(frozen=True)
class _Content:
    """``job.json``, beside its format."""

    hw: str
    probes: tuple[Probe, ...]
    options: _Options
    files: dict[str, str]


@dataclass(frozen=True)
class Package:
    """What a job folder asks for."""

    backend: LoihiBackend
    graph: SpikingGraph
    tokens: NDArray[np.int64]
    profile: Profile
    plan: Capacity
    probes: tuple[Probe, ...]


def read_package(folder: Path, rehearse: bool) -> Package:
    """Read and check all of a job folder.

    Raises :class:`UnsupportedInput` naming the file that is damaged, missing or edited where it
    must not be, and what the backend raises for options that contradict each other.
    """
    content = _read(folder)
    own = content.hw == OWN_PROFILE
    for name in _sealed(not own):
        data = read_bytes(folder / name, FILE_LIMIT)
        if hashlib.sha256(data).hexdigest() != content.files.get(name):
            raise UnsupportedInput(f"{folder / name}: checksum differs from {JOB}; {AGAIN}")
    graph = load(folder / ARTIFACT)
    profile = load_profile(folder / OWN_PROFILE if own else _installed(content.hw, folder))
    load_placement(folder / PLACEMENT).check_origin(graph, profile)
    options = asdict(content.options)
    backend = LoihiBackend(rehearse=rehearse, artifact=str(folder / ARTIFACT), **options)
    backend.settings()
    plan = capacity(backend.deployment(graph), profile)
    tokens = check_tokens(graph, _read_tokens(folder / TOKENS))
    return Package(backend, graph, tokens, profile, plan, content.probes)


def _read(folder: Path) -> _Content:
    path = folder / JOB
    data = read_bytes(path, MEGABYTE)
    if decode_json(data, Kind, where=str(path), remedy=AGAIN).format != FORMAT:
        raise UnsupportedInput(f"{path} is not a job; {AGAIN}")
    content = decode_json(data, _Content, where=str(path), remedy=AGAIN)
    limit, steps = content.options.time_limit, content.options.adapter_steps
    if limit is not None and not 0 < limit <= SECONDS_MAX:
        raise UnsupportedInput(f"{path}: options.time_limit is {limit:g} s, expected more than 0")
    if not all(0 <= count <= ADAPTER_STEPS_MAX for count in steps):
        raise UnsupportedInput(
            f"{path}: options.adapter_steps is {list(steps)}, expected 0 to {ADAPTER_STEPS_MAX}"
        )
    return content


def _installed(name: str, folder: Path) -> str:
    """The name of a profile that is installed: no other file of the host is read."""
    if name not in profile_names():
        known = ", ".join(profile_names())
        raise UnsupportedInput(f"{folder / JOB}: hw is {name!r}, expected one of {known}")
    return name


def _read_tokens(path: Path) -> NDArray[np.int64]:
    """What ``np.save`` wrote of int64 tokens; no array is made that the file does not hold."""
    stream = io.BytesIO(read_bytes(path, FILE_LIMIT))
    try:
        version = np.lib.format.read_magic(stream)
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    except Exception as error:  # the header is a Python literal: many things can be wrong with it
        raise UnsupportedInput(f"{path}: not tokens: {error}; {AGAIN}") from error
    data = stream.read()
    if version != (1, 0) or dtype != np.int64 or shape != (len(data) // 8,) or len(data) % 8:
        raise UnsupportedInput(f"{path}: not tokens, expected (T,) of int64; {AGAIN}")
    return np.frombuffer(data, np.int64)


def run_package(folder: Path, rehearse: bool) -> Mapping[str, Any]:
    """Do the job of a folder; returns the figures and leaves the record beside them.

    A record that cannot be saved is printed. Cut short, a measured run keeps what its finished
    probes said where time and energy are among them, and then raises KeyboardInterrupt.
    """
    package = read_package(folder, rehearse)
    target = folder / (REHEARSAL if rehearse else RECORD)
    check_output_file(target, force=True)
    backend, graph, tokens = package.backend, package.graph, package.tokens
    if rehearse:
        figures = rehearsal(backend, graph, tokens)
        _keep(target, figures)
        if figures["first_mismatch"] is not None:
            raise CheckFailed(f"the rehearsal differs from the reference: {figures}")
        return figures
    found = measured_profile(backend, package.plan, tokens, package.probes)
    _keep(target, to_json(found.record))
    if found.is_cut_short:
        raise KeyboardInterrupt
    return {**found.figures, "comparison": [asdict(row) for row in found.rows]}


def _keep(target: Path, content: Mapping[str, Any]) -> None:
    """Write a result; print it where that cannot be, for the run may have been dear."""
    try:
        write_atomically(target, json.dumps(content) + "\n")
    except CannotWrite:
        print(json.dumps(content), flush=True)
        raise


def main(arguments: Sequence[str]) -> int:
    """``package FOLDER [--rehearse]``: JSON on standard output, one line for an error."""
    try:
        with ending_as_interrupted() as ended:
            figures = run_package(Path(arguments[0]), "--rehearse" in arguments[1:])
    except KeyboardInterrupt:
        print(f"error: {ended.word}", file=sys.stderr)
        return ended.exit_code
    except SpikeGPTError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
