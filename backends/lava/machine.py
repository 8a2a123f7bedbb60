"""What a network of Lava processes takes of the machine, and what the machine lets it have.

Everything is checked before the start: Lava itself waits for ever, or dies of a signal, where a
limit is reached. Sources of the limits: ``setrlimit``, the container's control group, ``/dev/shm``.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from spikegpt_neuro.errors import DoesNotFit

SLOTS = 64
"""Arrays for which a channel of Lava's has memory."""
# Measured: 4 to 95 processes, widths 128 and 512.
DESCRIPTORS_PER_PROCESS = 10
DESCRIPTORS_PER_CHANNEL = 2
DESCRIPTORS_BESIDE = 32
MEGABYTES_PER_PROCESS = 15
BYTES_PER_SYNAPSE = 20
TASKS_PER_PROCESS = 6  # itself and its threads
TASKS_PER_CHANNEL = 2
TASKS_BESIDE = 10
CONTROL_CHANNELS_PER_PROCESS = 2
SEMAPHORES_PER_PROCESS = 3
SEMAPHORES_PER_CHANNEL = 2
WORD_BYTES, PAGE_BYTES, MEGABYTE = 4, 4096, 1 << 20
ADDRESSES_BESIDE = 1100  # megabytes: Python with numpy, numba and Lava
THREADS_PER_PROCESS = 2  # of the runtime service, for each process that it directs
THREAD_MEGABYTES = 2  # beside its stack
USUAL_STACK = 8

SHARED = Path("/dev/shm")  # noqa: S108 - only looked at
GROUPS = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/pids")
MAY_EXCEED_TASKS = (1 << 21) | (1 << 24)  # CAP_SYS_ADMIN, CAP_SYS_RESOURCE


@dataclass(frozen=True)
class Footprint:
    """``processes``: of the operating system; ``channels`` between them; ``synapses`` stored.

    ``words``  that the channels hold, 4 bytes each.
    """

    processes: int
    channels: int
    synapses: int = 0
    words: int = 0

    @property
    def descriptors(self) -> int:
        """Open files of the process that starts all others."""
        return (
            DESCRIPTORS_BESIDE
            + DESCRIPTORS_PER_PROCESS * self.processes
            + DESCRIPTORS_PER_CHANNEL * self.channels
        )

    @property
    def megabytes(self) -> int:
        """Memory of all processes."""
        return MEGABYTES_PER_PROCESS * self.processes + (
            self.synapses * BYTES_PER_SYNAPSE // 1_000_000
        )

    @property
    def tasks(self) -> int:
        """Processes and threads, as the system counts them for a user."""
        return TASKS_BESIDE + TASKS_PER_PROCESS * self.processes + TASKS_PER_CHANNEL * self.channels

    @property
    def addresses(self) -> int:
        """Megabytes of address space of the largest process."""
        threads = THREADS_PER_PROCESS * self.processes
        return ADDRESSES_BESIDE + threads * (_stack_megabytes() + THREAD_MEGABYTES)

    @property
    def shared_bytes(self) -> int:
        """Shared memory: channels, those that control the processes, and a page per semaphore."""
        control = CONTROL_CHANNELS_PER_PROCESS * self.processes
        semaphores = (
            SEMAPHORES_PER_CHANNEL * (self.channels + control)
            + SEMAPHORES_PER_PROCESS * self.processes
        )
        return WORD_BYTES * self.words + PAGE_BYTES * (self.channels + control + semaphores)


def check_machine(needs: Footprint, recorded: int, remedy: str = "use granularity='block'") -> None:
    """Raise :class:`DoesNotFit` if the processes cannot fit; ``remedy`` says what would help.

    ``recorded``: number of files that hold events.
    """
    for problem in _problems(needs, recorded):
        raise DoesNotFit(f"{needs.processes} Lava processes need about {problem} or {remedy}")


def _problems(needs: Footprint, recorded: int) -> Iterator[str]:
    """What is needed, the limit, and how it is raised."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = needs.descriptors + recorded
    if _exceeds(descriptors, files):
        yield f"{descriptors} open files, the limit is {files}: raise it (ulimit -Hn)"
    addresses, _ = resource.getrlimit(resource.RLIMIT_AS)
    if _exceeds(needs.addresses, addresses // MEGABYTE if addresses > 0 else addresses):
        yield (
            f"{needs.addresses} MB of address space each, the limit is {addresses // MEGABYTE} MB: "
            "raise it (ulimit -Sv)"
        )
    yield from _too_many_tasks(needs)
    yield from _too_little_shared_memory(needs)
    available = available_megabytes()
    if available is not None and needs.megabytes > available:
        yield f"{needs.megabytes} MB, {available} MB are available: end other programs"


def _exceeds(need: int, limit: int) -> bool:
    return limit != resource.RLIM_INFINITY and need > limit


def _too_many_tasks(needs: Footprint) -> Iterator[str]:
    _, limit = resource.getrlimit(resource.RLIMIT_NPROC)
    if limit != resource.RLIM_INFINITY and not _may_exceed_tasks():
        running = tasks_of_user()
        if needs.tasks + running > limit:
            yield (
                f"{needs.tasks} processes and threads, the limit is {limit} and {running} are "
                "there: raise it (ulimit -Hu)"
            )
    for group in GROUPS:
        with suppress(OSError, ValueError):  # no such group, or no limit ("max")
            limit = int((group / "pids.max").read_text("ascii"))
            running = int((group / "pids.current").read_text("ascii"))
            if needs.tasks + running > limit:
                yield (
                    f"{needs.tasks} processes and threads, the container's limit is {limit} and "
                    f"{running} are there: raise it (docker: pids-limit)"
                )


def _too_little_shared_memory(needs: Footprint) -> Iterator[str]:
    need = -(-needs.shared_bytes // MEGABYTE)
    free = free_megabytes(SHARED)
    if free is None or not os.access(SHARED, os.W_OK | os.X_OK):
        yield f"{need} MB of shared memory, and {SHARED} cannot be used: mount a tmpfs there"
    elif need > free:
        yield (
            f"{need} MB of shared memory, {free} MB are free in {SHARED}: make it larger (mount: "
            "remount,size=; docker: shm-size)"
        )


def raise_soft_limits() -> None:
    """Let this process have as many files, processes and threads as it may."""
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (hard, hard))


def available_megabytes() -> int | None:
    """Memory that can be had without swapping; None where the system does not tell."""
    return _number_in(Path("/proc/meminfo"), "MemAvailable", 1024)


def free_megabytes(folder: Path) -> int | None:
    """Room in a file system; None where there is no such folder."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize // MEGABYTE


def tasks_of_user() -> int:
    """Processes and threads of this user that run now."""
    count, user = 0, os.getuid()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if entry.stat().st_uid == user:
                count += _number_in(entry / "status", "Threads") or 0
    return count


def _may_exceed_tasks() -> bool:
    """Whether the limit on a user's processes does not hold for this one."""
    try:
        text = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return os.geteuid() == 0
    held = [int(line.split()[1], 16) for line in text.splitlines() if line.startswith("CapEff:")]
    return bool(held and held[0] & MAY_EXCEED_TASKS)


def _number_in(path: Path, name: str, divisor: int = 1) -> int | None:
    """The number that ``path`` gives under ``name``."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(found[0]) // divisor if found else None


def _stack_megabytes() -> int:
    """What every thread sets aside for its stack."""
    stack, _ = resource.getrlimit(resource.RLIMIT_STACK)
    return USUAL_STACK if stack == resource.RLIM_INFINITY else -(-stack // MEGABYTE)


def advice(text: str) -> str:
    """What to look at where an error's text is that of a limit that has been reached."""
    words = ("new thread", "Resource temporarily unavailable", "Cannot allocate memory")
    if any(word in text for word in words):
        return "; see the limits on processes and memory (ulimit -Su, ulimit -Sv)"
    if "Too many open files" in text:
        return "; see the limit on open files (ulimit -Hn)"
    if "No space left on device" in text:
        return f"; {_shared_memory_left()}"
    return ""


def fate(number: int) -> str:
    """What the signal that ended a process means."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    reasons = {
        "SIGBUS": f"no memory was left where it wrote; {_shared_memory_left()}",
        "SIGKILL": "by somebody, or by the system because memory was short",
        "SIGXCPU": "its limit on processor time was reached",
        "SIGXFSZ": "its limit on the size of files was reached",
    }
    return f"was ended by {name}" + (f": {reasons[name]}" if name in reasons else "")


def _shared_memory_left() -> str:
    free = free_megabytes(SHARED)
    return f"{SHARED} " + ("cannot be used" if free is None else f"has {free} MB left")
