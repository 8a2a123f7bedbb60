"""Float ONNX files, as ``export --to onnx-float`` writes them.

The format has no checksums. What was understood must be what onnx itself reads.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import onnx
from onnx import numpy_helper

from fuzzing.case import Case
from fuzzing.octets import damaged
from fuzzing.parts import CHARACTERS, contents, special, tiny_model, unheard
from fuzzing.targets import checkpoints
from fuzzing.values import TEXTS, WHOLE, changed, to_json
from spikegpt_neuro.converters.exporters import onnx_float
from spikegpt_neuro.vocabulary import CharacterVocabulary

FILE = "model.onnx"
PREFIX = "spikegpt_neuro."
DIMENSIONS = (0, 1, 2, 16, 64, 1 << 31, 1 << 62, -1)


class Onnx:
    """One model, with its vocabulary in the metadata."""

    def __init__(self) -> None:
        checkpoints.prepare()
        model = replace(tiny_model(), vocabulary=CharacterVocabulary(tuple(CHARACTERS)))
        with tempfile.TemporaryDirectory() as place:
            onnx_float.export(model, Path(place) / FILE)
            self._data = (Path(place) / FILE).read_bytes()

    def bases(self) -> list[Case]:
        return [Case({FILE: self._data})]

    def case(self, rng: Random) -> Case:
        way = rng.randrange(12)
        if way < 4:
            return Case({FILE: damaged(self._data, rng)})
        model = onnx.load_from_string(self._data)
        if way < 8:
            for _ in range(rng.choice((1, 1, 2))):
                _change_tensor(rng.choice(model.graph.initializer), rng)
        elif way < 11:
            _change_metadata(model, rng)
        else:
            return Case(special({FILE: self._data}, rng))
        return Case({FILE: model.SerializeToString(), "beside.bin": bytes(4096)})

    def read(self, folder: Path) -> object:
        model, meaning = checkpoints.read(folder / FILE)
        stored = onnx.load(folder / FILE, load_external_data=False)
        values = contents(_stored(stored, folder))
        checkpoints.check_tensors(meaning, values)
        said = {e.key: e.value for e in stored.metadata_props}.get(PREFIX + "shape")
        if said is not None:
            lif = json.loads(said).get("lif", {})
            checkpoints.check_lif(model, {f"lif_{name}": value for name, value in lif.items()})
        checkpoints.lower_some(model, values)
        return meaning


def make() -> Onnx:
    return Onnx()


def _change_tensor(tensor: Any, rng: Random) -> None:
    way = rng.randrange(8)
    if way == 0:
        tensor.dims[:] = [rng.choice(DIMENSIONS) for _ in range(rng.choice((0, 1, 2, 3, 70)))]
    elif way == 1:
        tensor.dims[:] = list(reversed(tensor.dims))
    elif way == 2:
        tensor.data_type = rng.choice((0, 1, 2, 6, 7, 10, 11, 16, 17, 23, 99))
    elif way == 3:
        tensor.raw_data = damaged(tensor.raw_data, rng)
    elif way == 4:
        tensor.name = rng.choice((tensor.name + "x", "", "\x00", "emb.weight", "blocks.9.ln1.bias"))
    elif way == 5:
        tensor.ClearField("raw_data")
        tensor.float_data[:] = [
            rng.choice((0.0, 1.0, 1e30)) for _ in range(rng.choice((0, 16, 192)))
        ]
    elif way == 6:
        tensor.ClearField("raw_data")
        _put_outside(tensor, rng)
    else:
        tensor.raw_data = b""


def _put_outside(tensor: Any, rng: Random) -> None:
    tensor.data_location = onnx.TensorProto.EXTERNAL
    places = ("beside.bin", "beside.bin", "model.onnx", ".", *TEXTS)
    entries = {
        "location": rng.choice(places),
        "offset": str(rng.choice((0, 4, 4000, *WHOLE[:20]))),
        "length": str(rng.choice((0, 64, 4096, *WHOLE[:20]))),
    }
    for key, value in entries.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value.encode("utf-8", "replace").decode()


def _change_metadata(model: Any, rng: Random) -> None:
    entry = rng.choice(model.metadata_props)
    try:
        entry.value = to_json(changed(json.loads(entry.value), rng)).decode()
    except ValueError:
        entry.value = damaged(entry.value.encode(), rng).decode("utf-8", "replace")


def _stored(model: Any, folder: Path) -> Iterator[Any]:
    for tensor in model.graph.initializer:
        try:
            with unheard():
                values = numpy_helper.to_array(tensor, str(folder)).astype(float)
        except Exception:  # what onnx cannot read, nobody may have understood
            continue
        yield values
