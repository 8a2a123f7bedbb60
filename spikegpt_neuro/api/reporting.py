"""Everything about a model and its cost, as one HTML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.api.beside import float_continuation, float_model_for
from spikegpt_neuro.api.choices import DEFAULT_BACKEND, DEFAULT_PROFILE, DEFAULT_TIMING
from spikegpt_neuro.api.generating import generate
from spikegpt_neuro.api.inputs import PathLike, Text, tokens_of
from spikegpt_neuro.api.measuring import Measured, Site, mapped_of, measure
from spikegpt_neuro.api.models import GraphLike, graph_of
from spikegpt_neuro.api.profiling import own_backend
from spikegpt_neuro.api.running import run, simulate
from spikegpt_neuro.api.stages import Stages, stage
from spikegpt_neuro.api.variants import Variant
from spikegpt_neuro.backends.cycle.timing.names import Timing
from spikegpt_neuro.converters.settings import GivenLIF
from spikegpt_neuro.descriptions import describe
from spikegpt_neuro.energy.record import Estimate
from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.evaluation.evaluate import WINDOW, checked, scored
from spikegpt_neuro.evaluation.interval import interval
from spikegpt_neuro.evaluation.trade import load_tradeoff
from spikegpt_neuro.files import check_output_file, write_atomically
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.mapping.goal import Goal
from spikegpt_neuro.mapping.mapper import Mapped
from spikegpt_neuro.mapping.requirements import Where
from spikegpt_neuro.model.float_forward import FloatModel
from spikegpt_neuro.reports.content import Material, Score, Verdict, Writing
from spikegpt_neuro.reports.model import RASTER_TOKENS
from spikegpt_neuro.reports.page import check_installed, render
from spikegpt_neuro.results import Result
from spikegpt_neuro.running import Progress
from spikegpt_neuro.schedules import SCHEDULES
from spikegpt_neuro.sweeps.reading import overview
from spikegpt_neuro.vocabulary import Unknown, Vocabulary

POSITIONS = 8192
"""Scored by default: 32 windows, enough for an interval."""
PROMPT, WRITTEN, TEMPERATURE, SEED = 96, 240, 0.8, 0


@dataclass(frozen=True, repr=False)
class Report(Result):
    """Where the page was written.

    ``matches_reference``, ``first_mismatch``: what another backend said, where it ran.
    """

    path: Path
    matches_reference: bool | None = None
    first_mismatch: str | None = None

    HEADLINE: ClassVar[tuple[str, ...]] = ("path",)

    def to_dict(self) -> dict[str, Any]:
        """The path; of another backend only where it ran."""
        found = super().to_dict()
        return found if self.matches_reference is not None else {"path": found["path"]}


def report(
    graph: GraphLike,
    path: PathLike,
    text: Text | None = None,
    *,
    hw: PathLike | Profile = DEFAULT_PROFILE,
    backend: str = DEFAULT_BACKEND,
    tokens: int | None = 256,
    positions: int = POSITIONS,
    against: PathLike | None = None,
    timing: Timing = DEFAULT_TIMING,
    embedding: Where = "host",
    head: Where = "chip",
    seed: int = 0,
    context: int = 1024,
    lif_tau: float | None = None,
    lif_threshold: float | None = None,
    lif_reset: float | None = None,
    title: str = "SpikeGPT",
    command: str = "spikegpt_neuro.report(...)",
    tradeoff: PathLike | None = None,
    sweep: PathLike | None = None,
    verify: str | None = None,
    unknown: Unknown = "error",
    force: bool = False,
    progress: Progress | Stages | None = None,
    **options: Any,
) -> Report:
    """Run a text, price the run in both schedules, and write what there is to say to ``path``.

    The first ``tokens`` of the text are priced; ``positions`` of it are scored, window by window,
    which is fast: bits per token of a few hundred say little. ``against`` is the float checkpoint
    to compare with, whose LIF may be given as in :func:`evaluate`, ``title`` what the page is
    called, and ``command`` what it says it was made by, ``tradeoff`` and ``sweep`` directories that
    :func:`tradeoff` and :func:`sweep` wrote, which are shown too. ``verify`` names a backend
    that runs the priced tokens, too, where every integer is compared. The rest is as in
    :func:`profile`.

    Raises :class:`DoesNotFit` where the model does not fit the hardware, :class:`CannotWrite` for
    the output, :class:`MissingBackend` without the extra ``report``.

    Examples
    --------
    >>> sgn.report(graph, "page.html", "The return value is the same.")
    Report(path='page.html')
    """
    target = Path(path)
    if describe(backend).measure is not None:
        raise UsageError(
            f"a report prices a run that it times itself; profile with backend='{backend}' measures"
        )
    check_installed()
    check_output_file(target, force)
    curve = None if tradeoff is None else load_tradeoff(tradeoff)
    points = None if sweep is None else overview(sweep)
    variant = Variant(backend, hw, timing=timing, embedding=embedding, head=head)
    profile = variant.profile
    graph = graph_of(graph)
    whole = tokens_of(graph, text, unknown=unknown)
    ids = whole[:tokens]
    lif = GivenLIF(lif_tau, lif_threshold, lif_reset)
    floating = None if against is None else float_model_for(graph, against, lif)
    score = _score(graph, whole, positions, floating, progress)
    written = _written(graph, whole, floating, progress)
    verdict = None if verify is None else _verdict(graph, ids, verify, progress)
    with stage(progress, f"measuring activity on {backend}") as shown:
        measured = measure(graph, ids, own_backend(backend, options, alone=True), shown)
    mapped = mapped_of(graph, lambda: measured, profile, Goal(), embedding, head, seed)
    material = Material(
        title=title,
        graph=graph,
        text=f"{_named(text)}, {len(ids):,} tokens",
        run=run(graph, ids[:RASTER_TOKENS], record="spikes"),
        activity=measured.activity,
        score=score,
        profile=profile,
        mapped=mapped,
        estimates=_estimates(variant, measured, mapped, progress),
        context=context,
        command=command,
        writing=written,
        verdict=verdict,
        tradeoff=curve,
        sweep=points,
    )
    write_atomically(target, render(material), force=force)
    if verdict is None:
        return Report(target)
    return Report(target, verdict.mismatch is None, verdict.mismatch)


def _named(text: Text | None) -> str:
    """Which text ran, in words."""
    if text is None:
        return "built-in text python-docs"
    if isinstance(text, Path):
        return str(text)
    return "a prompt" if isinstance(text, str) else "token ids"


def _score(
    graph: SpikingGraph,
    ids: NDArray[np.int64],
    wanted: int,
    floating: FloatModel | None,
    progress: Progress | Stages | None,
) -> Score:
    """Bits per token with its interval; of the difference, window by window."""
    used = checked(graph, ids, window=WINDOW, against=floating, limit=wanted + 1)
    with stage(progress, "evaluating") as shown:
        sums = scored(graph, used, window=WINDOW, against=floating, progress=shown)
    starts = range(0, len(used) - 1, WINDOW)
    lengths = [min(WINDOW, len(used) - 1 - start) for start in starts]
    lost = [ours - theirs for ours, theirs in zip(sums.bits, sums.float_bits, strict=False)]
    return Score(
        sums.evaluation(graph, used, WINDOW),
        floating.model.provenance.file if floating else None,
        interval(sums.bits, lengths),
        interval(lost, lengths) if lost else None,
        wanted,
    )


def _written(
    graph: SpikingGraph,
    ids: NDArray[np.int64],
    floating: FloatModel | None,
    progress: Progress | Stages | None,
) -> Writing | None:
    """A continuation of the text's beginning, by the graph and by its float model."""
    if graph.vocabulary is None:
        return None
    prompt = _beginning(graph.vocabulary, ids)
    drawing: dict[str, Any] = {"temperature": TEMPERATURE, "seed": SEED}
    with stage(progress, "writing") as shown:
        ours = generate(graph, prompt, WRITTEN, progress=shown, **drawing)
    beside, same = None, WRITTEN
    if floating is not None:
        with stage(progress, "writing, float") as shown:
            drawn = float_continuation(graph, floating, prompt, WRITTEN, progress=shown, **drawing)
        beside = graph.vocabulary.decode(drawn)
        differing = np.flatnonzero(drawn != ours.ids)
        same = int(differing[0]) if len(differing) else WRITTEN
    settings = f"temperature {TEMPERATURE:g}, seed {SEED}"
    said = graph.vocabulary.decode(prompt)
    return Writing(said, ours.text, beside, WRITTEN, same, settings)


def _beginning(vocabulary: Vocabulary, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """About the first ``PROMPT`` tokens: from the start of a line to the end of a word, if any."""
    words = [vocabulary.decode(np.array([token])) for token in ids[: 8 * PROMPT]]
    starts = [k + 1 for k, word in enumerate(words[:-PROMPT]) if word.endswith("\n")]
    start = next((k for k in starts if words[k].strip()), 0)
    ends = [k for k in range(start + 1, start + PROMPT) if k < len(words) and words[k][:1] == " "]
    return ids[start : ends[-1] if ends else start + PROMPT]


def _verdict(
    graph: SpikingGraph,
    ids: NDArray[np.int64],
    backend: str,
    progress: Progress | Stages | None,
) -> Verdict:
    options = describe(backend).at_speed
    with stage(progress, f"comparing with {backend}") as shown:
        found = simulate(graph, ids, backend, tokens=None, verify=True, progress=shown, **options)
    settings = ", ".join(f"{name} {value}" for name, value in options.items())
    return Verdict(backend, settings, found.tokens, found.first_mismatch)


def _estimates(
    variant: Variant, measured: Measured, mapped: Mapped, progress: Progress | Stages | None
) -> tuple[Estimate, ...]:
    """One record per schedule."""
    site = Site(measured, variant.profile, mapped.placement)
    found = []
    for schedule in SCHEDULES:
        with stage(progress, f"timing, {schedule}") as shown:
            timed, events = site.time(schedule, variant.time_model, shown)
        counted = events if describe(variant.backend).counts_events else None
        found.append(site.record(variant.backend, timed, counted))
    return tuple(found)
