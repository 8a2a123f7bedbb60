"""A fine-tuning on disk: the checkpoint that it is now, and what it needs to go on.

The directory holds ``config.json``, ``model.safetensors`` and the vocabulary, as every checkpoint;
beside them ``finetune.json`` (what was asked), ``log.jsonl`` (a line per step) and
``optimizer.safetensors`` (everything a resumed run needs, the weights too, so that this one file is
always consistent in itself). Each file is replaced whole: a run that is killed between two of them
resumes from the older state and writes the newer one again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from spikegpt_neuro.documents import MEGABYTE, decode_json, read_json
from spikegpt_neuro.errors import CannotWrite, UnsupportedInput, UsageError
from spikegpt_neuro.files import (
    atomic_directory,
    atomic_file,
    check_output_directory,
    tensor_blocks,
    write_atomically,
)
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.training.formats import Events
from spikegpt_neuro.training.imitation import Scales
from spikegpt_neuro.training.recipe import Recipe
from spikegpt_neuro.training.steering import Steering
from spikegpt_neuro.training.trainer import Progressed, Trainer

ASKED, LOG, STATE, WEIGHTS = (
    "finetune.json",
    "log.jsonl",
    "optimizer.safetensors",
    "model.safetensors",
)
BEGIN_ANEW = "begin anew with force=True"
META = "state"

Files = Callable[[SpikeGPT], Mapping[str, bytes]]
"""The files of a checkpoint, by name."""


@dataclass(frozen=True)
class Asked:
    """What a directory is the fine-tuning of; another one cannot go on there."""

    checkpoint_sha256: str
    text_sha256: str
    recipe: Recipe
    tool_version: str


@dataclass(frozen=True)
class Meta:
    """What of a trainer is no tensor."""

    step: int
    first: float | None
    integral: float
    synops: float | None
    events: dict[str, tuple[float, int, int]]


@dataclass(frozen=True)
class Folder:
    """Where a fine-tuning is kept."""

    path: Path
    files: Files

    def begin(self, asked: Asked, model: SpikeGPT, *, resume: bool, force: bool) -> bool:
        """Make the directory, or find it; True where a run goes on in it.

        Raises :class:`CannotWrite` where something else is there, and :class:`UsageError` for a
        resume with other options, checkpoint or text.
        """
        if resume and (self.path / ASKED).is_file():
            self._check_same(asked)
            return True
        check_output_directory(self.path, force, lambda found: (found / ASKED).is_file())
        with atomic_directory(self.path, force=force) as new:
            for name, content in self.files(model).items():
                (new / name).write_bytes(content)
            (new / ASKED).write_text(json.dumps(asdict(asked), indent=1) + "\n", encoding="utf-8")
            (new / LOG).touch()
        return False

    def _check_same(self, asked: Asked) -> None:
        """Raise unless the directory is of the same fine-tuning."""
        path = self.path / ASKED
        found = read_json(path, Asked, limit=MEGABYTE, remedy=BEGIN_ANEW)
        before, now = asdict(found), asdict(asked)
        before, now = before | before.pop("recipe"), now | now.pop("recipe")
        for name, value in now.items():
            if before[name] != value:
                shown = f"{name}={before[name]!r:.20}, not {value!r:.20}"
                raise UsageError(
                    f"{self.path} is a fine-tuning with {shown}: go on with the same, choose "
                    "another output, or begin anew with force=True"
                )

    def save(self, trainer: Trainer) -> None:
        """Keep the model and the state of ``trainer``."""
        try:
            weights = self.files(trainer.student.checkpoint())[WEIGHTS]
            with atomic_file(self.path / WEIGHTS, force=True) as new:
                new.write_bytes(weights)
            with atomic_file(self.path / STATE, force=True) as new, new.open("wb") as file:
                for block in tensor_blocks(_tensors(trainer), {META: _meta(trainer)}):
                    file.write(block)
        except (CannotWrite, OSError) as error:
            kept = self.kept()
            raise CannotWrite(
                f"{error}; {self.path} keeps the checkpoint of step {kept}"
            ) from error

    def kept(self) -> int:
        """The step that a resumed run would begin with; 0 where none was kept."""
        path = self.path / STATE
        return self._read(path)[0].step if path.is_file() else 0

    def restore(self, trainer: Trainer) -> None:
        """Bring ``trainer`` to the kept state, and the log to its step."""
        path = self.path / STATE
        step = 0
        if path.is_file():
            meta, tensors = self._read(path)
            _restore(trainer, meta, tensors, path)
            step = meta.step
        lines = (self.path / LOG).read_text(encoding="utf-8").splitlines(keepends=True)
        write_atomically(self.path / LOG, "".join(lines[:step]))

    def _read(self, path: Path) -> tuple[Meta, dict[str, NDArray[Any]]]:
        try:
            with safe_open(path, framework="numpy") as file:
                text = (file.metadata() or {}).get(META, "{}")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:120]
            raise UnsupportedInput(f"{path}: damaged: {reason}; {BEGIN_ANEW}") from error
        meta = decode_json(text.encode(), Meta, where=f"{path}: {META}", remedy=BEGIN_ANEW)
        return meta, tensors

    def log(self, done: Progressed) -> None:
        """Add a line to the log."""
        with (self.path / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(done)) + "\n")


def _meta(trainer: Trainer) -> str:
    meta = Meta(
        trainer.step,
        trainer.first,
        trainer.steering.integral,
        trainer.steering.synops,
        {name: (e.unit, e.low, e.high) for name, e in trainer.scales.events.items()},
    )
    return json.dumps(asdict(meta))


def _tensors(trainer: Trainer) -> dict[str, NDArray[Any]]:
    """Everything of a trainer that is a tensor, under names that say what it is."""
    student, found = trainer.student, {}
    kinds = {"weight": student.weights, "log": student.logs, "mask": student.masks}
    for kind, tensors in kinds.items():
        for name, tensor in tensors.items():
            found[f"{kind}:{name}"] = tensor
            for moment in ("exp_avg", "exp_avg_sq"):
                if kind != "mask" and trainer.optimizer.state.get(tensor):
                    found[f"{moment}:{kind}:{name}"] = trainer.optimizer.state[tensor][moment]
    found |= {f"scale:{name}": unit for name, unit in trainer.scales.weights.items()}
    return {name: tensor.detach().cpu().numpy() for name, tensor in found.items()}


def _restore(trainer: Trainer, meta: Meta, tensors: Mapping[str, NDArray[Any]], path: Path) -> None:
    """The reverse of :func:`_tensors` and :func:`_meta`."""
    student, device = trainer.student, trainer.student.device

    def of(name: str, like: torch.Tensor) -> torch.Tensor:
        if name not in tensors or tensors[name].shape != like.shape:
            raise UnsupportedInput(f"{path}: {name} is missing or of another shape; {BEGIN_ANEW}")
        return torch.from_numpy(tensors[name].copy()).to(device)

    if any(name.startswith("mask:") for name in tensors):
        student.masks = {m: of(f"mask:{m}", student.weights[m]) for m in student.matrices}
    for kind, kept in (("weight", student.weights), ("log", student.logs)):
        for name, tensor in kept.items():
            tensor.copy_(of(f"{kind}:{name}", tensor))
            if meta.step:
                trainer.optimizer.state[tensor] = {
                    "step": torch.tensor(float(meta.step)),
                    "exp_avg": of(f"exp_avg:{kind}:{name}", tensor),
                    "exp_avg_sq": of(f"exp_avg_sq:{kind}:{name}", tensor),
                }
    units = {m: of(f"scale:{m}", student.weights[m][:, :1]) for m in student.matrices}
    events = {name: Events(*values) for name, values in meta.events.items()}
    trainer.scales = Scales(events, units)
    trainer.steering = Steering(meta.integral, meta.synops)
    trainer.step, trainer.first = meta.step, meta.first
