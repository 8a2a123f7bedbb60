"""Every integer and figure of one model, collected through what users call.

Conversion and calibration run in double precision here, so that the artifact does not depend on
which float kernels this machine's BLAS has. Figures are those that ``--json`` prints, without
the seconds of this machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import spikegpt_neuro as sgn
from spikegpt_neuro.cli import run as run_cli
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.model.float_forward import FloatModel
from spikegpt_neuro.model.synthetic import random_model, random_tokens
from spikegpt_neuro.vocabulary import ByteVocabulary

from places import EXAMPLES, TESTS

CALIBRATION = "spikegpt_neuro.quantization.calibration.FloatModel"
PROMPT = "The return value is a new object. If the argument is None, the default is used; " * 4
MODELS = {
    "example-8": ("example", 8),
    "example-4": ("example", 4),
    "12x512-8": ("12x512x256", 8),
    "12x512-4": ("12x512x256", 4),
}
OF_THIS_MACHINE = ("seconds", "startup_seconds")
NEWER = ("synops_over_dense", "weight_density")  # than the golden figures
TOKENS = {"example": 96, "12x512x256": 24}

PROFILES = {
    "pipelined, bound": (),
    "fall-through, bound": ("--schedule", "fall-through"),
    "pipelined, cycle": ("--backend", "cycle"),
    "embedding on the chip, head on the host": ("--embedding", "chip", "--head", "host"),
    "paper-v5": ("--accounting", "paper-v5"),
    "neurobench": ("--accounting", "neurobench"),
}
SIMULATIONS = {
    "cycle": ("--timing", "cycle"),
    "simple": ("--timing", "simple"),
    "detailed, fall-through": ("--timing", "detailed", "--schedule", "fall-through"),
}


def collect(name: str, folder: Path) -> dict[str, Any]:
    """All figures of the model ``name`` of :data:`MODELS`; files go to ``folder``."""
    shape, bits = MODELS[name]
    graph = converted(shape, bits)
    artifact = folder / f"{name}.sgn"
    graph.save(str(artifact))
    text = ("--prompt", PROMPT, "--tokens", str(TOKENS[shape]))
    on_chip = ("--hw", "loihi2", *text)
    placement = folder / f"{name}.json"
    return {
        "artifact": {f: _sha256(artifact / f) for f in ("graph.json", "weights.safetensors")},
        "run": _run(sgn.load(str(artifact)), TOKENS[shape]),
        "map": _map(artifact, placement),
        "placement": _placement(placement),
        "profile": {
            title: _json("profile", artifact, *on_chip, *options)
            for title, options in PROFILES.items()
        },
        "simulate": {
            title: _json("simulate", artifact, "--backend", "cycle", *on_chip, *options)
            for title, options in SIMULATIONS.items()
        },
    }


def converted(shape: str, bits: int) -> sgn.SpikingGraph:
    """The example, or a random model that speaks bytes."""
    with patch(CALIBRATION, partial(FloatModel, dtype="float64")):
        if shape == "example":
            return sgn.convert(
                EXAMPLES / "pydoc-4x128.pth",
                vocab=EXAMPLES / "pydoc-vocab.json",
                calibration=np.random.default_rng(0).integers(0, 96, 4096),
                weight_bits=bits,
            )
        model = random_model(*map(int, shape.split("x")), hidden_density=0.18)
        graph = lower(model, random_tokens(model, 2048), weight_bits=bits)
    return replace(graph, vocabulary=ByteVocabulary())


def _run(graph: sgn.SpikingGraph, count: int) -> dict[str, Any]:
    assert graph.vocabulary is not None
    tokens = graph.vocabulary.encode(PROMPT, unknown="replace")[:count]
    run = sgn.run(graph, tokens, record="events")
    logits = np.ascontiguousarray(run.logits_int, np.int32).tobytes()
    events = {n: np.ascontiguousarray(sent, np.int32).tobytes() for n, sent in run.events.items()}
    return {
        "logits": hashlib.sha256(logits).hexdigest(),
        "events": {n: hashlib.sha256(sent).hexdigest()[:16] for n, sent in events.items()},
        "counts": {name: list(count) for name, count in run.counts.items() if any(count)},
        "synaptic_operations": sum(a.synaptic_operations for a in run.activity.values()),
    }


NEWER_OF_MAP = (
    *("placement", "svg", "objective", "schedule", "steps", "busiest_core"),
    *("seconds_per_token", "joules_per_token", "confirmed_seconds_per_token"),
    "interchip_messages_per_token",
)
"""What depends on this machine, and figures that map did not have when these were written."""


def _map(artifact: Path, placement: Path) -> dict[str, Any]:
    activity = placement.with_suffix(".txt")
    activity.write_text(PROMPT, encoding="utf-8")
    text = ("--activity", activity, "--optimize", "cores")
    found = _json("map", artifact, "--hw", "loihi2", "-o", placement, *text)
    return {key: value for key, value in found.items() if key not in NEWER_OF_MAP}


def _placement(file: Path) -> dict[str, Any]:
    content = json.loads(file.read_text(encoding="utf-8"))
    lists = {key: content[key] for key in ("sites", "pieces")}
    return {
        "sha256": hashlib.sha256(json.dumps(lists).encode()).hexdigest(),
        "cores": len(content["sites"]),
        "pieces": len(content["pieces"]),
        "hardware_sha256": content["hardware"]["sha256"],
        "graph": content["graph"],
    }


def _json(*arguments: object) -> Any:
    """What a verb prints with ``--json``, without what depends on this machine."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = run_cli([*map(str, arguments), "--json", "--quiet"])
    assert code == 0, (arguments, printed.getvalue())
    found: dict[str, Any] = json.loads(printed.getvalue())
    if "constants" in found:  # with their sources they are most of a profile
        found["constants"] = hashlib.sha256(json.dumps(found["constants"]).encode()).hexdigest()
    return {key: value for key, value in found.items() if key not in OF_THIS_MACHINE + NEWER}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def differences(found: Any, wanted: Any, where: str = "") -> Iterator[str]:
    """Where two collections differ: missing keys, and every value."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            place = f"{where} / {key}"
            if key not in found or key not in wanted:
                yield f"{place}: only in {'found' if key in found else 'golden'}"
            else:
                yield from differences(found[key], wanted[key], place)
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        for index, pair in enumerate(zip(found, wanted, strict=True)):
            yield from differences(*pair, f"{where} [{index}]")
    elif found != wanted:
        yield f"{where}: {found!r}, golden {wanted!r}"


def write() -> None:
    """Write all golden figures as they are now."""
    for name in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            found = collect(name, Path(folder))
        file = TESTS / "golden" / "figures" / f"{name}.json"
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
