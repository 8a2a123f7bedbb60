"""The curve bits lost against synaptic operations, point by point, each kept when it is done."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.api.beside import float_model_for
from spikegpt_neuro.api.evaluating import evaluate
from spikegpt_neuro.api.inputs import PathLike
from spikegpt_neuro.api.models import convert, read_model, text_tokens
from spikegpt_neuro.api.profiling import profile
from spikegpt_neuro.api.stages import Stages, stage
from spikegpt_neuro.benchmark.rounds import take_turns
from spikegpt_neuro.benchmark.speed import sessions
from spikegpt_neuro.converters.lowering import check_request
from spikegpt_neuro.converters.settings import GivenLIF
from spikegpt_neuro.converters.sparsifying import check_not_sparse
from spikegpt_neuro.documents import MEGABYTE, read_json
from spikegpt_neuro.errors import CannotWrite, UnsupportedInput
from spikegpt_neuro.evaluation.corpus import (
    HELD_OUT_SHARE,
    held_out,
    training_part,
)
from spikegpt_neuro.evaluation.trade import (
    FORMAT,
    SCHEMA_VERSION,
    TABLE,
    Point,
    Setting,
    Tradeoff,
    grid,
)
from spikegpt_neuro.files import check_output_directory, write_atomically
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import Profile, load_profile
from spikegpt_neuro.pareto import on_front
from spikegpt_neuro.reports.tradeoff import draw, table
from spikegpt_neuro.running import Progress
from spikegpt_neuro.version import __version__
from spikegpt_neuro.vocabulary import Unknown

SPARSITIES = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8)
PRUNES = (0.0, 0.5)
WEIGHT_BITS = (8, 4)
LIMIT = 8192
HARDWARE_TOKENS = 256
SPEED_ROUNDS, SPEED_SECONDS = 3, 0.2
BASIS, POINTS, ARTIFACTS = "basis.json", "points", "artifacts"
PICTURE, PAGE = "tradeoff.svg", "tradeoff.md"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Basis:
    """What all points of a directory have in common; with another one they mean nothing."""

    checkpoint_sha256: str
    text_sha256: str
    activation_bits: int
    limit: int
    hardware: str | None
    hardware_sha256: str | None
    tool_version: str


def tradeoff(
    checkpoint: PathLike,
    text: PathLike | None,
    output: PathLike,
    *,
    vocab: PathLike | None = None,
    sparsity: Sequence[float] = SPARSITIES,
    prune: Sequence[float] = PRUNES,
    weight_bits: Sequence[int] = WEIGHT_BITS,
    activation_bits: int = 8,
    hw: PathLike | Profile | None = None,
    limit: int = LIMIT,
    lif_tau: float | None = None,
    lif_threshold: float | None = None,
    lif_reset: float | None = None,
    unknown: Unknown = "error",
    force: bool = False,
    progress: Progress | Stages | None = None,
) -> Tradeoff:
    """Convert ``checkpoint`` at every combination of settings, and measure what each one loses.

    The first nine tenths of the text calibrate and decide, the last tenth is scored. Every point is
    kept in the directory ``output`` when it is done: the same call goes on where it was
    interrupted, and other settings add points. In the end ``output`` holds the table
    (``tradeoff.json``, ``tradeoff.md``), the picture (``tradeoff.svg``) and, under ``artifacts``,
    the points on the front.

    Parameters
    ----------
    text
        A UTF-8 text of the kind that the model was trained on; None: the documentation of the
        running Python, whose last tenth the example never saw.
    sparsity
        Shares of the dense synaptic operations that shall not happen, 0 <= S < 1.
    prune
        Shares of the weights that go, 0 <= P < 1.
    weight_bits
        4, 6 or 8.
    hw
        A hardware profile: joules and tokens per second there, too.
    limit
        Score at most so many tokens.
    lif_tau, lif_threshold, lif_reset
        The LIF of a checkpoint that does not state it, as in :func:`convert`.
    force
        Begin anew where ``output`` holds another curve.

    Raises
    ------
    UsageError
        A share or a bit width out of range.
    UnsupportedInput
        The checkpoint or text cannot be used, the checkpoint is sparse already, or the text is too
        short to score a part of it.
    CannotWrite
        ``output`` holds something else, or a curve of another checkpoint, text or version.

    Examples
    --------
    >>> found = sgn.tradeoff("model.pth", "text.txt", "curve", sparsity=[0], prune=[0],
    ...                      weight_bits=[8, 4], limit=128)
    >>> sorted(point.weight_bits for point in found.points)
    [4, 8]
    """
    settings = grid(sparsity, prune, weight_bits)
    model = read_model(checkpoint, vocab=vocab, lif=GivenLIF(lif_tau, lif_threshold, lif_reset))
    check_not_sparse(model)
    for bits in weight_bits:
        check_request(model, bits, activation_bits)
    tokens = text_tokens(model, text, unknown)
    hardware = load_profile(hw) if isinstance(hw, (str, Path)) else hw
    basis = Basis(
        model.provenance.sha256,
        hashlib.sha256(tokens.tobytes()).hexdigest(),
        activation_bits,
        limit,
        None if hardware is None else hardware.name,
        None if hardware is None else hardware.sha256,
        __version__,
    )
    folder = _Folder(Path(output))
    folder.open(basis, force)

    def converted(setting: Setting, shown: Progress | None) -> SpikingGraph:
        return convert(
            checkpoint,
            vocab=vocab,
            calibration=training_part(tokens),
            weight_bits=setting.weight_bits,
            activation_bits=activation_bits,
            sparsity=setting.sparsity or None,
            prune=setting.prune or None,
            lif_tau=lif_tau,
            lif_threshold=lif_threshold,
            lif_reset=lif_reset,
            progress=shown,
        )

    measuring = _Measuring(checkpoint, _scored(tokens, limit), hardware, converted, progress)
    with _told_what_is_left(folder, settings):
        for number, setting in enumerate(settings, 1):
            if not folder.has(setting):
                graph, point = measuring.point(setting, f"point {number} of {len(settings)}")
                folder.keep(graph, point)
    return folder.close(len(measuring.tokens) - 1, basis.hardware)


def _scored(tokens: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """The last tenth, at most ``limit`` tokens of it."""
    found = held_out(tokens)[:limit]
    if len(found) < 2:
        raise UnsupportedInput(
            f"the text has {len(tokens):,} tokens; {2 * HELD_OUT_SHARE} or more are needed, of "
            "which the last tenth is scored"
        )
    return found


@contextmanager
def _told_what_is_left(folder: _Folder, settings: Sequence[Setting]) -> Iterator[None]:
    def left() -> int:
        return sum(not folder.has(setting) for setting in settings)

    done = len(settings) - left()
    if done:
        log.info("%d of %d points are there, %d are left", done, len(settings), left())
    try:
        yield
    except BaseException:
        log.warning("%d of %d points are left; the same call goes on there", left(), len(settings))
        raise


@dataclass
class _Measuring:
    """Makes points; the graph as it is without sparsity is made once, for speed to compare with."""

    checkpoint: PathLike
    tokens: NDArray[np.int64]
    hardware: Profile | None
    converted: Callable[[Setting, Progress | None], SpikingGraph]
    progress: Progress | Stages | None
    _plain: SpikingGraph | None = None
    _float_bits: float | None = None

    def point(self, setting: Setting, label: str) -> tuple[SpikingGraph, Point]:
        with stage(self.progress, f"{label}: converting, {setting}") as shown:
            graph = self.converted(setting, shown)
        with stage(self.progress, f"{label}: scoring") as shown:
            score = evaluate(graph, self.tokens, progress=shown)
        with stage(self.progress, f"{label}: speed") as shown:
            speed, speedup = self._speeds(graph, shown)
        joules, rate = self._priced(graph, label)
        return graph, Point(
            sparsity=setting.sparsity,
            prune=setting.prune,
            weight_bits=setting.weight_bits,
            synops_over_dense=score.synops_over_dense,
            weight_density=score.weight_density,
            bits_per_token=score.bits_per_token,
            float_bits_per_token=self.float_bits_per_token,
            delta_bits_per_token=score.bits_per_token - self.float_bits_per_token,
            generation_tokens_per_second=speed,
            generation_speedup=speedup,
            joules_per_token=joules,
            hardware_tokens_per_second=rate,
        )

    @property
    def plain(self) -> SpikingGraph:
        """8 bits, nothing left out."""
        if self._plain is None:
            with stage(self.progress, "converting without sparsity") as shown:
                self._plain = self.converted(Setting(0.0, 0.0, 8), shown)
        return self._plain

    @property
    def float_bits_per_token(self) -> float:
        """Of the checkpoint, over the same windows."""
        if self._float_bits is None:
            against = float_model_for(self.plain, self.checkpoint)
            with stage(self.progress, "scoring the checkpoint") as shown:
                score = evaluate(self.plain, self.tokens, against=against, progress=shown)
            assert score.float_bits_per_token is not None
            self._float_bits = score.float_bits_per_token
        return self._float_bits

    def _speeds(self, graph: SpikingGraph, progress: Progress | None) -> tuple[float, float]:
        """Tokens/s of the reference engine, and over those of the plain graph."""
        with sessions({"point": graph, "plain": self.plain}, self.tokens, 1) as sides:
            rates = take_turns(sides, rounds=SPEED_ROUNDS, seconds=SPEED_SECONDS, progress=progress)
        return rates["point"].best, rates["point"].best / rates["plain"].best

    def _priced(self, graph: SpikingGraph, label: str) -> tuple[float | None, float | None]:
        if self.hardware is None:
            return None, None
        with stage(self.progress, f"{label}: pricing on {self.hardware.name}") as shown:
            cost = profile(graph, self.tokens[:HARDWARE_TOKENS], hw=self.hardware, progress=shown)
        return cost.joules_per_token, cost.tokens_per_second


@dataclass(frozen=True)
class _Folder:
    """The directory of a curve."""

    path: Path

    def open(self, basis: Basis, force: bool) -> None:
        """Make it, or find what an earlier call left; raise where it holds another curve."""
        if self._is_ours(self.path):
            found = read_json(self.path / BASIS, Basis, limit=MEGABYTE, remedy="pass force=True")
            if found == basis:
                return
            differs = next(k for k, v in asdict(basis).items() if getattr(found, k) != v)
            if not force:
                raise CannotWrite(
                    f"{self.path} holds a curve of another {differs.replace('_', ' ')}; choose "
                    "another output or pass force=True"
                )
            self._clear()
        elif self.path.exists() and any(self.path.iterdir() if self.path.is_dir() else [0]):
            raise CannotWrite(f"{self.path} holds something else than a curve; not replaced")
        else:
            check_output_directory(self.path, True, self._is_ours)
        for name in (POINTS, ARTIFACTS):
            (self.path / name).mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / BASIS, json.dumps(asdict(basis), indent=1) + "\n")

    @staticmethod
    def _is_ours(path: Path) -> bool:
        return (path / BASIS).is_file()

    def _clear(self) -> None:
        for name in (POINTS, ARTIFACTS):
            shutil.rmtree(self.path / name, ignore_errors=True)

    def _file(self, setting: Setting) -> Path:
        return self.path / POINTS / f"{setting.name}.json"

    def _artifact(self, setting: Setting) -> Path:
        return self.path / ARTIFACTS / f"{setting.name}.sgn"

    def has(self, setting: Setting) -> bool:
        """True where the point is done."""
        return self._file(setting).is_file()

    def keep(self, graph: SpikingGraph, point: Point) -> None:
        """Write the artifact, then the point: what has a point is whole."""
        artifact = self._artifact(point.setting)
        graph.save(str(artifact), force=True)
        kept = replace(point, artifact=str(artifact.relative_to(self.path)))
        write_atomically(self._file(point.setting), json.dumps(kept.to_dict()) + "\n")

    def points(self) -> list[Point]:
        """All that are done, most operations first."""
        found = [
            read_json(file, Point, limit=MEGABYTE, remedy=f"remove {file.name}")
            for file in sorted((self.path / POINTS).glob("*.json"))
        ]
        return sorted(found, key=lambda p: (-p.synops_over_dense, p.delta_bits_per_token))

    def close(self, tokens: int, hardware: str | None) -> Tradeoff:
        """Mark the front, drop the other artifacts, write the table and the picture."""
        points = self.points()
        marks = on_front([(p.synops_over_dense, p.delta_bits_per_token) for p in points])
        marked = []
        for point, mark in zip(points, marks, strict=True):
            artifact = self._artifact(point.setting)
            if not mark:
                shutil.rmtree(artifact, ignore_errors=True)
            marked.append(replace(point, on_front=mark, artifact=point.artifact if mark else None))
        found = Tradeoff(tuple(marked), marked[0].float_bits_per_token, tokens, hardware)
        content: dict[str, Any] = {"format": FORMAT, "schema_version": SCHEMA_VERSION}
        write_atomically(self.path / TABLE, json.dumps(content | found.to_dict(), indent=1) + "\n")
        write_atomically(self.path / PICTURE, draw(found))
        write_atomically(self.path / PAGE, table(found))
        return found
