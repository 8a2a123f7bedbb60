"""The graph on Lava, Intel's framework for neuromorphic chips, in a supervised child process."""

from spikegpt_neuro.descriptions import Description, Option

TIME_LIMIT = Option(
    "time_limit",
    "End a Lava run after this time.",
    "positive",
    uses=("run", "generate", "profile", "report"),
    metavar="SECONDS",
)
LAVA_PYTHON = Option(
    "lava_python",
    "Interpreter that has Lava, if not this one.",
    uses=("run", "generate", "profile", "report"),
    metavar="PYTHON",
)
ARTIFACT = Option("artifact", "Where the graph is saved already.", "path", uses=())

BACKEND = Description(
    name="lava",
    factory="spikegpt_neuro.backends.lava.backend:LavaBackend",
    options=(
        Option(
            "granularity",
            "Lava: stock processes by population, or one process per block [default: population].",
            choices=("population", "block"),
            uses=("run", "profile"),
        ),
        Option(
            "frame",
            "Lava by block: tokens that one time step carries through all blocks [default: 256]; "
            "by population, a time step is one token.",
            "whole",
            metavar="N",
        ),
        TIME_LIMIT,
        LAVA_PYTHON,
        ARTIFACT,
    ),
    at_speed={"granularity": "block"},
    diagnose="spikegpt_neuro.backends.lava.compat:diagnose",
)
