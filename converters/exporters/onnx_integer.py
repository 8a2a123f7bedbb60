"""``onnx``: the integer graph as an ONNX step model, equal to the reference in every integer.

One node per population and dense projection; the value ``events.<population>`` is what it
sends. Inputs ``token`` (1,) int64 and ``state_in.<population>.<state>`` (int32), outputs
``logits`` (int32, in units of ``logit_scale``) and ``state_out.<population>.<state>``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from spikegpt_neuro import neurons
from spikegpt_neuro.converters.exporters.exported import Exported, Format
from spikegpt_neuro.converters.exporters.onnx_body import Body, Value
from spikegpt_neuro.converters.exporters.onnx_file import (
    LOGITS,
    TOKEN,
    StateTensor,
    StepModel,
    describe,
    write_step_model,
)
from spikegpt_neuro.converters.exporters.onnx_integer_functions import (
    BYTE,
    INTEGER,
    SHIFT_LIMIT,
    SIGN,
    WEIGHT_ZERO,
)
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.graph.graph import Population, Projection, SpikingGraph
from spikegpt_neuro.neurons import Embedding, LayerNorm, Residual, TokenMix
from spikegpt_neuro.neurons.program import Program, declared

KIND = "integer-step"
Vectors = dict[str, NDArray[np.int64]]
Scalars = dict[str, int]


def export(graph: SpikingGraph, path: Path) -> Exported:
    """Write ``graph`` to ``path``.

    Raises :class:`UnsupportedInput` naming a population whose program ONNX has no function for.
    """
    writing = _Writing()
    for population in graph.populations:
        writing.population(graph, population)
    writing.body.op("Cast", writing.events[graph.output.name], name=LOGITS, to=TensorProto.INT32)
    step = StepModel(
        kind=KIND,
        body=writing.body,
        domain=INTEGER,
        tensors=writing.tensors,
        states=writing.states,
        logits=graph.output.size,
        element_type=TensorProto.INT32,
        metadata={
            **describe(graph.shape, graph.vocabulary),
            "logit_scale": graph.logit_scale,
            "weight_bits": graph.weight_bits,
            "activation_bits": graph.activation_bits,
            "provenance": dict(graph.provenance),
        },
    )
    write_step_model(step, path)
    return Exported(path, len(writing.body.nodes))


@dataclass
class _Writing:
    """The graph being written; all values are int64 vectors."""

    body: Body = field(default_factory=Body)
    tensors: dict[str, NDArray[Any]] = field(default_factory=dict)
    states: list[StateTensor] = field(default_factory=list)
    events: dict[str, Value] = field(default_factory=dict)

    def population(self, graph: SpikingGraph, population: Population) -> None:
        """The node of one population, its parameters and its states."""
        name, program = population.name, population.program
        if isinstance(program, Embedding):
            table = self.tensor(f"populations/{name}/table", program.table)
            index = self.body.op("Squeeze", self.body.value(TOKEN))
            row = self.body.op("Gather", table, index)
            self.events[name] = self.body.op(
                "Cast", row, name=f"events.{name}", to=TensorProto.INT64
            )
            return
        function = type(program).__name__
        built_in = getattr(neurons, function, None) is type(program)
        if not built_in or function not in INTEGER.functions:
            raise UnsupportedInput(
                f"population {name}: program {program.kind} has no ONNX function; "
                "only the built-in programs can be exported"
            )
        vectors, scalars = OTHERWISE.get(program.kind, _parameters)(program, name)
        inputs = [self.accumulated(q, graph) for q in graph.incoming[name]]
        parameters = [
            self.tensor(f"populations/{name}/{key}", array) for key, array in vectors.items()
        ]
        states = self.state_inputs(population)
        # A token mix keeps what it received; the others compute their next state.
        computed = () if isinstance(program, TokenMix) else program.state_names
        sent = "events" if program.dead_zone is None else "payloads"
        results = [f"{sent}.{name}", *(f"next.{name}.{state}" for state in computed)]
        payload, *following = self.body.call(
            function,
            [*inputs, *states, *parameters],
            results,
            INTEGER.name,
            **scalars,
        )
        self.events[name] = payload
        if program.dead_zone is not None:
            zone = self.tensor(f"populations/{name}/dead_zone", program.dead_zone.astype(np.int64))
            (self.events[name],) = self.body.call(
                "Silence", [payload, zone], [f"events.{name}"], INTEGER.name
            )
        self.state_outputs(population, following or inputs)

    def accumulated(self, projection: Projection, graph: SpikingGraph) -> Value:
        """What the synapses of ``projection`` add up to."""
        events = self.events[projection.source]
        weights = projection.weights
        if weights is None:
            return events * (1 << projection.shift) if projection.shift else events
        unsigned = (weights.astype(np.int16) + WEIGHT_ZERO).astype(np.uint8)
        stored = self.tensor(f"projections/{projection.name}", np.ascontiguousarray(unsigned.T))
        payload = graph.by_name[projection.source].events
        if payload.low >= 0 and payload.high < BYTE:
            return INTEGER.call("Dense", events, stored, offset=0)
        if payload.high < SIGN:
            return INTEGER.call("Dense", events, stored, offset=SIGN)
        return INTEGER.call("DenseWide", events, stored)

    def state_inputs(self, population: Population) -> list[Value]:
        initial = population.program.initial_state(population.size)
        states = [
            StateTensor(f"{population.name}.{name}", vector)
            for name, vector in zip(population.program.state_names, initial, strict=True)
        ]
        self.states += states
        return [self.body.value(state.input).cast(TensorProto.INT64) for state in states]

    def state_outputs(self, population: Population, values: list[Value]) -> None:
        for name, value in zip(population.program.state_names, values, strict=False):
            output = StateTensor(f"{population.name}.{name}", np.empty(0)).output
            self.body.op("Cast", value, name=output, to=TensorProto.INT32)

    def tensor(self, name: str, array: NDArray[Any]) -> Value:
        self.tensors[name] = array
        return self.body.value(name)


def _scale(mantissa: Any, shift: Any, where: str) -> tuple[Any, Any]:
    """A shift as a divisor; a negative one multiplies the mantissa."""
    if np.max(np.abs(shift), initial=0) > SHIFT_LIMIT:
        raise UnsupportedInput(f"{where}: a shift exceeds {SHIFT_LIMIT}; convert again")
    one = np.int64(1)
    return np.asarray(mantissa, np.int64) << np.maximum(np.negative(shift), 0), one << np.maximum(
        np.asarray(shift, np.int64), 0
    )


def _parameters(program: Program, where: str) -> tuple[Vectors, Scalars]:
    """The vector inputs and integer attributes of a program's function, from its declaration.

    A shift goes along with its mantissa, as ``..._divisor``; ``bits`` become the ``limit`` of the
    payload. Flags only tell how losses are counted, which ONNX does not; dead zones have a function
    of their own.
    """
    vectors: Vectors = {}
    scalars: Scalars = {}
    names = {parameter.name for parameter in declared(type(program))}
    for parameter in declared(type(program)):
        name, value = parameter.name, getattr(program, parameter.name)
        target: dict[str, Any] = vectors if parameter.form == "vector" else scalars
        if name == "bits":
            scalars["limit"] = program.events.high
        elif name.endswith("shift") and f"{name[: -len('shift')]}mantissa" in names:
            continue
        elif name.endswith("mantissa"):
            port = name[: -len("mantissa")]
            mantissa, divisor = _scale(value, getattr(program, f"{port}shift"), where)
            target |= {f"{port}mantissa": mantissa, f"{port}divisor": divisor}
        elif parameter.form not in ("flag", "dead zone"):
            target[name] = np.asarray(value, np.int64)
    return vectors, {name: int(value) for name, value in scalars.items()}


def _layer_norm(program: LayerNorm, where: str) -> tuple[Vectors, Scalars]:
    """The weight's fraction is folded into a divisor; the root's shift meets another one."""
    vectors, scalars = _parameters(program, where)
    weight, weight_divisor = _scale(program.weight, program.weight_shift, where)
    for name in ("weight_fraction", "output_fraction", "root_divisor"):
        del scalars[name]
    roots = {"root_mantissa": program.root_mantissa, "root_shift": program.root_shift}
    return vectors | {"weight": weight}, {
        **scalars,
        **roots,
        "weight_divisor": int(weight_divisor),
    }


def _residual(program: Residual, _where: str) -> tuple[Vectors, Scalars]:
    return {}, {"divisor": 1 << program.halve}


OTHERWISE: dict[str, Callable[[Any, str], tuple[Vectors, Scalars]]] = {
    LayerNorm.kind: _layer_norm,
    Residual.kind: _residual,
}
"""Programs whose function takes other parameters than the program declares."""


FORMAT = Format(
    export, (SpikingGraph,), instead="an artifact (convert writes it), or to='onnx-float'"
)
