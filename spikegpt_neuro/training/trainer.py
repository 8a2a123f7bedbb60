"""Fine-tuning, step by step: learn the silence, without losing the text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.model.float_forward import tap_of
from spikegpt_neuro.model.spikegpt import DEAD_ZONE, SpikeGPT
from spikegpt_neuro.quantization.calibration import calibrate
from spikegpt_neuro.signals import undisturbed
from spikegpt_neuro.training import pruning
from spikegpt_neuro.training.gradients import Objective, Point, Sums, Threads, measured
from spikegpt_neuro.training.imitation import Scales, choose
from spikegpt_neuro.training.recipe import Recipe
from spikegpt_neuro.training.steering import Steering
from spikegpt_neuro.training.student import Student

BETAS = (0.9, 0.999)
LARGEST_GRADIENT = 1.0  # norm of that of all weights together
SCALES_EVERY = 250  # steps for which scales are kept
MASKS_EVERY = 20
LOG2 = math.log(2)


@dataclass(frozen=True)
class Progressed:
    """One step: bits per token on its windows, and what the model is like."""

    step: int
    bits_per_token: float
    divergence: float
    synops_over_dense: float
    weight_density: float
    price: float
    learning_rate: float


@dataclass(frozen=True)
class Score:
    """Of a model as it will be converted, and of the float model before, on the same windows."""

    bits_per_token: float
    bits_per_token_before: float
    synops_over_dense: float


@dataclass
class Trainer:
    """A fine-tuning in the middle of its run.

    ``tokens``    the training text.
    ``teacher``   the unchanged model, behind the dead zones that it has.
    ``density``   weights of the unchanged model that are there, of all.
    ``first``     its operations over dense; None before the first step.
    ``last``      what the last step found; None before any, and after a resumption.
    ``is_whole``  False for the moment in which a step changes it.
    """

    recipe: Recipe
    tokens: NDArray[np.int64]
    student: Student
    teacher: Point
    optimizer: torch.optim.Adam
    scales: Scales
    density: float = 1.0
    steering: Steering = field(default_factory=Steering)
    first: float | None = None
    step: int = 0
    last: Progressed | None = None
    is_whole: bool = True

    @classmethod
    def begin(
        cls, model: SpikeGPT, tokens: NDArray[np.int64], recipe: Recipe, device: str = "cpu"
    ) -> Trainer:
        """Before the first step."""
        student = Student.of(model, device)
        teacher = student.unchanged()
        if recipe.synops is not None or model.dead_zones:
            statistics = calibrate(model, tokens)
            student.begin_thresholds(
                {name: statistics[tap_of(name)].second_moment for name in student.readers}
            )
        return cls(
            recipe,
            tokens,
            student,
            teacher,
            _optimizer(student),
            choose(student.checkpoint(), tokens, recipe.weight_bits, recipe.activation_bits),
            student.weight_density,
        )

    def advance(self, threads: Threads) -> Progressed:
        """One step; raises :class:`UnsupportedInput`, and changes nothing, where it diverges."""
        recipe, student = self.recipe, self.student
        self.prepare()
        steering, price = self.steering.toward(self.target())
        price = price if student.logs else 0.0
        point = student.point(self.scales, recipe.weight_bits)
        objective = Objective(
            student.base.shape, self.teacher if recipe.distill else None, recipe.distill
        )
        sums = threads.sums(objective, point, self.windows(), price)
        self._check_finite(sums)
        tokens = recipe.batch * recipe.window
        done = Progressed(
            self.step + 1,
            sums.surprisal / tokens / LOG2,
            sums.divergence / tokens / LOG2,
            synops_of(sums, point.fans, tokens),
            student.weight_density,
            price,
            recipe.rate(self.step),
        )
        with undisturbed():
            self._conclude(done, steering, sums.gradients)
        return done

    def _conclude(
        self, done: Progressed, steering: Steering, gradients: Mapping[str, Tensor]
    ) -> None:
        """Change what a step changes."""
        self.is_whole = False
        self.first = done.synops_over_dense if self.first is None else self.first
        self.steering = steering.measured(done.synops_over_dense)
        self.learn(gradients)
        self.step, self.last = done.step, done
        self.is_whole = True

    def _check_finite(self, sums: Sums) -> None:
        # in one tensor: a device is asked once
        norms = torch.stack([gradient.norm() for gradient in sums.gradients.values()]).tolist()
        if not all(map(math.isfinite, (sums.surprisal, sums.divergence, *norms))):
            raise UnsupportedInput(
                f"step {self.step + 1}: the loss or its slope is not finite; begin anew with "
                f"force=True and a learning_rate=... below {self.recipe.learning_rate:g}"
            )

    def scored(self, tokens: NDArray[np.int64]) -> Score:
        """What the model is worth on ``tokens``, in windows from the initial state."""
        recipe, student = self.recipe, self.student
        scales = choose(
            student.checkpoint(), self.tokens, recipe.weight_bits, recipe.activation_bits
        )
        point = student.point(scales, recipe.weight_bits)
        size = min(recipe.window, len(tokens) - 1)
        starts = np.arange(0, len(tokens) - size, size)
        windows = np.stack([tokens[start : start + size + 1] for start in starts])
        total, surprisal, before, synops = 0, 0.0, 0.0, 0.0
        for chunk in np.array_split(windows, -(-len(windows) // recipe.batch)):
            ids = torch.from_numpy(chunk).to(student.device)
            sums = measured(student.base.shape, point, ids)
            surprisal += sums.surprisal
            synops += synops_of(sums, point.fans, tokens=1)
            before += measured(student.base.shape, self.teacher, ids).surprisal
            total += chunk[:, 1:].size
        return Score(surprisal / total / LOG2, before / total / LOG2, synops / total)

    def target(self) -> float:
        """Operations over dense that this step steers to; of a model without weights, any."""
        if self.recipe.synops is None or self.first is None or not self.density:
            return 1.0
        return self.recipe.target(self.step, self.first, self.density)

    def prepare(self) -> None:
        """Choose masks and scales anew where it is time to."""
        recipe, student = self.recipe, self.student
        moves = self.step % self.masks_every == 0 and 0 < self.step <= self.mask_steps
        if recipe.prune and moves:
            matrices = {name: student.weights[name] for name in student.matrices}
            squares = {n: self.optimizer.state[w]["exp_avg_sq"] for n, w in matrices.items()}
            kept = recipe.kept(self.step, self.density)
            student.masks = pruning.masks(matrices, squares, kept)
        if self.step % SCALES_EVERY == 0 and self.step > 0:
            self.scales = choose(
                student.checkpoint(), self.tokens, recipe.weight_bits, recipe.activation_bits
            )

    @property
    def mask_steps(self) -> int:
        """The last step at which masks change."""
        return -(-self._settled // self.masks_every) * self.masks_every

    @property
    def masks_every(self) -> int:
        """Steps for which masks are kept; a short run prunes, too."""
        return min(MASKS_EVERY, self._settled)

    @property
    def _settled(self) -> int:
        return math.ceil(self.recipe.settled * self.recipe.steps)

    def windows(self) -> Tensor:
        """The windows (B, T + 1) of this step, which seed and step alone decide."""
        size = self.recipe.window + 1
        random = np.random.default_rng((self.recipe.seed, self.step))
        starts = random.integers(0, len(self.tokens) - size + 1, self.recipe.batch)
        found = np.stack([self.tokens[start : start + size] for start in starts])
        return torch.from_numpy(found).to(self.student.device)

    def learn(self, gradients: Mapping[str, Tensor]) -> None:
        """Move every parameter by ``gradients``, those at the rounded point (straight through)."""
        student = self.student
        frozen = not self.recipe.prune or self.step >= self.mask_steps
        for name, weight in student.weights.items():
            masked = frozen and name in student.masks
            weight.grad = gradients[name] * student.masks[name] if masked else gradients[name]
        for name, log in student.logs.items():
            log.grad = gradients[name + DEAD_ZONE] * torch.exp(log)
        torch.nn.utils.clip_grad_norm_(list(student.weights.values()), LARGEST_GRADIENT)
        rates = (1.0, self.recipe.threshold_rate)
        for group, factor in zip(self.optimizer.param_groups, rates, strict=False):
            group["lr"] = self.recipe.rate(self.step) * factor
        self.optimizer.step()
        self.optimizer.zero_grad()  # which frees them before the next step needs as much again


def _optimizer(student: Student) -> torch.optim.Adam:
    groups = [{"params": list(student.weights.values())}]
    if student.logs:
        groups.append({"params": list(student.logs.values())})
    return torch.optim.Adam(groups, betas=BETAS)


def synops_of(sums: Sums, fans: Mapping[str, Tensor], tokens: int) -> float:
    """Operations over dense that the events of ``sums`` were."""
    done = [(sums.events[name] * fans[name]).sum(dtype=torch.float64) for name in sums.events]
    return float(sum(torch.stack(done).tolist())) / tokens
