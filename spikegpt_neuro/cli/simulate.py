"""``simulate``: run tokens on a backend, and compare every integer with the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from spikegpt_neuro.cli.common import (
    Output,
    backend_options,
    exactly_one,
    source_of,
    source_options,
    unknown_option,
    verb,
)
from spikegpt_neuro.errors import CheckFailed

if TYPE_CHECKING:
    from spikegpt_neuro.vocabulary import Unknown


@click.command()
@click.argument("artifact", metavar="DIR")
@backend_options("run")
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
    unknown: Unknown,
    options: dict[str, Any],
) -> None:
    """Run the artifact DIR on a backend; with --verify, exit code 1 if any integer differs.

    Some backends also simulate the time on placed hardware.
    """
    from spikegpt_neuro import api

    exactly_one(**{"--text": text, "--prompt": prompt, "--corpus": corpus})
    graph = api.load(artifact)
    with out.progress(f"simulating on {backend}") as progress:
        done = api.simulate(
            graph,
            source_of(text, prompt),
            backend,
            tokens=count,
            verify=verify,
            unknown=unknown,
            progress=progress,
            **options,
        )
    figures = done.to_dict()
    simulation = figures.pop("simulation", None)
    if simulation is not None:
        figures |= {"simulation": simulation} if out.as_json else _lines(simulation)
    out.result(figures)
    if done.first_mismatch is not None:
        where = f"backend {backend} differs from the reference at {done.first_mismatch}"
        raise CheckFailed(where)
    if simulation is not None and simulation["interrupted"]:
        raise KeyboardInterrupt


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
