"""The keys that a hardware profile may have: their dimension, form and meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby

from spikegpt_neuro.hardware.events import EVENTS, EnergyEvent
from spikegpt_neuro.neurons import PROGRAMS, program_class

NUMBER_MAX = 1e30
WHOLE_MAX = 10**12
"""Far beyond any chip; what is made of such figures is finite, and fits 64 bits."""
CORE_TERMS = ("sum", "maximum")
REACHES = ("core", "chip")
KINDS = ("measured", "pre-silicon", "fitted", "scaled", "assumed")

Number = int | float
Value = Number | str | tuple[str, ...] | tuple[int, ...] | tuple[tuple[Number, Number], ...]


@dataclass(frozen=True)
class Dimension:
    """Units that measure the same thing, as multiples of the base unit."""

    units: Mapping[str, float]

    def to_base(self, value: object, unit: str) -> float:
        """A number in ``unit`` as a number in the base unit."""
        assert isinstance(value, (int, float))
        # In decimal, so that 1.8 us is the float nearest to 1.8e-6, as written elsewhere.
        return float(Decimal(repr(value)) * Decimal(repr(self.units[unit])))


TIME = Dimension({"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1})
ENERGY = Dimension({"pJ": 1e-12, "nJ": 1e-9, "uJ": 1e-6, "mJ": 1e-3, "J": 1})
POWER = Dimension({"mW": 1e-3, "W": 1})
MEMORY = Dimension({"byte": 1, "KiB": 1024, "MiB": 1024**2})
BIT = Dimension({"bit": 1})
VOLTAGE = Dimension({"mV": 1e-3, "V": 1})
RULE = Dimension({"rule": 1})
EXPONENT = Dimension({"exponent": 1})
STEP = Dimension({"step": 1})
PROGRAM = Dimension({"programs": 1})
OPERATION_RATE = Dimension({"op/s": 1, "Gop/s": 1e9})
MESSAGE_RATE = Dimension({"spike/s": 1, "Gspike/s": 1e9})
BYTE_RATE = Dimension({"byte/s": 1, "GB/s": 1e9, "TB/s": 1e12})


def count_of(unit: str) -> Dimension:
    """A number of things."""
    return Dimension({unit: 1})


@dataclass(frozen=True)
class Spec:
    """One key: its dimension, what it means, and which values it takes.

    ``read`` returns the value in its final form, or None where it is not ``form``.
    """

    dimension: Dimension
    meaning: str
    form: str
    parse: Callable[[object], Value | None]

    @property
    def expected(self) -> str:
        return f"{self.form} ({self.meaning})"

    def read(self, found: object) -> Value | None:
        return self.parse(found)


def _number(value: object) -> Value | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return value if 0 <= value <= NUMBER_MAX else None  # NaN is neither


def _whole(smallest: int) -> Callable[[object], Value | None]:
    def parse(value: object) -> Value | None:
        if not isinstance(value, int) or isinstance(value, bool):
            return None
        return value if smallest <= value <= WHOLE_MAX else None

    return parse


def _programs(value: object) -> Value | None:
    if not isinstance(value, list) or not all(isinstance(kind, str) for kind in value):
        return None
    return tuple(value) if value and all(map(program_class, value)) else None


def _one_of(*words: str) -> Callable[[object], Value | None]:
    def parse(value: object) -> Value | None:
        return value if isinstance(value, str) and value in words else None

    return parse


def _positive(value: object) -> Value | None:
    found = _number(value)
    return found if found else None


def _rule(meaning: str, words: tuple[str, ...]) -> Spec:
    return Spec(RULE, meaning, " or ".join(map(repr, words)), _one_of(*words))


def _bits(value: object) -> Value | None:
    if not isinstance(value, list) or not value:
        return None
    whole = all(isinstance(b, int) and not isinstance(b, bool) and 1 <= b <= 32 for b in value)
    return tuple(value) if whole else None


def _steps(value: object) -> Value | None:
    if not isinstance(value, list) or not value:
        return None
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            return None
        if _whole(1)(pair[0]) is None or _number(pair[1]) is None:
            return None
    starts = [pair[0] for pair in value]
    return tuple(map(tuple, value)) if starts == sorted(set(starts)) else None


def _spec(dimension: Dimension, meaning: str) -> Spec:
    return Spec(dimension, meaning, f"a number >= 0, at most {NUMBER_MAX:g}", _number)


def _capacity(dimension: Dimension, meaning: str, smallest: int = 1) -> Spec:
    form = f"a whole number >= {smallest}, at most {WHOLE_MAX:g}"
    return Spec(dimension, meaning, form, _whole(smallest))


def _barrier(meaning: str) -> Spec:
    return Spec(
        TIME, meaning, "[[from this count on, number >= 0], ...] in ascending order", _steps
    )


def _voltage(meaning: str) -> Spec:
    return Spec(VOLTAGE, meaning, f"a number > 0, at most {NUMBER_MAX:g}", _positive)


_PLACEMENT: dict[str, Spec] = {
    "chip.tile_columns": _capacity(count_of("tiles"), "routers from west to east"),
    "chip.tile_rows": _capacity(count_of("tiles"), "routers from north to south"),
    "chip.cores_per_tile": _capacity(count_of("cores"), "cores at one router"),
    "chip.usable_cores": _capacity(count_of("cores"), "cores of a chip that a user gets"),
    "core.neurons": _capacity(count_of("neurons"), "neurons of a core"),
    "core.synaptic_memory": _capacity(MEMORY, "memory for synapses and their lists"),
    "core.neuron_memory": _capacity(MEMORY, "memory for state, parameters and tables"),
    "core.input_axons": _capacity(count_of("axons"), "neurons that can reach a core"),
    "core.output_axons": _capacity(count_of("axons"), "pairs of a core's neuron and a target core"),
    "core.fan_in": _capacity(count_of("synapses"), "synapses into one neuron"),
    "encoding.list_header": _capacity(MEMORY, "header of one list of synapses", 0),
    "encoding.list_word": _capacity(MEMORY, "lists fill up words of this size"),
    "encoding.state_word": _capacity(MEMORY, "one state variable or parameter of a neuron"),
    "encoding.list_index": _capacity(BIT, "the target of one weight of a sparse list"),
    "support.programs": Spec(
        PROGRAM,
        "neuron programs",
        f"a list of {', '.join(sorted(PROGRAMS))} and installed programs",
        _programs,
    ),
    "support.weight_bits": Spec(BIT, "storable weights", "a list of whole numbers 1..32", _bits),
    "support.payload_bits": _capacity(BIT, "largest payload of an event; 1: binary spikes only"),
    "support.delay": _capacity(STEP, "longest delay of a synapse", 0),
    "support.multicast": _rule("where one message reaches all that hear it", REACHES),
    "system.chips": _capacity(count_of("chips"), "chips of the system"),
    "system.chip_rows": _capacity(count_of("chips"), "chips from north to south"),
    "system.chip_crossing": _spec(count_of("hops"), "a chip boundary, in hops of the mesh"),
    "system.ports": _capacity(count_of("ports"), "of a chip, to the chips around it"),
}


def _in_order() -> tuple[EnergyEvent, ...]:
    """Events as profiles list them: neighbours of one first word by their names."""
    groups = groupby(EVENTS, lambda event: event.name.split("_")[0])
    return tuple(e for _, group in groups for e in sorted(group, key=lambda event: event.name))


_TIMED = {event.name: event.meaning for event in _in_order() if event.time != "none"}
_UNTIMED = {event.name: event.meaning for event in _in_order() if event.time == "none"}
_OPERATIONS = {
    "synaptic_operation": _TIMED["synaptic_operation"],
    # Other kinds of lists: profiles may give them, they are never counted.
    "synaptic_operation_sparse": "one synapse of a sparse list",
    "synaptic_operation_convolution": "one synapse of a convolutional list",
    **_TIMED,
}

_COST: dict[str, Spec] = {
    **{f"energy.{key}": _spec(ENERGY, meaning) for key, meaning in _OPERATIONS.items()},
    **{f"energy.{key}": _spec(ENERGY, meaning) for key, meaning in _UNTIMED.items()},
    "energy.system_synaptic_operation": _spec(
        ENERGY, "one synaptic operation at full load, everything included"
    ),
    **{f"latency.{key}": _spec(TIME, meaning) for key, meaning in _OPERATIONS.items()},
    "latency.barrier": _barrier("end of a step, by tiles in use"),
    "latency.barrier_chips": _barrier("end of a step, by chips in use"),
    "latency.step_minimum": _spec(TIME, "no step takes less"),
    "latency.core_terms": _rule(
        "whether a core works on neurons and on synapses one after the other or at once", CORE_TERMS
    ),
    "power.static_per_chip": _spec(POWER, "drawn by a powered chip that does nothing"),
    "power.static_embedded_per_chip": _spec(
        POWER, "drawn in addition by the embedded processors of a powered chip"
    ),
    "power.system_maximum": _spec(POWER, "drawn by the whole system at most"),
    "bandwidth.tile": _spec(MESSAGE_RATE, "messages through one router"),
    "bandwidth.synaptic_operations": _spec(OPERATION_RATE, "synaptic operations of a chip"),
    "bandwidth.neuron_operations": _spec(OPERATION_RATE, "neuron updates of a chip"),
    "bandwidth.synaptic_memory": _spec(BYTE_RATE, "memory of all cores of a chip"),
    "bandwidth.intercore": _spec(BYTE_RATE, "messages between the cores of a chip"),
    "bandwidth.interchip": _spec(BYTE_RATE, "messages between a chip and its neighbours"),
    "bandwidth.port": _spec(BYTE_RATE, "messages through one port of a chip, one way"),
    "router.link_buffer": _capacity(count_of("messages"), "messages that a link's buffer holds"),
    "router.message": _capacity(MEMORY, "one message on a link"),
    "router.interchip_message": _capacity(MEMORY, "one message on a link between chips"),
    "router.cycle": _spec(TIME, "resolution of time in the clocked model"),
    "voltage.supply": _voltage("supply of the cores; without it, constants hold as they stand"),
    "voltage.nominal": _voltage("supply that the constants are for"),
    "voltage.time_exponent": _spec(EXPONENT, "time goes with the supply to minus this power"),
    "voltage.energy_exponent": _spec(EXPONENT, "dynamic energy goes with the supply to this power"),
}

SPECS: Mapping[str, Spec] = _PLACEMENT | _COST
EVIDENCE = (
    "energy.core_step",
    "energy.chip_step",
    "latency.step_minimum",
    "latency.core_terms",
    "power.static_embedded_per_chip",
    "voltage.supply",
    "voltage.nominal",
    "voltage.time_exponent",
    "voltage.energy_exponent",
)
"""What measurements asked for later; without it, a profile means what it meant before."""
OF_PORTS = ("system.ports", "bandwidth.port", "router.interchip_message")
"""Given together: without them, a chip's links to its neighbours share ``bandwidth.interchip``."""
OPTIONAL = ("encoding.list_index", "support.multicast", *OF_PORTS, *EVIDENCE)
"""What placement can do without.

Without ``list_index``, all lists are dense; without ``multicast``, a message reaches one core.
"""
REQUIRED = tuple(key for key in _PLACEMENT if key not in OPTIONAL)
SECTIONS = tuple(dict.fromkeys(key.split(".")[0] for key in SPECS))
