"""What the backend hands to its worker beyond Lava's job directory, and what comes back.

::

    loihi.json     where the network runs, what is on the chip, which probe listens
    measured.json  what the probe said, as lists and numbers; only after a measured run
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from spikegpt_neuro.backends.loihi.connection import Connection
from spikegpt_neuro.backends.loihi.deployment import Crossing, Deployment, deploy
from spikegpt_neuro.documents import MEGABYTE, read_json
from spikegpt_neuro.graph.graph import SpikingGraph

Probe = Literal["time", "energy", "activity"]
PROBES: tuple[Probe, ...] = get_args(Probe)

SETTINGS = "loihi.json"
MEASURED = "measured.json"


@dataclass(frozen=True)
class LoihiSettings:
    """Content of ``loihi.json``; ``probe`` None: a run that measures nothing."""

    rehearse: bool
    layers: str | None
    only: tuple[str, ...]
    crossing: Crossing
    connection: Connection | None = None
    probe: Probe | None = None

    def deployment(self, graph: SpikingGraph) -> Deployment:
        """What goes onto the chip."""
        return deploy(graph, self.layers, self.only, self.crossing)

    def write(self, directory: Path) -> None:
        """Put the settings into a job directory."""
        (directory / SETTINGS).write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, directory: Path) -> LoihiSettings:
        """The settings of a job directory."""
        return read_json(directory / SETTINGS, cls, limit=MEGABYTE, exact=True)


def write_measured(directory: Path, values: Mapping[str, Any]) -> None:
    """Keep what a probe said."""
    (directory / MEASURED).write_text(json.dumps(values), "utf-8")


def read_measured(directory: Path) -> dict[str, Any]:
    """What a probe said."""
    values: dict[str, Any] = json.loads((directory / MEASURED).read_text("utf-8"))
    return values
