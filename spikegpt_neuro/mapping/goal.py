r"""What a placement is made for, and how good one is by that measure.

A placement is the better the less it scores: its cores, or the seconds of a token in the schedule
that counts, or joules per token as far as they depend on where neurons stand,

.. math:: E = (P_{static} + P_{embedded}) \, chips \, t
    + steps \, (cores \, e_{core\_step} + chips \, e_{chip\_step})
    + messages \, e_{interchip\_hop}
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from spikegpt_neuro.errors import UnsupportedInput, UsageError
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.mapping.cost import Prediction
from spikegpt_neuro.mapping.objectives import Objective, Steps
from spikegpt_neuro.mapping.placed_machine import missing_times
from spikegpt_neuro.mapping.placement import Placement
from spikegpt_neuro.schedules import Schedule

STATIC = "power.static_per_chip"


@dataclass(frozen=True)
class Goal:
    """``schedule``: whose energy counts. ``chips``: the most that may be used; None: the system.

    ``objective``  None: energy, or cores where the profile lacks what energy needs.
    """

    objective: Objective | None = "cores"
    schedule: Schedule = "pipelined"
    steps: Steps = "separate"
    chips: int | None = None

    @property
    def timed(self) -> Schedule:
        """The schedule whose time counts."""
        fixed: dict[Objective | None, Schedule] = {
            "latency": "fall-through",
            "throughput": "pipelined",
        }
        return fixed.get(self.objective, self.schedule)

    def on(self, profile: Profile) -> Goal:
        """The same with an objective, where it had none."""
        if self.objective is not None:
            return self
        known = STATIC in profile and not missing_times(profile)
        return replace(self, objective="energy" if known else "cores")

    def score(self, prediction: Prediction, placement: Placement, profile: Profile) -> float:
        """Less is better; see the module."""
        seconds = prediction.seconds[self.timed]
        if self.objective != "energy":
            return seconds
        if STATIC not in profile:
            raise UnsupportedInput(
                f"{profile.file}: {STATIC} is missing; placing for energy needs it "
                "(optimize='latency' and optimize='throughput' do not)"
            )
        steps = prediction.steps if self.timed == "fall-through" else 1
        chips, cores = placement.chips, len(placement.sites)
        counted = {
            STATIC: chips * seconds,
            "power.static_embedded_per_chip": chips * seconds,
            "energy.core_step": cores * steps,
            "energy.chip_step": chips * steps,
            "energy.interchip_hop": prediction.interchip_messages,
        }
        return sum(profile[key].base * n for key, n in counted.items() if key in profile)


def check_chips(chips: int | None) -> int | None:
    """Raise :class:`UsageError` for a number that cannot be."""
    if chips is not None and chips < 1:
        raise UsageError(f"chips is {chips}; expected 1 or more")
    return chips
