"""A process of its own that starts, gives its first token and says what that took.

Its arguments are ``reference DIR THREADS`` or ``torch LAYERSxWIDTHxVOCABULARY THREADS``. The last
line that it prints is one JSON object. Torch gets constant weights: only their number matters here.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from spikegpt_neuro.memory import peak_rss_bytes


def reference(directory: str, threads: int) -> dict[str, float]:
    """Load the artifact, open a session, step once; then read the files again, plainly."""
    from spikegpt_neuro.graph.artifact import load
    from spikegpt_neuro.running import get_backend

    begin = time.perf_counter()
    graph = load(directory)
    loaded = time.perf_counter()
    with get_backend("reference", threads=threads).session(graph) as session:
        session.step(0)
    stepped, peak = time.perf_counter(), peak_rss_bytes()
    for file in Path(directory).iterdir():
        file.read_bytes()
    return {
        "load_seconds": loaded - begin,
        "first_token_seconds": stepped - begin,
        "read_seconds": time.perf_counter() - stepped,
        "peak_rss_bytes": peak,
    }


def opponent(shape: str, threads: int) -> dict[str, float]:
    """Fill the float32 weights of ``shape`` and step once."""
    import numpy as np

    from spikegpt_neuro.benchmark.torch_model import TorchModel, use_threads
    from spikegpt_neuro.model.spikegpt import ModelShape, Provenance, SpikeGPT

    use_threads(threads)
    layers, width, vocab_size = map(int, shape.split("x"))
    sizes = ModelShape(layers, width, vocab_size)
    tensors = {
        name: np.full(size, 0.01, np.float32) for name, size in sizes.tensor_shapes().items()
    }
    TorchModel(SpikeGPT(sizes, tensors, Provenance("constant", "constant", "0" * 64))).step(0)
    return {"peak_rss_bytes": peak_rss_bytes()}


def main() -> None:
    """Measure the side that the arguments name, and print what was found."""
    side, what, threads = sys.argv[1:]
    measure = {"reference": reference, "torch": opponent}[side]
    print(json.dumps(measure(what, int(threads))))
