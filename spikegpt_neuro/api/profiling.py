"""What a token costs: one profile, or several side by side; job folders for measured runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spikegpt_neuro.api.caching import convert_cached
from spikegpt_neuro.api.choices import DEFAULT_BACKEND, DEFAULT_PROFILE
from spikegpt_neuro.api.costs import Compared, NotFitting, TokenCost
from spikegpt_neuro.api.inputs import PathLike, Text, tokens_of
from spikegpt_neuro.api.models import GraphLike, artifact_of, graph_of
from spikegpt_neuro.api.stages import Stages, stage
from spikegpt_neuro.api.variants import Bench, Variant, variants, widths
from spikegpt_neuro.backends.cycle.timing.names import Timing
from spikegpt_neuro.descriptions import describe
from spikegpt_neuro.energy.estimators import AS_ARRIVES
from spikegpt_neuro.errors import CheckFailed, UsageError
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import Profile, load_profile
from spikegpt_neuro.mapping.placement import Placement
from spikegpt_neuro.mapping.requirements import Where
from spikegpt_neuro.running import Backend, Progress, get_backend
from spikegpt_neuro.schedules import Schedule
from spikegpt_neuro.vocabulary import Unknown

__all__ = [
    "Compared",
    "NotFitting",
    "TokenCost",
    "check_ready",
    "compare",
    "own_backend",
    "profile",
    "write_job",
]


def profile(
    graph: GraphLike,
    text: Text | None = None,
    *,
    hw: PathLike | Profile = DEFAULT_PROFILE,
    backend: str = DEFAULT_BACKEND,
    tokens: int | None = 256,
    schedule: Schedule = "pipelined",
    timing: Timing | None = None,
    accounting: str = AS_ARRIVES,
    placement: PathLike | Placement | None = None,
    embedding: Where = "host",
    head: Where = "chip",
    seed: int = 0,
    context: int = 1024,
    artifact: PathLike | None = None,
    unknown: Unknown = "error",
    progress: Progress | Stages | None = None,
    **options: Any,
) -> TokenCost:
    """Price a run of the first ``tokens`` of a text; None: the built-in text.

    Parameters
    ----------
    hw
        A hardware profile: its name, the path of a file, or the profile itself.
    schedule
        ``"pipelined"``: a token enters at every step (reading); ``"fall-through"``: when the last
        one is through (writing).
    timing
        The timing model; None: what the backend asks for, else the quick bound.
    accounting
        ``"as-arrives"`` prices what arrives; else a convention of the literature by its name.
    placement
        A placement or its file; None: placed by this run's activity.
    context
        Tokens that a transformer looks back on, for accountings that compare with one.
    options
        Go to the backend.

    Raises
    ------
    DoesNotFit
        The model does not fit the hardware; ``violations`` says where.
    UsageError, UnsupportedInput, MissingBackend
        As of :func:`run`, and for a profile that lacks what is needed.

    Examples
    --------
    >>> cost = sgn.profile(graph, "The return value is the same. " * 3, hw="loihi2")
    >>> cost.joules_per_token < 1e-3, cost.record.tokens
    (True, 90)
    """
    variant = Variant(backend, hw, schedule, timing, accounting, embedding, head)
    model = graph_of(graph)
    bench = Bench(
        model,
        tokens_of(model, text, unknown=unknown, count=tokens),
        artifact_of(graph, artifact),
        placement,
        seed,
        context,
    )
    _measure(bench, (variant,), options, progress)
    with stage(progress, f"timing on {variant.hardware}") as shown:
        return bench.cost(variant, shown)


def compare(
    graph: GraphLike,
    axes: Mapping[str, Sequence[Any]],
    text: Text | None = None,
    *,
    tokens: int | None = 256,
    placement: PathLike | Placement | None = None,
    seed: int = 0,
    context: int = 1024,
    artifact: PathLike | None = None,
    unknown: Unknown = "error",
    vocab: PathLike | None = None,
    progress: Progress | Stages | None = None,
    options: Mapping[str, Any] | None = None,
    **setting: Any,
) -> Compared:
    """Profiles side by side, for every combination of the values in ``axes``.

    ``graph`` may also be the path of a checkpoint, to compare by ``bits``.

    ``axes`` maps ``hw``, ``backend``, ``schedule``, ``timing``, ``accounting``, ``embedding``,
    ``head`` or ``bits`` to values; ``setting`` gives single values for the others. Each backend
    runs once, with those of ``options`` that it has; for each width in ``bits`` the checkpoint is
    converted (:func:`convert_cached`, with ``vocab``), and ``weight_bits`` is a figure. What does
    not fit keeps its place, with the reason.

    Raises :class:`UsageError` for an axis or a value that is not known, and what
    :func:`profile` raises but :class:`DoesNotFit`.

    Examples
    --------
    >>> text = "The return value is the same."
    >>> sgn.compare(graph, {"schedule": ["pipelined", "fall-through"]}, text).to_frame().shape[0]
    2
    """
    chosen, bits = variants(axes, setting), widths(graph, axes)
    if placement is not None and (said := {"embedding", "head", "bits"} & axes.keys()):
        raise UsageError(
            f"a placement is of one graph, and says where embedding and head are; do not compare "
            f"by {', '.join(sorted(said))}"
        )
    found: list[TokenCost | NotFitting] = []
    for width in (None,) if bits is None else bits:
        model = _graph_of(graph, width, vocab, progress)
        ids = tokens_of(model, text, unknown=unknown, count=tokens)
        held = None if width else artifact_of(graph, artifact)
        bench = Bench(model, ids, held, placement, seed, context)
        _measure(bench, chosen, options or {}, progress)
        for variant in chosen:
            with stage(progress, f"timing on {variant.hardware}") as shown:
                cost = _cost_or_reason(bench, variant, shown)
            found.append(cost if width is None else cost.of_width(width))
    return Compared(tuple(found))


def _graph_of(
    model: GraphLike,
    width: int | None,
    vocab: PathLike | None,
    progress: Progress | Stages | None,
) -> SpikingGraph:
    """The graph, or that of a checkpoint with weights of ``width`` bits."""
    if width is None or isinstance(model, SpikingGraph):
        return graph_of(model)
    with stage(progress, f"converting to {width} bits", "steps") as shown:
        return convert_cached(model, vocab=vocab, weight_bits=width, progress=shown)


def _measure(
    bench: Bench,
    chosen: Sequence[Variant],
    options: Mapping[str, Any],
    progress: Progress | Stages | None,
) -> None:
    for name in dict.fromkeys(variant.backend for variant in chosen):
        own = own_backend(name, options, alone=len({v.backend for v in chosen}) == 1)
        with stage(progress, f"measuring activity on {name}") as shown:
            bench.measure(name, own, shown)


def own_backend(name: str, options: Mapping[str, Any], alone: bool) -> Backend | None:
    """The backend to run, with its own options; None where the reference's integers do.

    Where several are compared, an option that another one has is not for this one.
    """
    description = describe(name)
    known = {option.name for option in description.options}
    mine = options if alone else {k: v for k, v in options.items() if k in known}
    if not description.shares_integers:
        return get_backend(name, **mine)
    if mine:
        raise UsageError(f"a profile on {name} takes no option {', '.join(sorted(mine))}")
    return None


def _cost_or_reason(
    bench: Bench, variant: Variant, progress: Progress | None
) -> TokenCost | NotFitting:
    try:
        return bench.cost(variant, progress)
    except CheckFailed as error:
        return NotFitting(variant.named(), str(error))


def check_ready(backend: str, options: Mapping[str, Any]) -> None:
    """Raise before long work where a run with these options cannot be."""
    ready = describe(backend).resolve("ready")
    if ready is not None:
        ready(options)


def write_job(
    graph: GraphLike,
    path: PathLike,
    text: Text | None = None,
    *,
    backend: str,
    hw: PathLike | Profile = DEFAULT_PROFILE,
    tokens: int | None = 256,
    force: bool = False,
    unknown: Unknown = "error",
    **options: Any,
) -> dict[str, Any]:
    """Write everything that a measured run needs as a folder, to be copied to its host.

    Returns what the folder holds. Raises :class:`UsageError` for a backend that measures
    nothing, :class:`DoesNotFit` where the model does not fit.

    Examples
    --------
    >>> held = sgn.write_job(graph, "job", "The return", backend="loihi", layers="0")
    >>> held["tokens"]
    11
    """
    write = describe(backend).resolve("write_job")
    if write is None:
        raise UsageError(f"backend {backend} has no job folders; it runs here")
    runner = get_backend(backend, **options)
    graph = graph_of(graph)
    ids = tokens_of(graph, text, unknown=unknown, count=tokens)
    on = hw if isinstance(hw, Profile) else load_profile(hw)
    found: dict[str, Any] = dict(write(Path(path), runner, graph, ids, on, force=force))
    return found
