"""What a fine-tuning keeps to go on: ``finetune.json``, ``log.jsonl`` and its state.

The state has no checksum. What was understood must be what its header says of its bytes, and the
next step must be taken or refused.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from fuzzing.case import Case, Changed
from fuzzing.octets import damaged
from fuzzing.parts import Files, digest, lost, special, tiny_model
from fuzzing.targets.safetensors import joined, split, stored
from fuzzing.values import changed, to_json
from spikegpt_neuro.converters.writer import checkpoint_files
from spikegpt_neuro.training.gradients import pool
from spikegpt_neuro.training.keeping import ASKED, LOG, META, STATE, Asked, Folder
from spikegpt_neuro.training.recipe import Recipe
from spikegpt_neuro.training.trainer import Trainer

RECIPE = Recipe(steps=8, synops=0.5, prune=0.5, batch=1, window=4, settled=0.5)
STEPS_KEPT = (1, 6)  # before anything is pruned, and after


class FineTuning:
    """A run without masks, and one that has them."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self._model = tiny_model()
        self._tokens = np.arange(64) % self._model.shape.vocab_size
        self._asked = Asked("0" * 64, self._model.shape, "1" * 64, RECIPE, "1.0")
        self._bases = [self._after(steps) for steps in STEPS_KEPT]

    def bases(self) -> list[Case]:
        return [Case(files) for files in self._bases]

    def case(self, rng: Random) -> Case:
        files = dict(rng.choice(self._bases))
        asked, log, state = (files[name] for name in (ASKED, LOG, STATE))
        assert isinstance(asked, bytes)
        assert isinstance(log, bytes)
        assert isinstance(state, bytes)
        way = rng.randrange(12)
        if way < 3:
            return Case({**files, STATE: damaged(state, rng)})
        if way < 7:
            return Case({**files, STATE: _with_another_header(state, rng)})
        if way < 9:
            return Case({**files, ASKED: to_json(changed(json.loads(asked), rng))})
        if way < 10:
            return Case({**files, LOG: damaged(log, rng)})
        return Case(special(files, rng) if way < 11 else lost(files, rng))

    def read(self, folder: Path) -> object:
        kept = Folder(folder, checkpoint_files)
        kept.begin(self._asked, self._model, resume=True, force=False)
        trainer = self._begun()
        kept.restore(trainer)
        if (folder / STATE).is_file():
            _check(trainer, folder / STATE)
        meaning = (trainer.step, trainer.first, trainer.steering, trainer.scales.events)
        log, state = (folder / LOG).read_bytes(), trainer.optimizer.state_dict()["state"]
        if trainer.step < RECIPE.steps:
            with pool(1) as one:
                kept.log(trainer.advance(one))
            kept.save(trainer)
        return str(meaning), log, len(state)

    def _begun(self) -> Trainer:
        return Trainer.begin(self._model, self._tokens, RECIPE)

    def _after(self, steps: int) -> Files:
        """What is kept after so many steps."""
        with tempfile.TemporaryDirectory() as place, pool(1) as one:
            folder = Folder(Path(place) / "t", checkpoint_files)
            folder.begin(self._asked, self._model, resume=False, force=False)
            trainer = self._begun()
            for _ in range(steps):
                folder.log(trainer.advance(one))
            folder.save(trainer)
            return {name: (folder.path / name).read_bytes() for name in (ASKED, LOG, STATE)}


def make() -> FineTuning:
    return FineTuning()


def _with_another_header(state: bytes, rng: Random) -> bytes:
    """Of the tensors, or of what is said beside them."""
    header, data = split(state)
    beside: dict[str, Any] = header["__metadata__"]
    if rng.random() < 0.5:
        beside[META] = to_json(changed(json.loads(beside[META]), rng)).decode()
        return joined(to_json(header), data)
    return joined(to_json(changed(header, rng)), data)


def _check(trainer: Trainer, state: Path) -> None:
    """Raise unless every tensor holds the values that the file has under its name."""
    student, values = trainer.student, {n: digest(array) for n, array in stored(state).items()}
    kinds = {"weight": student.weights, "log": student.logs, "mask": student.masks}
    held = {
        f"{kind}:{n}": tensor for kind, tensors in kinds.items() for n, tensor in tensors.items()
    }
    held |= {f"scale:{name}": unit for name, unit in trainer.scales.weights.items()}
    for name, tensor in held.items():
        if values.get(name) != digest(tensor.numpy()):
            raise Changed(f"{name} holds other values than the file")
