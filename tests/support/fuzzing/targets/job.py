"""Job folders, as ``profile --backend loihi --dry-run`` writes them: read as before a measured run.

Damage of what the host's user is not to edit must be seen.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from random import Random

import numpy as np

from fuzzing.case import Case
from fuzzing.octets import damaged
from fuzzing.parts import Files, lost, special, tiny_graph
from fuzzing.values import changed, to_json
from spikegpt_neuro.backends.loihi.backend import LoihiBackend
from spikegpt_neuro.backends.loihi.package import JOB, read_package, write_package
from spikegpt_neuro.hardware.profile import load_profile

OWN = b'schema = 1\ntitle = "ours"\nbase = "loihi2"\n'
SCRIPTS = ("check.py", "run.sh", "README.txt", "job.slurm")


class JobFolder:
    """A job on an installed profile, and one on the user's own."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as place:
            own = Path(place) / "ours.toml"
            own.write_bytes(OWN)
            self._bases = [_written(Path(place) / "a", "loihi2"), _written(Path(place) / "b", own)]

    def bases(self) -> list[Case]:
        return [Case(files, same=True) for files in self._bases]

    def case(self, rng: Random) -> Case:
        files = dict(rng.choice(self._bases))
        way = rng.randrange(12)
        name = rng.choice(sorted(files))
        content = files[name]
        assert isinstance(content, bytes)
        if way < 4 and name != JOB:
            return Case({**files, name: damaged(content, rng)}, same=not name.endswith("README.md"))
        if way < 10:
            job = files[JOB]
            assert isinstance(job, bytes)
            data = to_json(changed(json.loads(job), rng)) if way > 1 else damaged(job, rng)
            return Case({**files, JOB: data})
        return Case(special(files, rng) if way < 11 else lost(files, rng))

    def read(self, folder: Path) -> object:
        found = read_package(folder, rehearse=True)
        return found.tokens.tobytes(), found.profile.sha256, found.plan.pieces, found.probes


def make() -> JobFolder:
    return JobFolder()


def _written(folder: Path, hw: str | Path) -> Files:
    tokens = np.arange(12)
    write_package(folder, LoihiBackend(layers="0"), tiny_graph(), tokens, load_profile(hw))
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and file.relative_to(folder).parts[0] != "lib"
        and file.name not in SCRIPTS
    }
