"""``fit``: a hardware profile from measured runs."""

from __future__ import annotations

import click

from spikegpt_neuro.api.choices import DEFAULT_PROFILE
from spikegpt_neuro.cli.common import Output, verb


@click.command()
@click.argument("records", metavar="RECORD...", nargs=-1)
@click.option("-o", "--output", required=True, metavar="FILE", help="The profile (.toml).")
@click.option(
    "--runs",
    metavar="published|DIR",
    help="Fit to these runs, too: those published, or a folder of files like theirs.",
)
@click.option("--base", default=DEFAULT_PROFILE, show_default=True, help="The profile to build on.")
@click.option(
    "--powered-chips",
    type=click.IntRange(min=1),
    metavar="N",
    help="Chips that share the measured static power [default: those that the run used].",
)
@click.option("--force", is_flag=True, help="Replace an existing profile.")
@verb
def fit(
    out: Output,
    records: tuple[str, ...],
    output: str,
    runs: str | None,
    base: str,
    powered_chips: int | None,
    force: bool,
) -> None:
    """Fit energy per operation to measured RECORDs, which profile -o wrote.

    With --runs, constants of energy and time are fitted to published runs and RECORDs (if any)
    together. What they do not tell is named and keeps the value of --base.
    """
    from spikegpt_neuro import api
    from spikegpt_neuro.errors import UsageError

    if not records and runs is None:
        raise UsageError("give RECORDs, --runs, or both")
    found = api.fit(records, output, base=base, runs=runs, powered_chips=powered_chips, force=force)
    out.result(found.to_dict())
