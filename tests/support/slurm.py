"""A real SLURM on this machine, of one node, for as long as a test needs it."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from children import child

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "squeue")
SECONDS = 60
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
# dask-jobqueue asks for jobs that are long over
MinJobAge=3600
# a job that reached its time is killed soon after
KillWait=2
OverTimeLimit=0
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=6000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Why no SLURM can be started here; None where it can."""
    missing = [name for name in PROGRAMS if _program(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (packages slurm-wlm and munge)"
    if os.geteuid() != 0:
        return "SLURM's node needs root"
    try:
        pwd.getpwnam("munge")
        socket.gethostbyname(_host())
    except (KeyError, OSError) as error:
        return f"{error}"
    return None


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _host() -> str:
    return socket.gethostname().split(".")[0]


@contextmanager
def slurm() -> Iterator[Path]:
    """Start it; gives the path of ``slurm.conf``, for ``SLURM_CONF`` of whoever submits jobs."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
        folder.chmod(0o755)
        for name in ("munge", "state", "spool"):
            (folder / name).mkdir()
        stack.enter_context(_munge(folder / "munge"))
        conf = folder / "slurm.conf"
        ports = {"controller": _free_port(), "node": _free_port()}
        conf.write_text(CONFIGURATION.format(host=_host(), folder=folder, **ports))
        environment = os.environ | {"SLURM_CONF": str(conf)}
        for name in ("slurmctld", "slurmd"):
            with (folder / f"{name}.out").open("wb") as log:
                stack.enter_context(
                    child([str(_program(name)), "-D"], stdout=log, stderr=log, env=environment)
                )
        _wait(["sinfo", "-h", "-o", "%t"], "idle", environment, folder)
        try:
            yield conf
        finally:
            subprocess.run(["scancel", "--full", "-u", "root"], env=environment, check=False)
            _wait(["squeue", "-h"], "", environment, folder)


@contextmanager
def _munge(folder: Path) -> Iterator[None]:
    """Its authentication service, by a key of its own."""
    (folder / "key").write_bytes(os.urandom(128))
    for path in (folder, folder / "key"):
        shutil.chown(path, "munge", "munge")
    (folder / "key").chmod(0o400)
    names = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log"}
    options = [f"--{option}={folder / name}" for option, name in names.items()]
    command = [str(_program("munged")), "--foreground", "--force", *options]
    user = ["runuser", "-u", "munge", "--"]
    seed = f"--seed-file={folder / 'seed'}"
    quiet = subprocess.DEVNULL
    with child([*user, *command, seed], stdout=quiet, stderr=quiet) as process:
        for _ in range(SECONDS * 10):
            if (folder / "socket").exists():
                break
            time.sleep(0.1)
        yield
        subprocess.run(["pkill", "-P", str(process.pid)], check=False)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait(command: list[str], expected: str, environment: dict[str, str], folder: Path) -> None:
    """Until a command says what is expected."""
    said = ""
    for _ in range(SECONDS * 5):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        said = done.stdout.strip() + done.stderr.strip()
        if said == expected:
            return
        time.sleep(0.2)
    logs = "".join(file.read_text()[-2000:] for file in folder.glob("*.log"))
    raise AssertionError(f"{' '.join(command)} says {said!r}, expected {expected!r}; {logs}")
