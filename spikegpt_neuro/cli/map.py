"""``map``: how many cores and chips a model fills, and where each neuron stands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spikegpt_neuro.cli.common import Output, place_options, text_tokens, unknown_option, verb
from spikegpt_neuro.errors import CheckFailed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spikegpt_neuro.graph.graph import SpikingGraph
    from spikegpt_neuro.hardware.profile import Profile
    from spikegpt_neuro.mapping.mapper import Mapped, Refused
    from spikegpt_neuro.mapping.requirements import Where
    from spikegpt_neuro.mapping.traffic import Rates
    from spikegpt_neuro.vocabulary import Unknown

ACTIVITY_TOKENS = 128


@click.command(name="map", short_help="Place an artifact on the cores and chips of a hardware.")
@click.argument("artifact", metavar="DIR")
@click.option("--hw", required=True, metavar="PROFILE", help="A profile's name or .toml file.")
@click.option("-o", "--output", metavar="FILE", help="Save the placement (JSON).")
@click.option("--svg", metavar="FILE", help="Save a picture of core fill and traffic.")
@place_options
@click.option(
    "--activity",
    metavar="TEXT",
    help="A UTF-8 text (- for standard input) whose activity weighs the traffic "
    "[default: the running Python's documentation].",
)
@unknown_option
@verb
def map(  # noqa: A001
    out: Output,
    artifact: str,
    hw: str,
    output: str | None,
    svg: str | None,
    embedding: Where,
    head: Where,
    seed: int,
    activity: str | None,
    unknown: Unknown,
) -> None:
    """Place the artifact DIR; exit code 1 if it does not fit or cannot run there."""
    from spikegpt_neuro import api
    from spikegpt_neuro.files import sha256_of, write_atomically
    from spikegpt_neuro.graph.artifact import CONFIG
    from spikegpt_neuro.hardware.profile import load_profile
    from spikegpt_neuro.mapping.mapper import Refused, place
    from spikegpt_neuro.mapping.picture import draw
    from spikegpt_neuro.mapping.requirements import refusals

    profile = load_profile(hw)
    graph = api.load(artifact)
    rates: Rates = {}
    if not refusals(graph, profile, embedding, head):  # else nothing will be weighed
        rates = _rates(out, graph, _tokens(graph, artifact, unknown, activity, seed))
    found = place(
        graph,
        profile,
        rates,
        embedding=embedding,
        head=head,
        seed=seed,
        artifact=sha256_of(Path(artifact) / CONFIG),
    )
    if isinstance(found, Refused):
        _show_refused(out, found, profile)
        raise CheckFailed(_first(found))
    if output is not None:
        found.placement.save(output)
    if svg is not None:
        title = f"{Path(artifact).resolve().name} on {profile.name}"
        write_atomically(Path(svg), draw(found, profile, title))
    out.result(_figures(found, profile) | {"placement": output, "svg": svg})
    if not out.as_json:
        _table(found, profile)


def _tokens(
    graph: SpikingGraph, where: str, unknown: Unknown, text: str | None, seed: int
) -> NDArray[np.int64]:
    import numpy as np

    if graph.vocabulary is None and text is None:
        rng = np.random.default_rng(seed)
        return rng.integers(0, graph.shape.vocab_size, ACTIVITY_TOKENS)
    return text_tokens(graph, where, unknown, text)[:ACTIVITY_TOKENS]


def _rates(out: Output, graph: SpikingGraph, tokens: NDArray[np.int64]) -> Rates:
    from spikegpt_neuro import api
    from spikegpt_neuro.mapping.mapper import measured_rates

    with out.progress("measuring activity") as progress:
        run = api.run(graph, tokens, record="events", progress=progress)
    return measured_rates(graph, run)


def _figures(found: Mapped, profile: Profile) -> dict[str, Any]:
    from spikegpt_neuro.mapping.mapper import lower_bound_cores

    used = int(found.usage.synaptic_memory.sum())
    return {
        "hardware": profile.name,
        "chips": found.topology.chips,
        "cores": found.cores,
        "neurons": found.load.neurons,
        "synapses": found.load.dense_synapses,
        "synaptic_memory_used": used,
        "utilization": used / (found.cores * profile.limits.synaptic_memory),
        "violations": [],
        "lower_bound_cores": lower_bound_cores(found.load, profile),
        "message_hops_per_token": found.hops.placed,
        "message_hops_plain_order": found.hops.plain_order,
        "message_hops_random_order": found.hops.random_order,
        "host_messages_per_token": found.traffic.from_host + found.traffic.to_host,
        "embedding": found.placement.embedding,
        "head": found.placement.head,
    }


def _show_refused(out: Output, found: Refused, profile: Profile) -> None:
    violations = [str(violation) for violation in found.violations]
    figures = {
        "hardware": profile.name,
        "chips": found.chips,
        "cores": found.cores,
        "neurons": found.load.neurons,
        "synapses": found.load.dense_synapses,
        "synaptic_memory_used": None,
        "utilization": None,
    }
    if out.as_json:
        out.result(figures | {"violations": violations})
        return
    out.result(figures | {"violations": len(violations)})
    for violation in violations:
        click.echo(f"  {violation}")


def _first(found: Refused) -> str:
    first, *more = found.violations
    return str(first) + (f" (and {len(more)} more, see violations)" if more else "")


def _table(found: Mapped, profile: Profile) -> None:
    """One row per chip."""
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from spikegpt_neuro.mapping.picture import chip_contents

    table = Table("chip", "cores", "neurons", "synaptic memory", "full", "holds")
    for column in table.columns[:-1]:
        column.justify = "right"
    chip_of = np.array([chip for chip, _ in found.placement.sites])
    for chip in range(found.topology.chips):
        here = chip_of == chip
        cores, memory = int(here.sum()), int(found.usage.synaptic_memory[here].sum())
        share = memory / max(1, cores * profile.limits.synaptic_memory)
        table.add_row(
            str(chip),
            f"{cores} of {found.topology.usable}",
            f"{int(found.usage.neurons[here].sum()):,}",
            f"{memory:,}",
            f"{share:.1%}",
            chip_contents(found.placement, chip),
        )
    Console().print(table)
