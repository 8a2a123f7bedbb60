"""Weights and LIFs as stock processes on Loihi 2, everything else on the host; its rehearsal."""

from spikegpt_neuro.backends.lava import ARTIFACT, LAVA_PYTHON, TIME_LIMIT
from spikegpt_neuro.descriptions import Description, Option, Use

_USES: tuple[Use, ...] = ("run", "profile")

BACKEND = Description(
    name="loihi",
    factory="spikegpt_neuro.backends.loihi.backend:LoihiBackend",
    options=(
        Option("rehearse", "loihi: the same network on the CPU.", "flag", uses=_USES),
        Option(
            "slurm",
            "loihi: by SLURM (any: it chooses).",
            uses=_USES,
            metavar="PARTITION[,BOARD]",
        ),
        Option("host", "loihi: a system on the network.", uses=_USES, metavar="ADDRESS"),
        Option(
            "chip_generation",
            "loihi: N3B2, N3B3, N3C1 or N3D1 [default: N3B3].",
            uses=_USES,
            metavar="GEN",
        ),
        Option(
            "config",
            "loihi: names the system.",
            "path",
            uses=_USES,
            metavar="FILE",
            flag="loihi-config",
        ),
        Option("layers", "loihi: on the chip [default: everything].", uses=_USES, metavar="0-3"),
        Option(
            "only_projection",
            "loihi: on the chip; repeatable.",
            "several",
            uses=_USES,
            metavar="NAME",
        ),
        Option(
            "adapter_steps",
            "loihi: time steps of the adapters to the chip and back [default: 0 0].",
            "pair",
            uses=_USES,
            metavar="IN OUT",
        ),
        TIME_LIMIT,
        LAVA_PYTHON,
        ARTIFACT,
    ),
    ready="spikegpt_neuro.backends.loihi.outcome:check_ready",
    is_measured="spikegpt_neuro.backends.loihi.outcome:is_measured",
    measure="spikegpt_neuro.backends.loihi.outcome:measured_run",
    write_job="spikegpt_neuro.backends.loihi.package:write_package",
    diagnose="spikegpt_neuro.backends.loihi.connection:diagnose",
)
