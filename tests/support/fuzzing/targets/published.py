"""Published runs. What was understood must be what the file says; a prediction of it is finite."""

from __future__ import annotations

import math
from importlib.resources import files
from pathlib import Path
from random import Random

from fuzzing.case import Case, Changed
from fuzzing.octets import damaged
from fuzzing.parts import special
from fuzzing.targets.profile import to_toml
from fuzzing.values import changed
from spikegpt_neuro.documents import read_toml
from spikegpt_neuro.evidence.boards import CHIP, Boards
from spikegpt_neuro.evidence.fitting import rows_of
from spikegpt_neuro.evidence.prediction import predict
from spikegpt_neuro.evidence.runs import FOLDER, LIBRARY, load_run
from spikegpt_neuro.hardware.profile import load_profile

FILE = "run.toml"
BASES = ("matmul-free-generation", "autoencoder-ethernet", "qp-solver")


class RunFile:
    """Runs with everything, without a time, and without activity."""

    def __init__(self) -> None:
        folder = Path(str(files(LIBRARY))) / FOLDER
        self._contents = [read_toml(folder / f"{name}.toml") for name in BASES]
        self._boards = Boards(load_profile(CHIP), {})
        for content in self._contents:
            _ = self._boards[content["board"]]

    def bases(self) -> list[Case]:
        return [Case({FILE: to_toml(content)}) for content in self._contents]

    def case(self, rng: Random) -> Case:
        content = rng.choice(self._contents)
        way = rng.randrange(10)
        if way < 2:
            return Case({FILE: damaged(to_toml(content), rng)})
        if way < 9:
            return Case({FILE: to_toml(changed(content, rng))})
        return Case(special({FILE: to_toml(content)}, rng))

    def read(self, folder: Path) -> object:
        run, content = load_run(folder / FILE), read_toml(folder / FILE)
        for part in ("activity", "busiest", "measured"):
            for name, entry in content.get(part, {}).items():
                if getattr(getattr(run, part), name).value != entry["value"]:
                    raise Changed(f"{part}.{name} is not what the file says")
        if run.activity is None:
            return run
        found = predict(run, self._boards[run.board])
        figures = (found.seconds, found.joules, found.joules_dynamic)
        if not all(math.isfinite(figure) and figure >= 0 for figure in figures):
            raise Changed(f"a prediction is {figures}")
        for row in rows_of(run):
            if not row.predicted(self._boards) > 0:
                raise Changed(f"{row.quantity} is predicted as nothing: no logarithm")
        return run


def make() -> RunFile:
    return RunFile()
