"""A process that runs one LIF network in SANA-FE, for :mod:`sanafe_peer`.

    python sanafe_worker.py FOLDER

reads ``network.npz`` and ``job.json`` from the folder and writes ``outcome.json``. A process of its
own, because SANA-FE orders events of equal time by where its cores lie in memory: only the first
chip of a process has them in the order of their numbers, and ``detailed`` times of later ones
differ by a percent from run to run. SANA-FE is GPL software: it is run, and nothing of it is here.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import sanafe


def main(folder: Path) -> None:
    """Answer one job: the runs that it names, each ``repeats`` times from rest."""
    architecture = loihi()
    chip = sanafe.SpikingChip(architecture)
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    begin = time.perf_counter()
    with np.load(folder / "network.npz") as arrays:
        chip.load(network(architecture, arrays, job))
    built = time.perf_counter() - begin
    outcomes = {
        timing: [run(chip, timing, job) for _ in range(job["repeats"])] for timing in job["timings"]
    }
    (folder / "outcome.json").write_text(json.dumps({"built": built, "runs": outcomes}))


def loihi() -> Any:
    """SANA-FE's own Loihi, with one input unit per core instead of 1024: those take 1.5 GB."""
    whole = files("sanafe").joinpath("examples/loihi.yaml").read_text(encoding="utf-8")
    trimmed = whole.replace("loihi_inputs[0..1023]", "loihi_inputs[0..0]")
    assert trimmed != whole, "this is not the file of SANA-FE 2.2.9"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "loihi.yaml")
        path.write_text(trimmed, encoding="utf-8")
        return sanafe.load_arch(str(path))


def network(architecture: Any, arrays: Any, job: dict[str, Any]) -> Any:
    """One group of neurons between any two borders of projections, joined block by block."""
    threshold, leak, bias, core = (arrays[k] for k in ("threshold", "leak", "bias", "core"))
    edges = job["edges"]
    end_of = dict(itertools.pairwise(edges))
    cores = [core for tile in architecture.tiles for core in tile.cores]
    built = sanafe.Network()
    groups = {}
    for begin, end in end_of.items():
        groups[begin] = built.create_neuron_group(f"from{begin}", end - begin, model_attributes={})
        for i in range(begin, end):
            attributes = {"threshold": float(threshold[i]), "leak_decay": float(leak[i])}
            if bias[i]:
                attributes["bias"] = float(bias[i])
            groups[begin][i - begin].set_attributes(
                soma_hw_name="loihi_lif", model_attributes=attributes
            )
    for index, (source, target) in enumerate(job["projections"]):
        weights = arrays[f"weights{index}"]
        for a in (e for e in edges if source <= e < source + weights.shape[0]):
            for b in (e for e in edges if target <= e < target + weights.shape[1]):
                block = weights[a - source : end_of[a] - source, b - target : end_of[b] - target]
                groups[a].connect_neurons_dense(groups[b], {"weight": block.ravel().tolist()})
    for begin, end in end_of.items():
        for i in range(begin, end):
            groups[begin][i - begin].map_to_core(cores[job["cores"][core[i]]])
    return built


def run(chip: Any, timing: str, job: dict[str, Any]) -> dict[str, Any]:
    """One run from rest, in the words of :class:`sanafe_peer.Outcome`."""
    chip.reset()
    begin = time.perf_counter()
    found = chip.sim(
        job["steps"], timing_model=timing, processing_threads=job["threads"], perf_trace=True
    )
    wall = time.perf_counter() - begin
    energy, trace = found["energy"], found["perf_trace"]
    return {
        "joules": energy["total"],
        "parts": {name: energy[name] for name in ("synapse", "soma", "network")},
        "seconds": found["sim_time"],
        "steps": trace["sim_time"],
        "counts": {
            "neuron_update": found["neurons_updated"],
            "spike_out": found["neurons_fired"],
            "axon_out": found["packets_sent"],
            "synaptic_operation": found["spikes"],
            "hops": sum(trace["hops"]),
        },
        "wall_seconds": wall,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
