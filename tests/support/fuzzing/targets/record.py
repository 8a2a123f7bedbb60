"""Energy records. What was understood is what the file says, and each can be fitted and shown."""

from __future__ import annotations

import json
import math
from pathlib import Path
from random import Random
from typing import Any

from loihi_records import measured_records

from fuzzing.case import Case, Changed
from fuzzing.octets import damaged
from fuzzing.parts import special
from fuzzing.targets.placed import placement_on, record_on
from fuzzing.targets.profile import is_number
from fuzzing.values import FLOAT_LIMIT, changed, to_json
from spikegpt_neuro.api.fitting import fit, read_record
from spikegpt_neuro.energy import tables
from spikegpt_neuro.energy.record import to_json as record_to_json
from spikegpt_neuro.hardware.profile import load_profile

FILE, FITTED = "record.json", "fitted.toml"
GOOD = "schema = 1\n"


class Record:
    """One of a measured run, one of a simulated run."""

    def __init__(self) -> None:
        profile = load_profile("loihi2")
        simulated = record_to_json(record_on(profile, placement_on(profile)))
        first, *self._others = measured_records(6)
        self._bases: list[Any] = [record_to_json(first), simulated]

    def bases(self) -> list[Case]:
        return [Case({FILE: to_json(content)}) for content in self._bases]

    def case(self, rng: Random) -> Case:
        content = rng.choice(self._bases)
        way = rng.randrange(10)
        if way < 2:
            return Case({FILE: damaged(to_json(content), rng)})
        if way < 9:
            return Case({FILE: to_json(changed(content, rng))})
        return Case(special({FILE: to_json(content)}, rng))

    def read(self, folder: Path) -> object:
        record = read_record(folder / FILE)
        said = json.loads((folder / FILE).read_bytes())
        understood = json.loads(json.dumps(record_to_json(record)))
        for key, value in said.items():
            if not _alike(understood[key], value):
                raise Changed(f"{key} is {understood[key]!r:.80}, the file says {value!r:.80}")
        figures = tables.figures(record, (), ())
        json.dumps(figures, allow_nan=False)
        if record.is_measured:
            self._fit(folder)
        return json.dumps(understood, sort_keys=True)

    def _fit(self, folder: Path) -> None:
        """Fit it among good ones; a profile that exists stays where that fails."""
        target = folder / FITTED
        target.write_text(GOOD)
        try:
            fit([folder / FILE, *self._others], target, force=True)
        except BaseException:
            if target.read_text() != GOOD:
                raise Changed("fit failed and has replaced a profile") from None
            raise
        load_profile(target)


def make() -> Record:
    return Record()


def _alike(understood: Any, said: Any) -> bool:
    """Equal, a number being one in whatever form."""
    if isinstance(said, dict):
        return isinstance(understood, dict) and all(
            key in understood and _alike(understood[key], value) for key, value in said.items()
        )
    if isinstance(said, list):
        same_length = isinstance(understood, list) and len(understood) == len(said)
        return same_length and all(map(_alike, understood, said))
    if understood == said or not (is_number(said) and is_number(understood)):
        return bool(understood == said)
    within = max(abs(said), abs(understood)) < FLOAT_LIMIT
    return within and math.isclose(said, understood, rel_tol=1e-15)
