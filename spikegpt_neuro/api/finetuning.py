"""Fine-tuning: a checkpoint goes on learning, for the graph that it will become."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.api.inputs import PathLike
from spikegpt_neuro.api.models import read_model, text_tokens
from spikegpt_neuro.converters.lowering import check_lif
from spikegpt_neuro.converters.settings import GivenLIF
from spikegpt_neuro.converters.writer import checkpoint_files
from spikegpt_neuro.errors import MissingBackend, UnsupportedInput, UsageError
from spikegpt_neuro.evaluation.corpus import held_out, training_part
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.results import Result
from spikegpt_neuro.training.recipe import Recipe
from spikegpt_neuro.version import __version__
from spikegpt_neuro.vocabulary import Unknown

if TYPE_CHECKING:
    from spikegpt_neuro.training.gradients import Threads
    from spikegpt_neuro.training.keeping import Folder
    from spikegpt_neuro.training.trainer import Progressed, Trainer

SCORED_TOKENS = 1 << 14
DEVICES = ("auto", "cpu", "cuda")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Underway:
    """How far a fine-tuning is.

    ``bits_per_token``, ``synops_over_dense``  of the last step's windows. ``tokens_per_second`` and
    ``seconds_left`` are those at the speed of this run so far.
    """

    step: int
    steps: int
    bits_per_token: float
    synops_over_dense: float
    weight_density: float
    tokens_per_second: float
    seconds_left: float


@dataclass(frozen=True, repr=False)
class FineTuned(Result):
    """What a fine-tuning ended with.

    ``seconds`` and ``tokens_per_second`` are of this call alone, a resumed one counts its own
    steps. ``bits_per_token`` and ``synops_over_dense`` were measured on the held-out part of the
    text, with numbers rounded as ``convert`` rounds them; ``bits_per_token_before`` is the loss of
    the unchanged float model there.
    """

    checkpoint: str
    steps: int
    seconds: float
    tokens_per_second: float
    bits_per_token: float
    bits_per_token_before: float
    synops_over_dense: float
    weight_density: float

    UNITS: ClassVar[Mapping[str, str]] = {
        "seconds": "s",
        "tokens_per_second": "tokens/s",
        "bits_per_token": "bits",
        "bits_per_token_before": "bits",
    }
    HEADLINE: ClassVar[tuple[str, ...]] = (
        "checkpoint",
        "steps",
        "bits_per_token",
        "bits_per_token_before",
        "synops_over_dense",
        "weight_density",
    )


def finetune(
    checkpoint: PathLike,
    text: PathLike | NDArray[np.integer] | None,
    output: PathLike,
    *,
    synops: float | None = None,
    prune: float = Recipe.prune,
    weight_bits: int = Recipe.weight_bits,
    activation_bits: int = Recipe.activation_bits,
    distill: float = Recipe.distill,
    steps: int = Recipe.steps,
    batch: int = Recipe.batch,
    window: int = Recipe.window,
    learning_rate: float = Recipe.learning_rate,
    seed: int = Recipe.seed,
    threads: int | None = None,
    device: str = "auto",
    save_every: int = 250,
    vocab: PathLike | None = None,
    lif_tau: float | None = None,
    lif_threshold: float | None = None,
    lif_reset: float | None = None,
    unknown: Unknown = "error",
    resume: bool = False,
    force: bool = False,
    progress: Callable[[Underway], None] | None = None,
) -> FineTuned:
    """Train ``checkpoint`` on, for the sparse integer graph that it is to become.

    Thresholds per neuron (dead zones) are learned with the weights; events and weights are rounded
    as ``convert`` will round them; a controller steers to the operations that were asked for. The
    first nine tenths of the text teach, the last tenth is scored at the end. ``output`` is a
    checkpoint directory that ``convert``, ``evaluate``, ``info`` and ``export`` read, beside which
    the run keeps what it needs to go on, and its log (``log.jsonl``, a line per step).

    Parameters
    ----------
    checkpoint
        Whatever :func:`convert` reads, one that was fine-tuned before, too.
    text
        Path of a UTF-8 text of the kind that the model was trained on, or token ids (T,). None:
        the documentation of the running Python.
    output
        The directory.
    synops
        Synaptic operations over dense to end with, in (0, 1], pruned synapses counted as none;
        None: no thresholds are learned; those that ``checkpoint`` has go on learning.
    prune
        Share of all weights that go, in [0, 1), those whose loss is missed least; those that
        ``checkpoint`` is without count.
    weight_bits, activation_bits
        What ``convert`` will be asked for: 4, 6 or 8.
    distill
        Weight of the divergence from the unchanged model in the loss, 0 to 1; the rest is that of
        the surprisal of the text.
    steps, batch, window
        Steps, windows per step, tokens per window.
    learning_rate
        Of Adam, at its highest.
    seed
        Decides which windows are drawn. The same seed, threads and machine give the same file.
    threads
        Among which windows are divided [default: the cores, at most ``batch``].
    device
        ``"cpu"``, ``"cuda"`` or ``"auto"``: a CUDA device where torch finds one.
    save_every
        Steps after which the checkpoint is kept; it also is when the run is interrupted.
    resume
        Go on where ``output`` ends; begin where there is none.
    force
        Begin anew where ``output`` is a fine-tuning.
    progress
        Called after every step.

    Raises
    ------
    MissingBackend
        torch is not installed.
    UsageError
        A number out of range, or a resume with other options, checkpoint or text.
    UnsupportedInput
        The checkpoint or text cannot be used, or the text is shorter than a window.
    CannotWrite
        ``output`` holds something else, or the disk is full; the last good checkpoint stays.

    Examples
    --------
    >>> found = sgn.finetune("model.pth", "text.txt", "sparse", synops=0.5, steps=2, batch=2,
    ...                      window=64)
    >>> sgn.convert("sparse", calibration="text.txt").shape.layers
    4
    """
    recipe = Recipe(
        steps=steps,
        synops=synops,
        prune=prune,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        distill=distill,
        batch=batch,
        window=window,
        learning_rate=learning_rate,
        seed=seed,
    )
    if save_every < 1:
        raise UsageError(f"save_every={save_every}: expected at least 1")
    place, count = _device(device), _threads(threads, batch)
    model = read_model(checkpoint, vocab=vocab, lif=GivenLIF(lif_tau, lif_threshold, lif_reset))
    _check_trainable(model)
    tokens = text_tokens(model, text, unknown)
    taught, scored = _divided(tokens, window)

    from spikegpt_neuro.training.gradients import pool
    from spikegpt_neuro.training.keeping import Asked, Folder
    from spikegpt_neuro.training.trainer import Trainer

    folder = Folder(Path(output), checkpoint_files)
    digest = hashlib.sha256(tokens.tobytes()).hexdigest()
    asked = Asked(model.provenance.sha256, model.shape, digest, recipe, __version__)
    goes_on = folder.begin(asked, model, resume=resume, force=force)
    trainer = Trainer.begin(model, taught, recipe, place)
    if goes_on:
        folder.restore(trainer)
        log.info("going on after step %d of %d", trainer.step, steps)
    pace = _Pace(trainer.step, recipe)
    with pool(1 if place == "cuda" else count) as many:
        _train(trainer, many, folder, save_every, pace, progress)
        seconds, speed = pace.so_far(trainer.step)
        score = trainer.scored(scored)
    return FineTuned(
        checkpoint=str(output),
        steps=trainer.step,
        seconds=seconds,
        tokens_per_second=speed,
        bits_per_token=score.bits_per_token,
        bits_per_token_before=score.bits_per_token_before,
        synops_over_dense=score.synops_over_dense,
        weight_density=trainer.student.weight_density,
    )


@dataclass(frozen=True)
class _Pace:
    """How fast a call goes that began with the step after ``first``."""

    first: int
    recipe: Recipe
    begin: float = field(default_factory=time.perf_counter)

    def so_far(self, step: int) -> tuple[float, float]:
        """Seconds up to the end of ``step``, which is now, and tokens per second."""
        seconds = time.perf_counter() - self.begin
        return seconds, (step - self.first) * self.recipe.batch * self.recipe.window / seconds

    def underway(self, done: Progressed) -> Underway:
        """How far it is after a step."""
        seconds, speed = self.so_far(done.step)
        return Underway(
            done.step,
            self.recipe.steps,
            done.bits_per_token,
            done.synops_over_dense,
            done.weight_density,
            speed,
            seconds / (done.step - self.first) * (self.recipe.steps - done.step),
        )


def _train(
    trainer: Trainer,
    threads: Threads,
    folder: Folder,
    save_every: int,
    pace: _Pace,
    progress: Callable[[Underway], None] | None,
) -> None:
    """Step by step to the end; what an interruption finds whole is kept."""
    steps = trainer.recipe.steps
    try:
        while trainer.step < steps:
            done = trainer.advance(threads)
            folder.log(done)
            if done.step % save_every == 0 or done.step == steps:
                folder.save(trainer)
            if progress is not None:
                progress(pace.underway(done))
    except UnsupportedInput as error:  # it diverged
        raise UnsupportedInput(
            f"{error}; {folder.path} keeps the checkpoint of step {folder.kept()}"
        ) from error
    except KeyboardInterrupt:
        if trainer.is_whole and trainer.last is not None and trainer.step > folder.kept():
            folder.log_last(trainer.last)
            folder.save(trainer)
        log.warning("step %d of %d is kept; resume=True goes on there", folder.kept(), steps)
        raise


def _check_trainable(model: SpikeGPT) -> None:
    """Raise for what the network of training, or the graph later, cannot be."""
    check_lif(model.shape.lif, model.provenance.file)
    if model.shape.rescale_every:
        raise UnsupportedInput(
            f"{model.provenance.file}: was exported with compat='upstream-run', whose halvings no "
            "model is trained with; give the checkpoint that it was exported from"
        )


def _divided(tokens: NDArray[np.int64], window: int) -> tuple[NDArray[np.int64], ...]:
    """What teaches and what is scored; raises where there is no window of the one or the other."""
    taught, scored = training_part(tokens), held_out(tokens)[: SCORED_TOKENS + 1]
    if len(taught) < window + 1 or len(scored) < 2:
        raise UnsupportedInput(
            f"the text has {len(tokens):,} tokens, of which nine tenths teach: too few for a "
            f"window of {window} and the token after it; give a longer text, or a smaller "
            "window=..."
        )
    return taught, scored


def _device(name: str) -> str:
    """Where to train; raises :class:`MissingBackend` without torch."""
    if name not in DEVICES:
        raise UsageError(f"device={name!r}: choose one of {', '.join(DEVICES)}")
    if find_spec("torch") is None:
        raise MissingBackend("torch is not installed; pip install 'spikegpt-neuro[torch]'")
    if name == "cpu":
        return name
    import torch

    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise UsageError("device='cuda': torch finds no CUDA device; choose device='cpu'")
    return "cuda" if there else "cpu"


def _threads(asked: int | None, batch: int) -> int:
    if asked is None:
        return min(batch, len(os.sched_getaffinity(0)))
    if asked < 1:
        raise UsageError(f"threads={asked}: expected at least 1")
    return min(asked, batch)
