"""Tokens per second in both modes, beside torch and beside the memory's own rate.

The other side of speed is :mod:`spikegpt_neuro.benchmark.torch_model`, where torch is
installed, and the rate at which this machine reads memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.benchmark.figures import Figure
from spikegpt_neuro.benchmark.memory import memory_reader, touched_bytes
from spikegpt_neuro.benchmark.rounds import Work, take_turns
from spikegpt_neuro.errors import CheckFailed
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.float_forward import FloatModel
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.running import Progress, Run, Session, get_backend

if TYPE_CHECKING:
    from spikegpt_neuro.benchmark.torch_model import TorchModel

Tokens = NDArray[np.int64]

TORCH_STEP = "float32 torch step"
TORCH_SEQUENCE = "float32 torch sequence forward"
MEMORY = "reading memory"
ONE_THREAD = "the same on one thread"
CHECKED_TOKENS = 8
CHECK_LIMIT = 0.05
"""Largest relative difference to the float reference. Rounding stays far below it even if it
tips a spike or two over the threshold; a wrong equation is far above."""


@dataclass(frozen=True)
class Plan:
    """How long to measure: ``rounds`` rounds with slices of ``seconds``, on ``threads``."""

    threads: int = 1
    rounds: int = 8
    seconds: float = 0.3


def torch_side(model: SpikeGPT, tokens: Tokens, threads: int) -> TorchModel | None:
    """The torch model on ``threads`` threads, checked; None where torch is not installed.

    Raises :class:`CheckFailed` if it does not give the float reference's logits.
    """
    if find_spec("torch") is None:
        return None
    from spikegpt_neuro.benchmark.torch_model import TorchModel, use_threads

    use_threads(threads)
    opponent = TorchModel(model)
    if (difference := torch_difference(opponent, model, tokens[:CHECKED_TOKENS])) > CHECK_LIMIT:
        raise CheckFailed(
            f"torch step: logits differ from the float reference by {difference:.2g} of their "
            f"size, at most {CHECK_LIMIT} is rounding; the comparison would mean nothing"
        )
    return opponent


def torch_difference(opponent: TorchModel, model: SpikeGPT, tokens: Tokens) -> float:
    """Relative difference (in the 2-norm) of step and sequence logits to the float reference."""
    expected = FloatModel(model).logits(tokens)
    sequence = opponent.forward(tokens.tolist()).numpy()
    opponent.reset()
    steps = np.stack([opponent.step(token).numpy() for token in tokens.tolist()])
    found = np.concatenate([steps - expected, sequence - expected])
    return float(np.linalg.norm(found) / np.linalg.norm(expected))


@contextmanager
def sessions(
    graphs: Mapping[str, SpikingGraph], tokens: Tokens, threads: int
) -> Iterator[dict[str, Work]]:
    """Work that generates one token with each graph, on the reference backend."""
    with open_sessions(graphs, threads) as opened:
        yield {name: _token_by_token(each.step, tokens) for name, each in opened.items()}


@contextmanager
def open_sessions(graphs: Mapping[str, SpikingGraph], threads: int) -> Iterator[dict[str, Session]]:
    """A session of the reference backend with each graph."""
    backend = get_backend("reference", threads=threads)
    with ExitStack() as stack:
        yield {name: stack.enter_context(backend.session(graph)) for name, graph in graphs.items()}


def generation(
    graphs: Mapping[str, SpikingGraph],
    runs: Mapping[str, Run],
    opponent: TorchModel | None,
    tokens: Tokens,
    plan: Plan,
    progress: Progress | None = None,
) -> dict[str, list[Figure]]:
    """Tokens/s of each graph beside torch, and its bytes/s beside reading memory.

    All graphs, torch and the reader take turns in the same rounds. ``runs`` holds a run of
    each graph over the same tokens: its activity tells which weights a token touches.
    """
    with open_sessions(graphs, plan.threads) as opened, memory_reader(plan.threads) as read:
        sides = {name: _token_by_token(each.step, tokens) for name, each in opened.items()}
        others = {MEMORY: read}
        if opponent is not None:
            others[TORCH_STEP] = _token_by_token(opponent.step, tokens)
        rates = take_turns(
            others | sides, rounds=plan.rounds, seconds=plan.seconds, progress=progress
        )
        by_source = {name: getattr(each, "by_source", None) for name, each in opened.items()}
    torch = rates.get(TORCH_STEP)
    figures: dict[str, list[Figure]] = {}
    for name, graph in graphs.items():
        ours, run = rates[name], runs[name]
        size = touched_bytes(graph, run.activity, len(run.tokens), by_source[name])
        figures[name] = [
            Figure(
                "generation",
                "tokens/s",
                ours.best,
                torch.best if torch else None,
                TORCH_STEP,
                rounds={"ours": ours.rounds} | ({"theirs": torch.rounds} if torch else {}),
            ),
            Figure(
                "weight_reading",
                "bytes/s",
                ours.best * size,
                rates[MEMORY].best,
                MEMORY,
                rounds={
                    "ours": [rate * size for rate in ours.rounds],
                    "theirs": rates[MEMORY].rounds,
                },
            ),
        ]
    return figures


def threads_gain(
    graphs: Mapping[str, SpikingGraph],
    tokens: Tokens,
    plan: Plan,
    progress: Progress | None = None,
) -> dict[str, Figure]:
    """Tokens/s of each graph on ``plan.threads`` threads beside the same on one thread."""
    with sessions(graphs, tokens, plan.threads) as many, sessions(graphs, tokens, 1) as one:
        sides = {("ours", name): work for name, work in many.items()}
        sides |= {("theirs", name): work for name, work in one.items()}
        rates = take_turns(sides, rounds=plan.rounds, seconds=plan.seconds, progress=progress)
    return {
        name: Figure(
            "threads",
            "tokens/s",
            rates["ours", name].best,
            rates["theirs", name].best,
            ONE_THREAD,
            rounds={side: rates[side, name].rounds for side in ("ours", "theirs")},
        )
        for name in graphs
    }


def sequence(
    graph: SpikingGraph,
    opponent: TorchModel | None,
    tokens: Tokens,
    plan: Plan,
    progress: Progress | None = None,
) -> Figure:
    """Tokens/s of sequence mode over the whole text beside torch's sequence forward."""
    backend = get_backend("reference", threads=plan.threads)

    def ours() -> float:
        return float(len(backend.run(graph, tokens, record="logits").tokens))

    sides: dict[str, Work] = {"ours": ours}
    if opponent is not None:
        listed = tokens.tolist()
        sides["theirs"] = lambda: float(len(opponent.forward(listed)))
    rates = take_turns(sides, rounds=plan.rounds, seconds=plan.seconds, progress=progress)
    return Figure(
        "sequence",
        "tokens/s",
        rates["ours"].best,
        rates["theirs"].best if opponent is not None else None,
        TORCH_SEQUENCE,
        rounds={name: rate.rounds for name, rate in rates.items()},
    )


def event_shares(graph: SpikingGraph, run: Run) -> dict[str, float]:
    """Mean share of non-zero events by kind of sender: spikes, squared ReLU, other payloads."""
    groups: dict[str, list[float]] = {"spikes": [], "squared_relu": [], "other_payloads": []}
    tokens = len(run.tokens)
    for projection in graph.projections:
        source = graph.by_name[projection.source]
        share = run.activity[projection.name].events / (tokens * source.size)
        if source.events.is_binary and source is not graph.input:
            groups["spikes"].append(share)
        elif projection.is_dense:
            hidden = source.program.kind == "squared_relu"
            groups["squared_relu" if hidden else "other_payloads"].append(share)
    return {name: float(np.mean(shares)) for name, shares in groups.items() if shares}


def _token_by_token(step: Callable[[int], object], tokens: Tokens) -> Work:
    """Work that steps one token of the text, round and round."""
    endless = cycle(tokens.tolist())

    def work() -> float:
        step(next(endless))
        return 1.0

    return work
