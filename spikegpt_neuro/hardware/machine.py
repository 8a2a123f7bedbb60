"""The placed hardware as the timing models see it: cores at routers of one mesh, and latencies."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, make_dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.hardware.events import timed
from spikegpt_neuro.hardware.mesh import Mesh, crosses_chips

NEEDED, OPTIONAL, BETWEEN_CHIPS = timed("needed"), timed("optional"), timed("between chips")
"""Events whose latency a profile must give, may count into others, or gives for several chips."""

INTERVALS = ("link_interval", "interchip_interval", "memory_word", "barrier", "step_minimum")

TIMED = timed("needed", "optional", "between chips")

if TYPE_CHECKING:

    class _Seconds:
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

        def __init__(self, **seconds: float) -> None: ...
        def __getattr__(self, name: str) -> float: ...

else:
    _Seconds = make_dataclass(
        "_Seconds",
        [
            *((name, float) for name in (*TIMED, *INTERVALS[:-1])),
            (INTERVALS[-1], float, field(default=0.0)),
        ],
        frozen=True,
    )


class Latencies(_Seconds):
    """Seconds, from a hardware profile: a frozen dataclass.

    Each event that takes time (:data:`~spikegpt_neuro.hardware.events.EVENTS`) has its latency:
    ``neuron_access`` every neuron in every step, ``neuron_update`` in addition where there is
    something to update, ``axon_in`` each message that arrives and then ``synaptic_operation`` per
    synapse, ``interchip_hop`` in addition to a hop that crosses a chip boundary, and so on;

    ``link_interval``, ``interchip_interval``  shortest time between two messages over one link
                            within a chip, and over one port between chips.
    ``memory_word``         shortest time between two reads of a core's synaptic memory.
    ``barrier``             the one for the tiles and chips in use.
    ``step_minimum``        no step takes less.
    """


@dataclass(frozen=True)
class Machine:
    """``link_buffer``: messages that the buffer at the end of a link holds.

    ``cycle``              seconds of one clock cycle, the resolution of the clocked model.
    ``synapses_per_word``  synapses that one read of synaptic memory brings.
    ``adds``               a core works on neurons and on synapses one after the other.
    """

    mesh: Mesh
    latencies: Latencies
    link_buffer: int
    cycle: float
    synapses_per_word: int
    adds: bool = False

    @cached_property
    def link_intervals(self) -> NDArray[np.float64]:
        """(L,) shortest time between two messages over each link."""
        return np.where(
            crosses_chips(self.mesh),
            self.latencies.interchip_interval,
            self.latencies.link_interval,
        )

    def link_seconds(self, messages: NDArray[Any]) -> NDArray[np.float64]:
        """What ``messages`` (..., L) take of each link, or of the port that it shares."""
        return self.mesh.by_port(messages * self.link_intervals)[..., self.mesh.port]

    def check_at_once(self, timing: str) -> None:
        """Raise :class:`UsageError` where a core's parts add up, which ``timing`` cannot tell."""
        if self.adds:
            raise UsageError(
                f"timing is {timing!r}, whose cores work on neurons and synapses at once, but "
                "latency.core_terms of the profile is 'sum'; use timing bound or simple"
            )
