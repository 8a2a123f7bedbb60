"""``profiles``: the hardware profiles, and the constants of one with their sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from spikegpt_neuro.cli.common import Output, verb
from spikegpt_neuro.cli.streams import say

if TYPE_CHECKING:
    from spikegpt_neuro.hardware.profile import Profile


@click.command()
@click.argument("name", metavar="[PROFILE]", required=False)
@verb
def profiles(out: Output, name: str | None) -> None:
    """List the hardware profiles; with PROFILE (a name or a .toml file), its constants."""
    from spikegpt_neuro import api

    found = api.profiles(name)
    if out.as_json:
        out.result(found.to_dict())
    elif isinstance(found, api.ProfileList):
        out.result(found.profiles)
    else:
        _table(found.profile)


def _table(profile: Profile) -> None:
    from spikegpt_neuro.cli import tables
    from spikegpt_neuro.hardware.schema import SPECS

    heads = ("constant", "value", "unit", "kind", "low .. high", "source")
    table = tables.table(*heads, left=heads, title=profile.title)
    sources = list(dict.fromkeys(profile[key].source for key in SPECS if key in profile))
    for key in (key for key in SPECS if key in profile):
        constant = profile[key]
        source = f"({sources.index(constant.source) + 1}) {constant.note}"
        bounds = (
            "" if constant.low is None else f"{_shown(constant.low)} .. {_shown(constant.high)}"
        )
        value = _shown(constant.value)
        table.add_row(key, value, constant.unit, constant.kind, bounds, source)
    tables.show(table, wrapped=("value", "low .. high", "source"))
    for number, source in enumerate(sources, start=1):
        say(f"({number}) {source}")


def _shown(value: object) -> str:
    """A number, or a list as a person writes it."""
    if not isinstance(value, tuple):
        return "" if value is None else f"{value}"
    return ", ".join(
        f"{item[0]}: {item[1]}" if isinstance(item, tuple) else str(item) for item in value
    )
