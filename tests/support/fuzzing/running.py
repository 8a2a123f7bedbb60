"""Many inputs, in forked children that are watched: whatever ends one is laid to its input.

Targets are made and read once before the first fork. A child takes a stretch of inputs of one
target and notes in shared memory which it is at, so that its parent knows what killed it, or what
it has to kill: an input that takes more than :data:`CPU_SECONDS` or :data:`MEMORY_BYTES`.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from random import Random

import numpy as np

from fuzzing.case import Case, Target
from fuzzing.judging import Finding, judge, learn_bases
from fuzzing.seeds import write_seed

CPU_SECONDS = 10.0
ASLEEP_SECONDS = 12.0  # for what waits for something that never comes
MEMORY_BYTES = 2 << 30
POLL_SECONDS = 0.05
STRETCH = 200
ALIKE_MOST = 3  # findings of one cause that are kept
NOTES = 6
AT, BEGUN, UNDERSTOOD, REFUSED, FOUND, SLOWEST_US = range(NOTES)
"""What a child notes: the input it is at, how many it has begun, and what came of them."""
PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Found:
    """A finding, and which input it is of; ``index`` None: one that was given as a file."""

    target: str
    index: int | None
    finding: Finding
    seed: Path | None = None

    def __str__(self) -> str:
        which = "" if self.index is None else f" {self.index}"
        kept = "" if self.seed is None else f"; kept in {self.seed}"
        lines = self.finding.text.strip().splitlines() or [""]
        return f"{self.target}{which}: {self.finding.kind}: {self.finding.where}: {lines[-1]}{kept}"


@dataclass
class Tally:
    """What came of the inputs of one target."""

    inputs: int = 0
    understood: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    findings: list[Found] = field(default_factory=list)
    causes: Counter[tuple[str, str]] = field(default_factory=Counter)


@dataclass(frozen=True)
class Work:
    """A stretch of inputs of one target: drawn by number, or given."""

    target: str
    first: int
    count: int
    given: tuple[Case, ...] = ()


def case_of(target: Target, name: str, seed: int, index: int) -> Case:
    """The input of this number."""
    return target.case(Random(f"{name} {seed} {index}"))


class Fuzzer:
    """``targets``, read once and ready; findings are kept in ``keep`` (None: they are not)."""

    def __init__(self, targets: Mapping[str, Target], seed: int, keep: Path | None) -> None:
        self.targets = targets
        self.seed = seed
        self.keep = keep
        self.tallies = {name: Tally() for name in targets}
        place = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
        with tempfile.TemporaryDirectory(prefix="fuzz-", dir=place) as folder:
            for name, target in targets.items():
                learn_bases(target, Path(folder) / name)

    def draw(self, inputs: int | None, seconds: float | None, workers: int = 1) -> None:
        """Judge ``inputs`` drawn inputs, dealt to the targets evenly, or as many as fit a time."""
        end = None if seconds is None else time.monotonic() + seconds
        self._run(self._drawn(inputs, end), workers)

    def replay(self, cases: Sequence[tuple[str, Case]]) -> None:
        """Judge given inputs."""
        self._run(iter([Work(name, 0, 1, (case,)) for name, case in cases]), 1)

    def _drawn(self, inputs: int | None, end: float | None) -> Iterator[Work]:
        share = None if inputs is None else -(-inputs // len(self.targets))
        first = 0
        while share is None or first < share:
            for name in self.targets:
                if end is not None and time.monotonic() > end:
                    return
                count = STRETCH if share is None else min(STRETCH, share - first)
                yield Work(name, first, count)
            first += STRETCH

    def _run(self, works: Iterator[Work], workers: int) -> None:
        running: list[_Child] = []
        try:
            while True:
                while len(running) < workers and (work := next(works, None)) is not None:
                    running.append(_Child(self, work))
                if not running:
                    return
                time.sleep(POLL_SECONDS / 5)
                for child in [c for c in running if c.has_ended()]:
                    running.remove(child)
                    rest = self._settle(child)
                    if rest is not None:
                        running.append(_Child(self, rest))
        finally:
            for child in running:
                child.kill()

    def _settle(self, child: _Child) -> Work | None:
        """Take over what a child noted; what is left of its work where it did not finish."""
        work, notes = child.work, child.notes
        tally = self.tallies[work.target]
        tally.inputs += int(notes[BEGUN])
        tally.understood += int(notes[UNDERSTOOD])
        tally.refused += int(notes[REFUSED])
        tally.seconds += child.seconds
        tally.slowest = max(tally.slowest, notes[SLOWEST_US] / 1e6)
        for index, finding in child.findings():
            self._note(work, index, finding)
        if child.lost is None:
            return None
        at = int(notes[AT])
        self._note(work, at, child.lost)
        done = at + 1 - work.first
        return Work(work.target, at + 1, work.count - done) if done < work.count else None

    def _note(self, work: Work, index: int, finding: Finding) -> None:
        tally = self.tallies[work.target]
        cause = (finding.kind, finding.where)
        tally.causes[cause] += 1
        if tally.causes[cause] > ALIKE_MOST:
            return
        number = None if work.given else index
        seed = None
        if self.keep is not None:
            self.keep.mkdir(parents=True, exist_ok=True)
            seed = self.keep / f"{work.target}-{self.seed}-{index}.json"
            write_seed(seed, work.target, self._case(work, index), f"{cause}: {finding.text}")
        tally.findings.append(Found(work.target, number, finding, seed))

    def _case(self, work: Work, index: int) -> Case:
        if work.given:
            return work.given[index]
        return case_of(self.targets[work.target], work.target, self.seed, index)

    def judge_all(self, work: Work, notes: _Notes, folder: Path, log: int) -> Iterator[_Entry]:
        """In the child: judge every input, noting the progress; gives the findings."""
        target = self.targets[work.target]
        for index in range(work.first, work.first + work.count):
            notes[AT] = index
            notes[BEGUN] += 1
            begin = time.process_time()
            before = os.fstat(log).st_size
            found = judge(target, self._case(work, index), folder / "case")
            micros = int(1e6 * (time.process_time() - begin))
            notes[SLOWEST_US] = max(notes[SLOWEST_US], micros)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            if isinstance(found, bool) and micros > 1e6 * CPU_SECONDS:
                found = Finding("time", f"{micros / 1e6:.1f} s of work", "too long")
            if isinstance(found, bool) and peak > MEMORY_BYTES:
                found = Finding("memory", f"{peak:,} bytes resident", "peak")
            if isinstance(found, bool) and os.fstat(log).st_size > before:
                text = os.pread(log, 4000, before).decode("utf-8", "replace")
                found = Finding("noise", text, text[:40])
            if isinstance(found, Finding):
                notes[FOUND] += 1
                yield index, found
            else:
                notes[UNDERSTOOD if found else REFUSED] += 1


_Entry = tuple[int, Finding]
_Notes = np.ndarray[tuple[int], np.dtype[np.int64]]


class _Child:
    """One forked process and what it notes."""

    def __init__(self, fuzzer: Fuzzer, work: Work) -> None:
        self.work = work
        self.notes: _Notes = np.frombuffer(mmap.mmap(-1, NOTES * 8), np.int64)
        self.lost: Finding | None = None
        self._begin = time.monotonic()
        self._seen: tuple[int, float, float] = (-1, 0.0, 0.0)
        place = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-", dir=place)
        self._path = Path(self._folder.name)
        self._pid = os.fork()
        if self._pid == 0:
            self._be_child(fuzzer)

    @property
    def seconds(self) -> float:
        return self._end - self._begin

    def has_ended(self) -> bool:
        """Whether it is gone; ends it if it takes too much."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid == 0:
            excess = self._excess()
            if excess is None:
                return False
            self.lost = excess
            self.kill()
        elif status:
            code = os.waitstatus_to_exitcode(status)
            self.lost = Finding("crash", f"{self._log()}\nended with {code}", f"ended with {code}")
        self._end = time.monotonic()
        return True

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def findings(self) -> list[_Entry]:
        """What it found; its folder is then gone."""
        file = self._path / "findings"
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
        entries = [json.loads(line) for line in lines if line.endswith("]")]
        self._folder.cleanup()
        return [(index, Finding(*finding)) for index, finding in entries]

    def _log(self) -> str:
        return (self._path / "log").read_text("utf-8", "replace")[-1500:].strip()

    def _excess(self) -> Finding | None:
        resident = int(Path(f"/proc/{self._pid}/statm").read_text().split()[1]) * PAGE
        if resident > MEMORY_BYTES:
            return Finding("memory", f"{resident:,} bytes resident", "resident")
        stat = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        cpu, now = (int(stat[11]) + int(stat[12])) / TICKS, time.monotonic()
        at, cpu_before, awake = self._seen
        if at != self.notes[BEGUN]:
            self._seen = (int(self.notes[BEGUN]), cpu, now)
        elif cpu - cpu_before > CPU_SECONDS:
            return Finding("time", f"{cpu - cpu_before:.1f} s of work", "too long")
        elif stat[0] == "R":  # a busy machine may let it wait
            self._seen = (at, cpu_before, now)
        elif now - awake > ASLEEP_SECONDS:
            return Finding("time", f"asleep for {now - awake:.1f} s", "asleep")
        return None

    def _be_child(self, fuzzer: Fuzzer) -> None:
        code = 1
        try:
            log = os.open(self._path / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.chdir(self._path)
            _limit_memory()
            with (self._path / "findings").open("w", encoding="utf-8") as findings:
                for index, found in fuzzer.judge_all(self.work, self.notes, self._path, log):
                    findings.write(json.dumps([index, astuple(found)]) + "\n")
                    findings.flush()
            code = 0
        finally:
            os._exit(code)


def _limit_memory() -> None:
    """What is asked for beyond the limit is refused: an input must not take the machine."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    used = int(fields["VmData"].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY_BYTES, used + MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MEMORY_BYTES, MEMORY_BYTES))
