"""Bits per token of a graph, beside its float original."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from spikegpt_neuro.api.beside import float_model_for
from spikegpt_neuro.api.dividing import PIECE_WINDOWS, scored_by
from spikegpt_neuro.api.inputs import PathLike, Text, compact_tokens_of
from spikegpt_neuro.api.models import GraphLike, graph_of, path_within
from spikegpt_neuro.cluster.place import place_of
from spikegpt_neuro.converters.settings import GivenLIF
from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.evaluation.evaluate import WINDOW, Evaluation, checked
from spikegpt_neuro.evaluation.evaluate import evaluate as score
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.float_forward import FloatModel
from spikegpt_neuro.remarks import remark
from spikegpt_neuro.running import Progress
from spikegpt_neuro.vocabulary import Unknown


def evaluate(
    graph: GraphLike,
    text: Text | None = None,
    *,
    against: PathLike | FloatModel | None = None,
    window: int = WINDOW,
    limit: int | None = None,
    lif_tau: float | None = None,
    lif_threshold: float | None = None,
    lif_reset: float | None = None,
    unknown: Unknown = "error",
    workers: int | None = None,
    scheduler: str | None = None,
    cluster: PathLike | None = None,
    piece: int = PIECE_WINDOWS,
    upload: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    r"""Score a text or token ids (T,); None: the built-in text, which the example never saw.

    What is odd about the figures is told by ``remarks`` of the result, and on the log.

    .. math::
        bits\_per\_token = -\frac{1}{T - 1} \sum_{t=1}^{T-1} \log_2 \mathrm{softmax}(z[t-1])_{x[t]}

    Parameters
    ----------
    against
        The float checkpoint (or model) of the graph, run over the same windows.
    window
        Tokens per window, W >= 1; the state is reset at each.
    limit
        Use only the first ``limit`` tokens.
    lif_tau, lif_threshold, lif_reset
        The LIF of a checkpoint ``against`` that does not state it [default: the graph's].
    workers
        Divide the windows among so many processes of this machine (extra ``cluster``).
    scheduler
        Divide them among the workers of a Dask scheduler, ``tcp://HOST:PORT``; they find the
        artifact (and ``against``) at the same path.
    cluster
        Divide them among jobs of SLURM or another queue, which this YAML file describes
        (``docs/cluster.md``); ``workers`` is then how many. They see the same paths, too. No figure
        depends on any of it.
    piece
        Windows that a worker gets at a time.
    upload
        Send the artifact to workers that do not see its folder, with its checksum.

    Raises
    ------
    UnsupportedInput
        Fewer than two tokens, ids out of range, ``against`` has another shape, or no scheduler
        answers.
    UsageError
        Both ``workers`` and ``scheduler``, or something in memory that workers are to read.
    WorkerFailed
        The scheduler or a worker's work ended.

    Examples
    --------
    >>> found = sgn.evaluate(graph, "The return value is a string. " * 9)
    >>> 0 < found.bits_per_token < 6
    True
    """
    place = place_of(workers, scheduler, cluster)
    lif = GivenLIF(lif_tau, lif_threshold, lif_reset)
    model = graph_of(graph)
    tokens = compact_tokens_of(model, text, unknown=unknown)
    floating = float_model_for(model, against, lif) if isinstance(against, (str, Path)) else against
    if place is None:
        found = score(
            model, tokens, window=window, against=floating, limit=limit, progress=progress
        )
    else:
        if piece < 1:
            raise UsageError(f"piece is {piece}, expected 1 or more windows")
        used = checked(model, tokens, window=window, against=floating, limit=limit)
        with _readable(graph, upload or place.is_here) as artifact:
            sums = scored_by(
                place,
                artifact,
                used,
                window=window,
                against=_path_of(against),
                lif=lif,
                piece=piece,
                upload=upload,
                progress=progress,
            )
        found = sums.evaluation(model, used, window)
    for text in found.remarks:
        remark(text)
    return found


@contextmanager
def _readable(graph: GraphLike, is_temporary_fine: bool) -> Iterator[Path]:
    """Where workers, or who uploads to them, read the graph."""
    if isinstance(graph, SpikingGraph) and not is_temporary_fine:
        raise UsageError("the graph is in memory here; give the path of its artifact to workers")
    with TemporaryDirectory() as folder:
        yield path_within(folder, graph)


def _path_of(against: PathLike | FloatModel | None) -> Path | None:
    if isinstance(against, FloatModel):
        raise UsageError("against is in memory here; give the path of the checkpoint to workers")
    return None if against is None else Path(against)
