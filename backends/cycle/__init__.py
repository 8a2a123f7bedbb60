"""The cycle-level simulator: what the chips would do with the events of a run, and when."""

from spikegpt_neuro.backends.cycle.timing.names import DEFAULT, timing_names
from spikegpt_neuro.descriptions import Description, Option
from spikegpt_neuro.schedules import SCHEDULES

BACKEND = Description(
    name="cycle",
    factory="spikegpt_neuro.backends.cycle.backend:CycleBackend",
    options=(
        Option("hw", "cycle: a profile's name or file [default: loihi2].", metavar="PROFILE"),
        Option(
            "timing",
            f"cycle: the timing model [default: {DEFAULT}].",
            choices=timing_names(),
        ),
        Option(
            "schedule",
            "cycle: a token every step, or one after the other [default: pipelined].",
            choices=SCHEDULES,
        ),
        Option(
            "placement",
            "cycle: written by map -o [default: place it here].",
            "path",
            metavar="FILE",
        ),
        Option(
            "trace",
            "cycle: save a trace that Perfetto opens (JSON).",
            "path",
            metavar="FILE",
        ),
        Option("svg", "cycle: save a picture of congestion.", "path", metavar="FILE"),
    ),
    shares_integers=True,
    timing=DEFAULT,
    counts_events=True,
    has_time=True,
)
