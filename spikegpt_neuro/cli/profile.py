"""``profile``: joules, seconds and synaptic operations per token, and what they rest on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from spikegpt_neuro.cli.common import (
    CORPORA,
    TIMINGS,
    Output,
    backend_option,
    exactly_one,
    lava_python_option,
    open_backend,
    place_options,
    source_options,
    source_tokens,
    time_limit_option,
    unknown_option,
    verb,
)
from spikegpt_neuro.cli.loihi import check_options, loihi_options, save_record, write_job_folder
from spikegpt_neuro.errors import CheckFailed, UsageError

if TYPE_CHECKING:
    from spikegpt_neuro.cli.profile_bench import Bench, Variant
    from spikegpt_neuro.running import Progress
    from spikegpt_neuro.vocabulary import Unknown


@click.command(short_help="Joules, seconds and synaptic operations per token.")
@click.argument("artifact", metavar="DIR")
@backend_option
@click.option("--hw", metavar="PROFILE", help="A profile's name or .toml file [loihi: loihi2].")
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
@click.option(
    "--schedule",
    type=click.Choice(["pipelined", "fall-through"]),
    default="pipelined",
    show_default=True,
    help="A token enters at every step (reading), or when the last one is through (writing).",
)
@click.option(
    "--timing",
    type=click.Choice(TIMINGS),
    help="How time is found [default: cycle with --backend cycle, else bound].",
)
@click.option(
    "--accounting",
    default="as-arrives",
    show_default=True,
    metavar="NAME[:VARIANT]",
    help="Price what arrives, or follow a convention: paper-v5, paper-v1, neurobench, "
    "kerasspiking, horowitz45.",
)
@click.option(
    "--context",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    metavar="T",
    help="Tokens that a transformer looks back on, for accountings that compare with one.",
)
@click.option(
    "--placement",
    metavar="FILE",
    help="A placement that map wrote [default: placed as map does, by this run's activity].",
)
@place_options
@click.option(
    "--compare",
    multiple=True,
    metavar="NAME=A,B...",
    help="Profiles side by side, for each of the values; NAME is an option: hw, backend, schedule, "
    "timing, accounting, embedding or head. Repeat it for every combination.",
)
@click.option(
    "--granularity",
    type=click.Choice(["population", "block"]),
    help="Lava: stock processes by population, or one process per block [default: population].",
)
@time_limit_option
@lava_python_option
@loihi_options
@click.option("--dry-run", is_flag=True, help="loihi: only write a job folder for its host (-o).")
@click.option(
    "-o", "--output", metavar="PATH", help="loihi: save the measured record, or the job folder."
)
@click.option("--force", is_flag=True, help="Replace what is at -o.")
@unknown_option
@verb
def profile(
    out: Output,
    artifact: str,
    text: str | None,
    prompt: str | None,
    corpus: str | None,
    count: int,
    placement: str | None,
    seed: int,
    context: int,
    compare: Sequence[str],
    granularity: str | None,
    time_limit: float | None,
    lava_python: str | None,
    unknown: Unknown,
    loihi: dict[str, Any],
    dry_run: bool,
    output: str | None,
    force: bool,
    **setting: Any,
) -> None:
    """Price a run of the artifact DIR; exit code 1 if it does not fit the hardware.

    Without --text and --prompt it runs the built-in text. Figures are what one more token costs in
    the steady state. Each has a range where constants are assumed, and says which kinds of
    constants it rests on.
    """
    from spikegpt_neuro import api
    from spikegpt_neuro.cli.profile_bench import Bench, variants

    hw = check_options(setting, compare, loihi, lava_python, dry_run, output)
    setting["hw"] = hw
    if text is None and prompt is None:
        corpus = corpus or CORPORA[0]
    exactly_one(**{"--text": text, "--prompt": prompt, "--corpus": corpus})
    chosen = variants(setting, compare)
    if placement is not None and any(c.startswith(("embedding=", "head=")) for c in compare):
        raise UsageError(
            "--placement says where embedding and head are; leave them out of --compare"
        )
    graph = api.load(artifact)
    tokens = source_tokens(graph, artifact, unknown, text, prompt)[:count]
    if dry_run and output is not None:
        backend = open_backend("loihi", time_limit=time_limit, **loihi)
        write_job_folder(out, backend, graph, tokens, hw, output, force)
        return
    bench = Bench(graph, tokens, artifact, placement, seed, context)
    options = {"granularity": granularity, "time_limit": time_limit, "lava_python": lava_python}
    for name in dict.fromkeys(variant.backend for variant in chosen):
        # The reference's integers need no backend of their own, and the simulator runs them too.
        own = None if name in ("reference", "cycle") else open_backend(name, **options, **loihi)
        with out.progress(f"measuring activity on {name}") as progress:
            bench.measure(name, own, progress)
    if compare:
        _side_by_side(out, bench, chosen)
    else:
        _one(out, bench, chosen[0])
        if output is not None:
            save_record(out, bench.probed, output, force)


def _one(out: Output, bench: Bench, variant: Variant) -> None:
    with out.progress(f"timing on {variant.hw}") as progress:
        found = bench.figures(variant, progress)
    if out.as_json:
        out.result(found)
    else:
        from spikegpt_neuro.cli.profile_view import show

        show(found)
    if mismatch := found.get("first_mismatch"):
        raise CheckFailed(f"backend {variant.backend} differs from the reference at {mismatch}")


def _side_by_side(out: Output, bench: Bench, chosen: Sequence[Variant]) -> None:
    """Every variant; one that does not fit keeps its place, with the reason."""
    found: list[dict[str, Any]] = []
    for variant in chosen:
        with out.progress(f"timing on {variant.hw}") as progress:
            found.append(_figures_or_reason(bench, variant, progress))
    if out.as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        from spikegpt_neuro.cli.profile_view import show_side_by_side

        show_side_by_side(found)
    for figures in found:
        if "error" in figures:
            raise CheckFailed(f"{figures['hardware']}: {figures['error']}")


def _figures_or_reason(bench: Bench, variant: Variant, progress: Progress | None) -> dict[str, Any]:
    try:
        return bench.figures(variant, progress)
    except CheckFailed as error:
        return variant.named() | {"error": str(error)}
