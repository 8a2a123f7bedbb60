"""``profile``: joules, seconds and synaptic operations per token, and what they rest on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spikegpt_neuro.api.choices import DEFAULT_PROFILE
from spikegpt_neuro.cli.common import (
    CORPORA,
    Output,
    backend_options,
    exactly_one,
    place_options,
    schedule_choice,
    source_of,
    source_options,
    timing_choice,
    unknown_option,
    verb,
)
from spikegpt_neuro.cli.streams import json_text, say
from spikegpt_neuro.errors import CannotWrite, CheckFailed, UsageError

if TYPE_CHECKING:
    from spikegpt_neuro.api import Compared, TokenCost
    from spikegpt_neuro.vocabulary import Unknown


@click.command()
@click.argument("artifact", metavar="DIR")
@backend_options("profile")
@click.option("--hw", metavar="PROFILE", help="A profile's name or .toml file.")
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
    type=schedule_choice,
    default="pipelined",
    show_default=True,
    help="A token enters at every step (reading), or when the last one is through (writing).",
)
@click.option(
    "--timing",
    type=timing_choice,
    help="How time is found [default: what the backend asks for, else bound].",
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
    "timing, accounting, embedding or head; or bits (of weights), where DIR is a checkpoint. "
    "Repeat it for every combination.",
)
@click.option(
    "--vocab", metavar="FILE", help="With --compare by bits: the checkpoint's vocabulary."
)
@click.option("--dry-run", is_flag=True, help="Only write a job folder for a measuring host (-o).")
@click.option("-o", "--output", metavar="PATH", help="Save the measured record, or the job folder.")
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
    vocab: str | None,
    unknown: Unknown,
    dry_run: bool,
    output: str | None,
    force: bool,
    backend: str,
    hw: str | None,
    options: dict[str, Any],
    **setting: Any,
) -> None:
    """Price a run of the artifact DIR; exit code 1 if it does not fit the hardware.

    Without --text and --prompt it runs the built-in text. Figures are what one more token costs in
    the steady state. Each has a range where constants are assumed, and says which kinds of
    constants it rests on.
    """
    from spikegpt_neuro import api
    from spikegpt_neuro.files import check_output_file

    hw = _checked(backend, hw, options, compare, dry_run, output)
    if text is None and prompt is None:
        corpus = corpus or CORPORA[0]
    exactly_one(**{"--text": text, "--prompt": prompt, "--corpus": corpus})
    axes = _axes(compare)
    if placement is not None and {"embedding", "head"} & axes.keys():
        raise UsageError(
            "--placement says where embedding and head are; leave them out of --compare"
        )
    if output is not None and not dry_run:
        check_output_file(Path(output), force)
    if vocab is not None and "bits" not in axes:
        raise UsageError("--vocab is of a checkpoint; it goes with --compare by bits")
    source = source_of(text, prompt)
    if dry_run and output is not None:
        graph = api.load(artifact)
        job: dict[str, Any] = {"tokens": count, "unknown": unknown, "force": force, **options}
        out.result(api.write_job(graph, output, source, backend=backend, hw=hw, **job))
        out.note("copy the folder to the host and run it there; its README.txt says how")
        return
    common: dict[str, Any] = {
        "backend": backend,
        "hw": hw,
        "tokens": count,
        "placement": placement,
        "seed": seed,
        "context": context,
        "artifact": artifact,
        "unknown": unknown,
        "progress": out.stages,
        **setting,
    }
    if axes:
        compared = api.compare(artifact, axes, source, vocab=vocab, options=options, **common)
        _side_by_side(out, compared)
        return
    found = api.profile(api.load(artifact), source, **common, **options)
    if output is not None:
        _save(out, found, output, force)
    _one(out, found)
    if output is not None and not out.as_json:
        _comparison(found)
    if found.is_cut_short:
        raise KeyboardInterrupt


def _save(out: Output, found: TokenCost, output: str, force: bool) -> None:
    """Keep the record of a measured run; print it where it cannot be saved."""
    from spikegpt_neuro.energy.record import to_json

    try:
        found.save(output, force=force)
    except CannotWrite:
        record = to_json(found.record)
        if out.as_json:
            out.result({"record": record})
        else:
            say(json_text(record))
        raise


def _checked(
    backend: str,
    hw: str | None,
    options: dict[str, Any],
    compare: Sequence[str],
    dry_run: bool,
    output: str | None,
) -> str:
    """The hardware profile; raises before anything starts if options do not go together."""
    from spikegpt_neuro.api.profiling import check_ready
    from spikegpt_neuro.descriptions import describe

    measures = describe(backend).measure is not None
    if hw is None and not measures:
        raise UsageError("--hw is missing: name a hardware profile")
    if not measures and (dry_run or output is not None):
        raise UsageError(f"--dry-run and -o are for backends that measure; {backend} does not")
    if compare and output is not None:
        raise UsageError("-o saves one record; leave --compare")
    if dry_run and output is None:
        raise UsageError("--dry-run writes a job folder; name it with -o")
    if options.get("rehearse") and output is not None:
        raise UsageError("a rehearsal measures nothing; leave -o, or rehearse in the job folder")
    if not dry_run:
        check_ready(backend, options)
    return hw or DEFAULT_PROFILE


def _axes(compare: Sequence[str]) -> dict[str, list[str | int]]:
    """What ``--compare hw=a,b schedule=c,d`` asks for."""
    axes: dict[str, list[str | int]] = {}
    for text in (part for option in compare for part in option.split()):
        name, _, values = text.partition("=")
        if not name or not values:
            raise UsageError(f"--compare {text}: expected NAME=A,B")
        listed = values.split(",")
        numbers = [int(v) if name == "bits" and v.isdecimal() else v for v in listed]
        axes.setdefault(name, []).extend(numbers)
    return axes


def _one(out: Output, found: TokenCost) -> None:
    if out.as_json:
        out.result(found.to_dict())
    else:
        from spikegpt_neuro.cli.profile_view import show

        show(found.to_dict())
    if found.first_mismatch is not None:
        backend = found.to_dict()["backend"]
        raise CheckFailed(f"backend {backend} differs from the reference at {found.first_mismatch}")


def _side_by_side(out: Output, found: Compared) -> None:
    """Every profile; one that does not fit keeps its place, with the reason."""
    profiles = found.to_dict()["profiles"]
    out.document(profiles)
    if not out.as_json:
        from spikegpt_neuro.cli.profile_view import show_side_by_side

        show_side_by_side(profiles)
    for figures in profiles:
        if "error" in figures:
            raise CheckFailed(f"{figures['hardware']}: {figures['error']}")


def _comparison(found: TokenCost) -> None:
    from spikegpt_neuro.cli.profile_view import show_comparison

    show_comparison(found.to_dict()["comparison"])
