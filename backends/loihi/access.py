"""Whether this interpreter has what talks to Loihi 2, and how to get it."""

from __future__ import annotations

import importlib.util

from spikegpt_neuro.errors import MissingBackend

EXTENSION = "lava.utils.loihi2_profiler"
"""The module by which Lava itself recognizes its Loihi extension (``loihi.is_installed``)."""

HOW_TO_GET_IT = (
    "Lava's Loihi extension (lava-loihi) is not public: Intel gives it to members of its "
    "Neuromorphic Research Community (INRC), on request at inrc_interest@intel.com; "
    "without it, rehearse on the CPU with rehearse=True"
)


def is_installed() -> bool:
    """Whether Lava's Loihi extension is there; looks for its file, imports nothing of it."""
    try:
        return importlib.util.find_spec(EXTENSION) is not None
    except ModuleNotFoundError:  # not even Lava is there
        return False


def require_extension() -> None:
    """Raise :class:`MissingBackend`, with how to get it, where the extension is missing."""
    if not is_installed():
        raise MissingBackend(f"{EXTENSION} is not installed: {HOW_TO_GET_IT}")
