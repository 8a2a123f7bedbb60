"""What placements and profiles have in common: a run, placed, timed and priced."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from fuzzing.case import Changed
from fuzzing.parts import tiny_graph
from spikegpt_neuro.api.measuring import Measured, Site, mapped_of, measure
from spikegpt_neuro.energy.record import Estimate, Range, from_json, to_json
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.mapping.goal import Goal
from spikegpt_neuro.mapping.placement import Placement

MOST_CHIPS = 64


@cache
def measured_run() -> Measured:
    """The tiny model's events for a few tokens."""
    return measure(tiny_graph(), np.arange(6) % 12)


def placement_on(profile: Profile) -> Placement:
    found = mapped_of(tiny_graph(), measured_run, profile, Goal(), "host", "chip", 0)
    return found.placement


def record_on(profile: Profile, placement: Placement) -> Estimate:
    """What the run costs on these cores; raises :class:`Changed` for what no run can cost."""
    site = Site(measured_run(), profile, placement)
    timed, events = site.time("pipelined", "bound")
    found = site.record("cycle", timed, events)
    for name, figure in {**found.joules, "seconds": found.seconds}.items():
        _check(name, figure)
    if from_json(to_json(found)) != found:
        raise Changed("the record is another one after it was saved")
    return found


def _check(name: str, figure: Range) -> None:
    for value in (figure.low, figure.value, figure.high):
        if not (math.isfinite(value) and value >= 0):
            raise Changed(f"{name} of a run is {value}")
