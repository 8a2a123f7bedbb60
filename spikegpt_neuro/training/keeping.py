"""A fine-tuning on disk: the checkpoint that it is now, and what it needs to go on.

The directory holds ``config.json``, ``model.safetensors`` and the vocabulary, as every checkpoint;
beside them ``finetune.json`` (what was asked), ``log.jsonl`` (a line per step) and
``optimizer.safetensors`` (everything a resumed run needs, the weights too, so that this one file is
always consistent in itself). Each file is replaced whole: a run that is killed between two of them
resumes from the older state and writes the newer one again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from spikegpt_neuro.documents import MEGABYTE, decode_json, read_bytes, read_json
from spikegpt_neuro.errors import CannotWrite, UnsupportedInput, UsageError
from spikegpt_neuro.files import (
    Block,
    append,
    atomic_directory,
    atomic_file,
    check_output_directory,
    tensor_blocks,
    write_atomically,
    write_blocks,
)
from spikegpt_neuro.model.spikegpt import ModelShape, SpikeGPT
from spikegpt_neuro.training.imitation import Scales
from spikegpt_neuro.training.recipe import Recipe
from spikegpt_neuro.training.steering import Steering
from spikegpt_neuro.training.trainer import Progressed, Trainer

ASKED, LOG, STATE = "finetune.json", "log.jsonl", "optimizer.safetensors"
BEGIN_ANEW = "begin anew with force=True"
META = "state"
LONGEST_LOG = 256 * MEGABYTE

Files = Callable[[SpikeGPT], Iterable[tuple[str, Iterable[Block]]]]
"""Name and content of each file of a checkpoint: its configuration, then its weights."""


@dataclass(frozen=True)
class Asked:
    """What a directory is the fine-tuning of; another one cannot go on there."""

    checkpoint_sha256: str
    shape: ModelShape
    text_sha256: str
    recipe: Recipe
    tool_version: str


@dataclass(frozen=True)
class Meta:
    """What of a trainer is no tensor; ``units`` of payloads by population."""

    step: int
    first: float | None
    integral: float
    synops: float | None
    units: dict[str, float]


@dataclass(frozen=True)
class Logged:
    """What the log is looked through for."""

    step: int


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
        if (self.path / ASKED).is_file() and not force:
            raise CannotWrite(
                f"{self.path} is a fine-tuning: go on with resume=True, {BEGIN_ANEW}, or choose "
                "another output"
            )
        check_output_directory(self.path, force, lambda found: (found / ASKED).is_file())
        with atomic_directory(self.path, force=force) as new:
            for name, blocks in self.files(model):
                write_blocks(new / name, blocks)
            (new / ASKED).write_text(json.dumps(asdict(asked), indent=1) + "\n", encoding="utf-8")
            (new / LOG).touch()
        return False

    def _check_same(self, asked: Asked) -> None:
        """Raise unless the directory is of the same fine-tuning."""
        path = self.path / ASKED
        try:
            found = read_json(path, Asked, limit=MEGABYTE, remedy=BEGIN_ANEW)
        except UsageError as error:  # options that nobody could have asked for
            raise UnsupportedInput(f"{path}: {error}; {BEGIN_ANEW}") from error
        for other in _differences(found, asked):
            raise UsageError(
                f"{self.path} is a fine-tuning {other}: go on with the same, choose another "
                f"output, or {BEGIN_ANEW}"
            )

    def save(self, trainer: Trainer) -> None:
        """Keep the model and the state of ``trainer``."""
        with self._refusals():
            # a model whose weights are all there may be called pruned, not the other way round
            for name, blocks in self.files(trainer.student.checkpoint()):
                with atomic_file(self.path / name, force=True) as new:
                    write_blocks(new, blocks)
            with atomic_file(self.path / STATE, force=True) as new:
                write_blocks(new, tensor_blocks(_tensors(trainer), {META: _meta(trainer)}))

    def kept(self) -> int:
        """The step that a resumed run would begin with; 0 where none was kept."""
        path = self.path / STATE
        if not path.is_file():
            return 0
        with _opened(path) as file:
            return _meta_of(file, path).step

    def restore(self, trainer: Trainer) -> None:
        """Bring ``trainer`` to the kept state, and the log to its step."""
        path = self.path / STATE
        if path.is_file():
            with _opened(path) as file:
                _restore(trainer, _meta_of(file, path), file, path)
        self._cut_log(trainer.step)

    def log(self, done: Progressed) -> None:
        """Add a line to the log."""
        with self._refusals():
            append(self.path / LOG, json.dumps(asdict(done)) + "\n")

    def log_last(self, done: Progressed) -> None:
        """The line of a step that was interrupted after it: there, missing, or half of it."""
        self._cut_log(done.step - 1)
        self.log(done)

    def _cut_log(self, last: int) -> None:
        """Keep the whole lines of the log up to that of step ``last``."""
        path = self.path / LOG
        with self._refusals():
            path.touch()
            lines = read_bytes(path, LONGEST_LOG).splitlines()
            kept = [line + b"\n" for line in lines if 0 < _step_of(line) <= last]
            write_atomically(path, b"".join(kept).decode())

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """What cannot be written, with what is there all the same."""
        try:
            yield
        except (CannotWrite, OSError) as error:
            raise CannotWrite(
                f"{error}; {self.path} keeps the checkpoint of step {self.kept()}"
            ) from error


def _step_of(line: bytes) -> int:
    """Of a line of the log; 0 for what is none."""
    try:
        return decode_json(line, Logged, where=LOG).step
    except UnsupportedInput:
        return 0


def _differences(found: Asked, asked: Asked) -> Iterator[str]:
    """What a directory is the fine-tuning of, where something else is asked."""
    if found.checkpoint_sha256 != asked.checkpoint_sha256:
        yield "of another checkpoint"
    if found.shape != asked.shape:  # which options and a config.json beside the weights decide, too
        yield "of a model of another LIF or shape"
    if found.text_sha256 != asked.text_sha256:
        yield "on another text"
    now = asdict(asked.recipe)
    for name, value in asdict(found.recipe).items():
        if value != now[name]:
            yield f"with {name}={value}, not {now[name]}"
    if found.tool_version != asked.tool_version:
        yield f"by version {found.tool_version:.20}, not {asked.tool_version}"


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A state, open; what is wrong with it in one line."""
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UnsupportedInput(f"{path}: damaged: {reason}; {BEGIN_ANEW}") from error


def _meta_of(file: Any, path: Path) -> Meta:
    text = (file.metadata() or {}).get(META, "{}")
    return decode_json(text.encode(), Meta, where=f"{path}: {META}", remedy=BEGIN_ANEW)


def _meta(trainer: Trainer) -> str:
    meta = Meta(
        trainer.step,
        trainer.first,
        trainer.steering.integral,
        trainer.steering.synops,
        {name: events.unit for name, events in trainer.scales.events.items()},
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


def _restore(trainer: Trainer, meta: Meta, file: Any, path: Path) -> None:
    """The reverse of :func:`_tensors` and :func:`_meta`."""
    student, names = trainer.student, set(file.keys())

    def of(name: str, like: torch.Tensor) -> torch.Tensor:
        about = file.get_slice(name) if name in names else None
        if about is None or (about.get_shape(), about.get_dtype()) != (list(like.shape), "F32"):
            raise UnsupportedInput(f"{path}: {name} is missing or of another shape; {BEGIN_ANEW}")
        found = torch.from_numpy(file.get_tensor(name))
        if not found.isfinite().all():
            raise UnsupportedInput(f"{path}: {name} is not finite; {BEGIN_ANEW}")
        return found.to(student.device)

    if not 0 <= meta.step <= trainer.recipe.steps or meta.units.keys() != student.readers.keys():
        raise UnsupportedInput(f"{path}: {META} is that of another fine-tuning; {BEGIN_ANEW}")
    if any(name.startswith("mask:") for name in names):
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
    formats = trainer.scales.events
    trainer.scales = Scales(
        {name: replace(formats[name], unit=unit) for name, unit in meta.units.items()},
        {m: of(f"scale:{m}", student.weights[m][:, :1]) for m in student.matrices},
    )
    trainer.steering = Steering(meta.integral, meta.synops)
    trainer.step, trainer.first = meta.step, meta.first
