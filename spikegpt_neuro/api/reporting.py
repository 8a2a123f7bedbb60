"""Everything about a model and its cost, as one HTML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from spikegpt_neuro.api.beside import float_model_for
from spikegpt_neuro.api.choices import DEFAULT_BACKEND, DEFAULT_PROFILE, DEFAULT_TIMING
from spikegpt_neuro.api.inputs import PathLike, Text, tokens_of
from spikegpt_neuro.api.measuring import Measured, Site, mapped_of, measure
from spikegpt_neuro.api.profiling import own_backend
from spikegpt_neuro.api.running import run
from spikegpt_neuro.api.stages import Stages, stage
from spikegpt_neuro.api.variants import Variant
from spikegpt_neuro.backends.cycle.timing.names import Timing
from spikegpt_neuro.converters.settings import GivenLIF
from spikegpt_neuro.descriptions import describe
from spikegpt_neuro.energy.record import Estimate
from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.evaluation import evaluate
from spikegpt_neuro.evaluation.trade import load_tradeoff
from spikegpt_neuro.files import check_output_file, write_atomically
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.mapping.goal import Goal
from spikegpt_neuro.mapping.mapper import Mapped
from spikegpt_neuro.mapping.requirements import Where
from spikegpt_neuro.model.float_forward import FloatModel
from spikegpt_neuro.reports.content import Material, Score
from spikegpt_neuro.reports.model import RASTER_TOKENS
from spikegpt_neuro.reports.page import check_installed, render
from spikegpt_neuro.results import Result
from spikegpt_neuro.running import Progress
from spikegpt_neuro.schedules import SCHEDULES
from spikegpt_neuro.sweeps.reading import overview
from spikegpt_neuro.vocabulary import Unknown


@dataclass(frozen=True, repr=False)
class Report(Result):
    """Where the page was written."""

    path: Path

    HEADLINE: ClassVar[tuple[str, ...]] = ("path",)


def report(
    graph: SpikingGraph,
    path: PathLike,
    text: Text | None = None,
    *,
    hw: PathLike | Profile = DEFAULT_PROFILE,
    backend: str = DEFAULT_BACKEND,
    tokens: int | None = 256,
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
    unknown: Unknown = "error",
    force: bool = False,
    progress: Progress | Stages | None = None,
    **options: Any,
) -> Report:
    """Run a text, price the run in both schedules, and write what there is to say to ``path``.

    ``against`` is the float checkpoint to compare with, whose LIF may be given as in
    :func:`evaluate`, ``title`` what the page is called, and ``command`` what it says it was made
    by, ``tradeoff`` a directory that :func:`tradeoff` wrote, whose curve is shown too, ``sweep``
    one that :func:`sweep` wrote, whose points are; the rest is as in :func:`profile`.

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
    ids = tokens_of(graph, text, unknown=unknown, count=tokens)
    lif = GivenLIF(lif_tau, lif_threshold, lif_reset)
    floating = None if against is None else float_model_for(graph, against, lif)
    score = _score(graph, ids, floating, progress)
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
        tradeoff=curve,
        sweep=points,
    )
    write_atomically(target, render(material), force=force)
    return Report(target)


def _named(text: Text | None) -> str:
    """Which text ran, in words."""
    if text is None:
        return "built-in text python-docs"
    if isinstance(text, Path):
        return str(text)
    return "a prompt" if isinstance(text, str) else "token ids"


def _score(
    graph: SpikingGraph, ids: Any, floating: FloatModel | None, progress: Progress | Stages | None
) -> Score:
    with stage(progress, "evaluating") as shown:
        found = evaluate(graph, ids, against=floating, progress=shown)
    return Score(found, floating.model.provenance.file if floating else None)


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
