"""A graph or a checkpoint in another tool's format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from spikegpt_neuro.api.inputs import PathLike
from spikegpt_neuro.api.models import GraphLike, load, read_model
from spikegpt_neuro.converters.exporters import registry
from spikegpt_neuro.converters.settings import GivenLIF
from spikegpt_neuro.graph.artifact import is_artifact
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.spikegpt import Compat, SpikeGPT
from spikegpt_neuro.results import Result


@dataclass(frozen=True, repr=False)
class Export(Result):
    """What was written. ``unexported``: what the format has nothing for, by name."""

    path: Path
    nodes: int
    unexported: tuple[str, ...]

    HEADLINE: ClassVar[tuple[str, ...]] = ("path", "nodes")


def export(
    source: GraphLike | SpikeGPT,
    to: str,
    path: PathLike,
    *,
    vocab: PathLike | None = None,
    compat: Compat = "training",
    lif_tau: float | None = None,
    lif_threshold: float | None = None,
    lif_reset: float | None = None,
    force: bool = False,
) -> Export:
    """Write an artifact, a graph or a checkpoint in the format ``to``.

    ``vocab``, ``compat`` and the LIF are of a checkpoint given by its path, as in :func:`convert`;
    ``force`` replaces an output that exists.

    Raises
    ------
    UsageError
        No such format, or it cannot be made from this source.
    MissingBackend
        The format's package is not installed.
    CannotWrite
        Something is at ``path``, or it cannot be written.

    Examples
    --------
    >>> sgn.export(graph, "nir", "model.nir").nodes > 0
    True
    """
    target = Path(path)
    if isinstance(source, (str, Path)):
        is_graph = is_artifact(Path(source))
        registry.check_export(to, SpikingGraph if is_graph else SpikeGPT, target, force)
        lif = GivenLIF(lif_tau, lif_threshold, lif_reset)
        source = (
            load(source) if is_graph else read_model(source, vocab=vocab, compat=compat, lif=lif)
        )
    done = registry.export(source, to, target, force=force)
    return Export(done.path, done.nodes, done.unexported)
