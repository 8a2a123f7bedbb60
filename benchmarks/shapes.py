"""Does it hold at real sizes? Convert and run random models of the published shapes.

    python benchmarks/shapes.py [--shapes 12x512x256,18x768x50277] [--json FILE]

For each shape a random checkpoint is written as upstream's ``.pth``, then the command line
converts it and runs it on the reference backend in both modes; each step is a process of its
own, so that its peak memory is its own. Needs torch (to write the checkpoint) and about
1.2 GB of temporary disk for the larger shape.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from spikegpt_neuro.benchmark.machine import description
from spikegpt_neuro.model.synthetic import random_model

SHAPES = "12x512x256,18x768x50277"
TOKENS = 512

# A random model has no vocabulary: it is calibrated on token ids, in Python.
CONVERT = """
import json, sys, time
import numpy as np
import spikegpt_neuro as sgn
from spikegpt_neuro.memory import peak_rss_bytes
from spikegpt_neuro.converters.reader import read_checkpoint
begin = time.perf_counter()
size = read_checkpoint(sys.argv[1]).shape.vocab_size
tokens = (size * np.random.default_rng(1).random(2048) ** 3).astype(np.int64)
graph = sgn.convert(sys.argv[1], calibration=tokens)
graph.save(sys.argv[2])
print(json.dumps({
    "seconds": time.perf_counter() - begin,
    "parameters": graph.shape.parameters,
    "peak_rss_bytes": peak_rss_bytes(),
}))
"""

MEASURE = """
import json, sys, time
import numpy as np
import spikegpt_neuro as sgn
from spikegpt_neuro.memory import peak_rss_bytes
from spikegpt_neuro.running import get_backend
begin = time.perf_counter()
graph = sgn.load(sys.argv[1])
loaded = time.perf_counter() - begin
tokens = np.random.default_rng(0).integers(0, graph.shape.vocab_size, int(sys.argv[2]))
backend = get_backend("reference")
backend.run(graph, tokens[:2], record="logits")
run = backend.run(graph, tokens, record="spikes")
with backend.session(graph) as session:
    session.step(int(tokens[0]))
    begin = time.perf_counter()
    last = [session.step(int(token)) for token in tokens[1:65]]
    seconds = time.perf_counter() - begin
whole = backend.run(graph, tokens[:65], record="logits").logits_int
lifs = [spikes for name, spikes in run.spikes.items() if "lif" in name]
print(json.dumps({
    "load_seconds": loaded,
    "sequence_tokens_per_second": len(tokens) / run.seconds,
    "generation_tokens_per_second": 64 / seconds,
    "modes_agree": bool((np.stack(last) == whole[1:]).all()),
    "firing": float(np.mean([spikes.mean() for spikes in lifs])),
    "saturations": run.saturations,
    "peak_rss_bytes": peak_rss_bytes(),
}))
"""


def write_checkpoint(path: Path, layers: int, width: int, vocab_size: int) -> None:
    """A random model as upstream's state_dict."""
    import torch

    model = random_model(layers, width, vocab_size)
    state = {}
    for name, array in model.tensors.items():
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        state[name] = tensor.reshape(1, 1, -1) if "time_mix" in name else tensor
    torch.save(state, path)


def output_of(*command: str) -> dict[str, Any]:
    """The JSON object that a command prints; its messages go to this process's stderr."""
    found = subprocess.run([sys.executable, *command], check=True, stdout=subprocess.PIPE)
    result: dict[str, Any] = json.loads(found.stdout)
    return result


def measure(layers: int, width: int, vocab_size: int) -> dict[str, Any]:
    """Convert and run one shape in a temporary directory."""
    with tempfile.TemporaryDirectory() as directory:
        checkpoint, artifact = Path(directory) / "model.pth", Path(directory) / "model.sgn"
        write_checkpoint(checkpoint, layers, width, vocab_size)
        converted = output_of("-c", CONVERT, str(checkpoint), str(artifact))
        ran = output_of("-c", MEASURE, str(artifact), str(TOKENS))
        return {
            "shape": f"{layers}x{width}x{vocab_size}",
            "checkpoint_bytes": checkpoint.stat().st_size,
            "convert": converted,
            "run": ran,
        }


def main() -> None:
    """Measure every shape and print (and save) one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shapes", default=SHAPES, help=f"LxDxV, comma-separated [{SHAPES}]")
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    arguments = parser.parse_args()
    shapes = [tuple(map(int, shape.split("x"))) for shape in arguments.shapes.split(",")]
    result = {
        "machine": description(),
        "shapes": [measure(*shape) for shape in shapes],
    }
    print(json.dumps(result, indent=1))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
