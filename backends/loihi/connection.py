"""Which Loihi 2 system to use: from options, the environment, or a configuration file.

What comes first decides, and says the whole of it:

1. options: ``slurm='partition[,board]'`` or ``host='address'``; ``chip_generation``
2. ``SPIKEGPT_NEURO_LOIHI_SLURM``, ``..._HOST``, ``..._CHIP_GENERATION``
3. Lava's own variables: ``SLURM`` with ``PARTITION`` and ``BOARD``, or ``NXSDKHOST``; ``LOIHI_GEN``
4. the file that ``config`` or ``SPIKEGPT_NEURO_LOIHI_CONFIG`` names, else
   ``~/.config/spikegpt-neuro/loihi.toml``, with the keys ``slurm``, ``host``, ``chip_generation``
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from spikegpt_neuro.backends.loihi.access import HOW_TO_GET_IT, is_installed
from spikegpt_neuro.descriptions import Diagnosis
from spikegpt_neuro.documents import read_toml
from spikegpt_neuro.errors import (
    CheckFailed,
    MissingBackend,
    SpikeGPTError,
    UnsupportedInput,
    UsageError,
)

PREFIX = "SPIKEGPT_NEURO_LOIHI_"
KEYS = ("slurm", "host", "chip_generation")
DEFAULT_FILE = Path("~/.config/spikegpt-neuro/loihi.toml")
DEFAULT_GENERATION = "N3B3"
GENERATIONS = ("N3B2", "N3B3", "N3C1", "N3D1")
SINFO_SECONDS = 20.0
NO_SYSTEM = (
    "give slurm='partition[,board]' or host='address' "
    f"(or set {PREFIX}SLURM or {PREFIX}HOST); sinfo lists partitions and boards"
)
NODE_COLUMNS = 4  # of sinfo -N: node, number of nodes, partition, state
ANY = "any"
"""``slurm='any'``: SLURM chooses the partition."""


@dataclass(frozen=True)
class Connection:
    """One Loihi 2 system.

    ``slurm``   partition[,board] of a SLURM cluster (``any``: SLURM chooses); or
    ``host``    address of a system on the network.
    ``source``  what said so: options, environment, or the path of a file.
    """

    slurm: str | None
    host: str | None
    chip_generation: str
    source: str

    @property
    def partition(self) -> str | None:
        name = (self.slurm or "").partition(",")[0].strip()
        return None if name in ("", ANY) else name

    @property
    def board(self) -> str | None:
        return (self.slurm or "").partition(",")[2].strip() or None


def find_connection(
    options: Mapping[str, str | None], environment: Mapping[str, str], file: str | None = None
) -> Connection | None:
    """The system that the first source to name one means; None where none does.

    Raises
    ------
    UsageError
        A source names both SLURM and a host, or an unknown chip generation.
    UnsupportedInput
        The configuration file cannot be read or has an unknown key.
    """
    found = list(_sources(options, environment, file))
    generation = next(
        (v["chip_generation"] for _, v in found if v.get("chip_generation")), DEFAULT_GENERATION
    )
    if generation not in GENERATIONS:
        known = ", ".join(GENERATIONS)
        raise UsageError(f"chip generation {generation!r}: Loihi 2 has {known}")
    for source, values in found:
        slurm, host = values.get("slurm"), values.get("host")
        if slurm and host:
            raise UsageError(f"{source}: names a SLURM partition and a host; give one of them")
        if slurm or host:
            return Connection(slurm or None, host or None, generation, source)
    return None


def describe(connection: Connection) -> str:
    """One line for a person."""
    where = connection.host or f"SLURM {connection.slurm}"
    return f"{where}, {connection.chip_generation} (from {connection.source})"


def _sources(
    options: Mapping[str, str | None], environment: Mapping[str, str], file: str | None
) -> Iterator[tuple[str, Mapping[str, str | None]]]:
    yield "options", options
    yield "environment", {key: environment.get(PREFIX + key.upper()) for key in KEYS}
    yield "Lava's environment", _of_lava(environment)
    named = file or environment.get(PREFIX + "CONFIG")
    if named == os.devnull:  # the usual way of saying that there is none
        return
    path = Path(named or DEFAULT_FILE).expanduser()
    if named or path.exists():
        yield str(path), _read(path)


def _of_lava(environment: Mapping[str, str]) -> Mapping[str, str | None]:
    slurm = None
    if environment.get("SLURM") == "1":
        board = environment.get("BOARD")
        slurm = (environment.get("PARTITION") or ANY) + (f",{board}" if board else "")
    host = environment.get("NXSDKHOST") if slurm is None else None
    return {"slurm": slurm, "host": host, "chip_generation": environment.get("LOIHI_GEN")}


def _read(path: Path) -> Mapping[str, str | None]:
    values = read_toml(path)
    for key, value in values.items():
        if key not in KEYS:
            expected = ", ".join(KEYS)
            raise UnsupportedInput(f"{path}: {key}: unknown key; expected one of {expected}")
        if not isinstance(value, str):
            raise UnsupportedInput(f"{path}: {key}: expected a text, found {value!r}")
    return values


def connect(connection: Connection | None) -> None:
    """Tell Lava which system to use; it checks that the system answers. Needs the extension.

    Raises
    ------
    UsageError
        No system is named.
    MissingBackend
        SLURM's or the network's commands are not on this machine.
    CheckFailed
        The partition, board or host does not exist or does not answer.
    """
    if connection is None:
        raise UsageError(f"no Loihi 2 system is named: {NO_SYSTEM}")
    from lava.utils import loihi

    command = "sinfo" if connection.host is None else "ping"
    if shutil.which(command) is None:
        remedy = "use a machine that reaches the system, or rehearse with rehearse=True"
        raise MissingBackend(f"{command} is not on this machine's PATH; {remedy}")
    generation = loihi.ChipGeneration[connection.chip_generation]
    try:
        if connection.host is not None:
            loihi.use_ethernet_host(connection.host, loihi_gen=generation)
        else:
            _check_cluster(connection)
            loihi.use_slurm_host(loihi_gen=generation)
    except (ValueError, OSError, subprocess.SubprocessError) as error:
        where = connection.host or connection.slurm
        raise CheckFailed(f"Loihi 2 at {where} ({connection.source}): {error}") from error
    for variable, value in (("PARTITION", connection.partition), ("BOARD", connection.board)):
        if value is not None:
            os.environ[variable] = value


def _check_cluster(connection: Connection) -> None:
    """Raise ValueError if the partition or board is not there, or is down.

    ``use_slurm_host`` would do so, but Lava 0.10 cannot read what sinfo prints: it takes the end
    of the last line for one more node. It is told no names, and they go where it puts them.
    """
    nodes = [row for row in _sinfo("-N") if len(row) >= NODE_COLUMNS]
    boards = {row[0]: (row[2].rstrip("*"), row[3]) for row in nodes}
    up = {partition for partition, state in boards.values() if "down" not in state}
    if connection.partition is not None and connection.partition not in up:
        known = ", ".join(sorted(up)) or "none"
        raise ValueError(f"no partition {connection.partition!r} is up; sinfo shows {known}")
    if connection.board is None:
        return
    partition, state = boards.get(connection.board, ("", "down"))
    if "down" in state:
        raise ValueError(f"board {connection.board!r} is not there or down; see sinfo -N")
    if connection.partition not in (None, partition):
        raise ValueError(f"board {connection.board!r} belongs to the partition {partition!r}")


def _sinfo(*arguments: str) -> list[list[str]]:
    """The words of every line below the heading."""
    command = ["sinfo", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=SINFO_SECONDS
    )
    return [line.split() for line in done.stdout.splitlines()[1:]]


def diagnose() -> Diagnosis:
    """Whether the Loihi extension is here, and the system that a run would use."""
    missing = {} if is_installed() else {"loihi": HOW_TO_GET_IT}
    system = None
    try:
        connection = find_connection({}, os.environ)
    except SpikeGPTError as error:  # a configuration that cannot be used is no system
        missing["loihi_system"] = str(error)
    else:
        if connection is None:
            missing["loihi_system"] = NO_SYSTEM
        else:
            system = describe(connection)
    found = {"loihi": "loihi" not in missing, "loihi_system": system}
    return Diagnosis(found, missing, optional=True)
