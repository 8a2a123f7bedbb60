"""``simulate``: run tokens on a backend, and compare every integer with the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from spikegpt_neuro.cli.common import (
    TIMINGS,
    Output,
    backend_option,
    exactly_one,
    lava_python_option,
    open_backend,
    source_options,
    source_tokens,
    time_limit_option,
    unknown_option,
    verb,
)
from spikegpt_neuro.cli.loihi import loihi_options
from spikegpt_neuro.errors import CheckFailed

if TYPE_CHECKING:
    from spikegpt_neuro.graph.graph import SpikingGraph
    from spikegpt_neuro.running import Record, Run
    from spikegpt_neuro.vocabulary import Unknown


@click.command(short_help="Run tokens on a backend, and verify every integer.")
@click.argument("artifact", metavar="DIR")
@backend_option
@source_options
@click.option(
    "--tokens",
    "count",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    metavar="N",
    help="Run at most the first N tokens.",
)
@click.option("--verify", is_flag=True, help="Compare every event and logit with the reference.")
@click.option(
    "--granularity",
    type=click.Choice(["population", "block"]),
    help="Lava: stock processes by population, or one process per block [default: population].",
)
@click.option(
    "--frame",
    type=click.IntRange(min=1),
    metavar="N",
    help="Lava by block: tokens that one time step carries through all blocks [default: 256]; "
    "by population, a time step is one token.",
)
@time_limit_option
@lava_python_option
@click.option("--hw", metavar="PROFILE", help="cycle: a profile's name or file [default: loihi2].")
@click.option(
    "--timing",
    type=click.Choice(TIMINGS),
    help="cycle: the timing model [default: cycle].",
)
@click.option(
    "--schedule",
    type=click.Choice(["pipelined", "fall-through"]),
    help="cycle: a token every step, or one after the other [default: pipelined].",
)
@click.option(
    "--placement", metavar="FILE", help="cycle: written by map -o [default: place it here]."
)
@click.option("--trace", metavar="FILE", help="cycle: save a trace that Perfetto opens (JSON).")
@click.option("--svg", metavar="FILE", help="cycle: save a picture of congestion.")
@loihi_options
@unknown_option
@verb
def simulate(
    out: Output,
    artifact: str,
    backend: str,
    text: str | None,
    prompt: str | None,
    corpus: str | None,
    count: int,
    verify: bool,
    granularity: str | None,
    frame: int | None,
    time_limit: float | None,
    lava_python: str | None,
    unknown: Unknown,
    loihi: dict[str, Any],
    **hardware: str | None,
) -> None:
    """Run the artifact DIR on a backend; with --verify, exit code 1 if any integer differs.

    The backend cycle also simulates the time on placed hardware.
    """
    from spikegpt_neuro import api

    exactly_one(**{"--text": text, "--prompt": prompt, "--corpus": corpus})
    graph = api.load(artifact)
    tokens = source_tokens(graph, artifact, unknown, text, prompt)[:count]
    runner = open_backend(
        backend,
        granularity=granularity,
        frame=frame,
        time_limit=time_limit,
        lava_python=lava_python,
        **hardware,
        **loihi,
    )
    record: Record = "events" if verify else "logits"
    with out.progress(f"simulating on {backend}") as progress:
        run = runner.run(graph, tokens, record=record, progress=progress)
    mismatch = _mismatch(graph, backend, run) if verify else None
    figures = {
        "backend": backend,
        "granularity": getattr(runner, "granularity", None),
        "frame": getattr(runner, "tokens_per_step", None),
        "tokens": len(run.tokens),
        "seconds": run.seconds,
        "startup_seconds": run.startup_seconds,
        "matches_reference": mismatch is None if verify else None,
        "first_mismatch": mismatch,
    }
    simulation = getattr(runner, "simulation", None)
    if simulation is not None:
        found = simulation.to_json()
        figures |= {"simulation": found} if out.as_json else _lines(found)
    out.result(figures)
    if mismatch is not None:
        raise CheckFailed(f"backend {backend} differs from the reference at {mismatch}")
    if simulation is not None and simulation.interrupted:
        raise KeyboardInterrupt


def _mismatch(graph: SpikingGraph, backend: str, run: Run) -> str | None:
    """Where the run differs from the reference; that one is compared with its other mode."""
    from spikegpt_neuro.running import first_mismatch, get_backend

    options = {"chunk": 1} if backend == "reference" else {}
    reference = get_backend("reference", **options)
    return first_mismatch(graph, run, reference.run(graph, run.tokens, record="events"))


SHOWN = (
    "hardware",
    "timing",
    "schedule",
    "chips",
    "cores",
    "depth",
    "steps",
    "interrupted",
    "seconds_per_step",
    "seconds_per_token",
    "tokens_per_second",
    "tokens_per_second_whole_run",
    "latency_seconds",
    "steady",
)


def _lines(found: dict[str, Any]) -> dict[str, object]:
    """A simulation's figures for a person, in hardware time."""
    core, link = found["critical_core"], found["critical_link"]
    lines = {f"simulated {name}".replace("_", " "): found[name] for name in SHOWN}
    lines["critical core"] = f"{core['name']}, busy {core['busy_share']:.1%} of the time"
    if link is not None:
        lines["critical link"] = (
            f"{link['name']}, occupied {link['occupied_share']:.1%} of the time, "
            f"{link['messages_per_step']:,.0f} messages per step"
        )
    return lines
