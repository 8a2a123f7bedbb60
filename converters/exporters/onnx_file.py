"""An ONNX step model on disk: states, metadata, initializers inside the file or beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from spikegpt_neuro.converters.exporters.onnx_body import IR_VERSION, OPSET, Body, Domain
from spikegpt_neuro.files import atomic_file, data_file
from spikegpt_neuro.model.spikegpt import ModelShape
from spikegpt_neuro.version import __version__
from spikegpt_neuro.vocabulary import Vocabulary

METADATA = "spikegpt_neuro."
EXTERNAL_DATA_BYTES = 1 << 30  # protobuf messages end at 2 GiB
ALIGNMENT = 1 << 16  # of tensors in the data file, so that they can be memory-mapped

TOKEN, LOGITS = "token", "logits"
Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class StateTensor:
    """One vector that a step hands to the next: ``<key>`` under ``state_in`` and ``state_out``."""

    key: str
    initial: NDArray[Any]

    @property
    def input(self) -> str:
        return f"state_in.{self.key}"

    @property
    def output(self) -> str:
        return f"state_out.{self.key}"


@dataclass(frozen=True)
class StepModel:
    """A graph of one token per run, ready to be written."""

    kind: str
    body: Body
    domain: Domain
    tensors: Tensors
    states: Sequence[StateTensor]
    logits: int
    element_type: int
    metadata: Mapping[str, Any]


def describe(shape: ModelShape, vocabulary: Vocabulary | None) -> dict[str, Any]:
    """Metadata of the model: its shape, and its vocabulary with the files it consists of."""
    files = {} if vocabulary is None else vocabulary.to_files()
    return {
        "shape": asdict(shape),
        "vocabulary": None if vocabulary is None else vocabulary.kind,
        "vocabulary_files": {
            name: content.decode("utf-8", "surrogatepass") for name, content in files.items()
        },
    }


def write_step_model(
    step: StepModel, path: Path, external_data_bytes: int = EXTERNAL_DATA_BYTES
) -> None:
    """Write ``path``, and a data file where the tensors take ``external_data_bytes`` or more.

    That is ``path``.data; where the model in its place has this name in use, ``path``.1.data.
    """
    model = _proto(step)
    with atomic_file(path) as temporary:
        if sum(array.nbytes for array in step.tensors.values()) < external_data_bytes:
            model.graph.initializer.extend(_inline(step.tensors))
        else:
            data = data_file(temporary, path)
            with data.open("wb") as file:
                model.graph.initializer.extend(_external(step.tensors, file, data.name))
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def _proto(step: StepModel) -> ModelProto:
    token = helper.make_tensor_value_info(TOKEN, TensorProto.INT64, [1])
    logits = helper.make_tensor_value_info(LOGITS, step.element_type, [step.logits])
    graph = helper.make_graph(
        step.body.nodes,
        "spikegpt_step",
        [token, *(_vector(s.input, s, step.element_type) for s in step.states)],
        [logits, *(_vector(s.output, s, step.element_type) for s in step.states)],
    )
    model = helper.make_model(
        graph,
        producer_name="spikegpt-neuro",
        producer_version=__version__,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(step.domain.name, 1)],
        functions=list(step.domain.functions.values()),
    )
    helper.set_model_props(
        model,
        {
            f"{METADATA}{name}": json.dumps(value)
            for name, value in {
                "kind": step.kind,
                "states": [_pairing(state) for state in step.states],
                **step.metadata,
            }.items()
        },
    )
    return model


def _vector(name: str, state: StateTensor, element_type: int) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type, list(state.initial.shape))


def _pairing(state: StateTensor) -> dict[str, Any]:
    """Which output feeds which input, and its first value: one number where all are equal."""
    values = state.initial.tolist()
    uniform = values[0] if len(set(values)) == 1 else values
    return {"input": state.input, "output": state.output, "initial": uniform}


def _inline(tensors: Tensors) -> Iterable[TensorProto]:
    for name, array in tensors.items():
        yield numpy_helper.from_array(np.ascontiguousarray(array), name)


def _external(tensors: Tensors, file: IO[bytes], location: str) -> Iterable[TensorProto]:
    """Write one tensor after another: no more than one is in memory."""
    for name, array in tensors.items():
        file.write(bytes(-file.tell() % ALIGNMENT))
        tensor = TensorProto(
            name=name,
            dims=array.shape,
            data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
            data_location=TensorProto.EXTERNAL,
        )
        place = {"location": location, "offset": file.tell(), "length": array.nbytes}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        file.write(np.ascontiguousarray(array).data)
        yield tensor
