"""Stepping an exported model through tokens, whatever evaluates it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

Values = dict[str, np.ndarray[Any, Any]]
Evaluate = Callable[[Values], Values]
PREFIX = "spikegpt_neuro."
DTYPES = {1: np.float32, 6: np.int32}


def metadata(path: Path) -> dict[str, Any]:
    model = onnx.load(str(path), load_external_data=False)
    return {e.key.removeprefix(PREFIX): json.loads(e.value) for e in model.metadata_props}


def in_onnxruntime(path: Path) -> Evaluate:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda feed: dict(zip(names, session.run(names, feed), strict=True))


def in_onnx_reference(path: Path) -> Evaluate:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(path))
    names = evaluator.output_names
    return lambda feed: dict(zip(names, evaluator.run(names, feed), strict=True))


def initial_state(path: Path) -> Values:
    graph = onnx.load(str(path), load_external_data=False).graph
    types = {entry.name: entry.type.tensor_type for entry in graph.input}
    return {
        state["input"]: np.full(
            [dim.dim_value for dim in types[state["input"]].shape.dim],
            state["initial"],
            DTYPES[types[state["input"]].elem_type],
        )
        for state in metadata(path)["states"]
    }


def steps(path: Path, evaluate: Evaluate, tokens: np.ndarray[Any, Any]) -> Iterator[Values]:
    """All outputs after each token, states carried as the metadata pairs them."""
    pairs = {state["input"]: state["output"] for state in metadata(path)["states"]}
    state = initial_state(path)
    for token in tokens:
        outputs = evaluate({"token": np.array([token], np.int64), **state})
        state = {name: outputs[output] for name, output in pairs.items()}
        yield outputs
