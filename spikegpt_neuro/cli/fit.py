"""``fit``: a hardware profile from measured runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from spikegpt_neuro.cli.common import Output, verb

if TYPE_CHECKING:
    from pathlib import Path

    from spikegpt_neuro.energy.record import Estimate


@click.command(short_help="A hardware profile from measured runs.")
@click.argument("records", metavar="RECORD...", nargs=-1, required=True)
@click.option("-o", "--output", required=True, metavar="FILE", help="The profile (.toml).")
@click.option("--base", default="loihi2", show_default=True, help="The profile to build on.")
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
    base: str,
    powered_chips: int | None,
    force: bool,
) -> None:
    """Fit energy per operation to measured RECORDs, which profile --backend loihi -o wrote."""
    from pathlib import Path

    from spikegpt_neuro.backends.loihi import fitting
    from spikegpt_neuro.files import check_output_file
    from spikegpt_neuro.hardware.profile import load_profile

    check_output_file(Path(output), force)
    profile = load_profile(base)
    found = fitting.fit([_record(Path(name)) for name in records], powered_chips)
    names = [Path(name).name for name in records]
    fitting.save_profile(Path(output), found, profile, names, force)
    load_profile(Path(output).resolve())
    low, mean, high = found.static
    out.result(
        {
            "profile": output,
            "base": profile.name,
            "runs": found.runs,
            "picojoules": {key: joules * 1e12 for key, joules in found.joules.items()},
            "residuals_joules": found.residuals.tolist(),
            "relative_residual": found.relative,
            "static_watts_per_chip": mean,
            "static_watts_range": [low, high],
        }
    )


def _record(path: Path) -> Estimate:
    import json

    from spikegpt_neuro.energy.record import from_json
    from spikegpt_neuro.errors import UnsupportedInput

    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UnsupportedInput(f"{path}: cannot be read as a record: {error}") from error
    if not isinstance(content, dict):
        raise UnsupportedInput(f"{path}: not an energy record")
    return from_json(content)
