"""How fast do others write? The reference backend beside llama.cpp with an RWKV-6 of equal bytes.

    python benchmarks/peers.py [--shapes ...] [--bits 8,4] [--threads 1,2] [--output FILE]

llama.cpp runs RWKV-6, the nearest of its models to SpikeGPT. One is made with random weights: as
many layers, as wide, with as many token ids, and a feed-forward layer so wide that its matrices
have as many weights as ours; Q8_0 stands beside 8 bits, Q4_0 beside 4 (both add a scale of 16 bits
to every 32 weights). Both sides write random tokens one by one, in turns; each side's best slice
counts.

llama.cpp is no dependency: `pip install llama-cpp-python gguf` builds it for this machine, which
takes some minutes. Where it is missing, nothing is measured, and one line says so.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import Any

from spikegpt_neuro.benchmark.machine import description, thread_environment

RESULTS = Path(__file__).resolve().parent / "results" / "peers.json"
SHAPES = "12x512x256,18x768x50277"
CALIBRATION_TOKENS = 512
NEEDED = ("llama_cpp", "gguf")
MISSING = (
    "llama.cpp is not installed, nothing to compare with: pip install llama-cpp-python gguf "
    "(it is built for this machine, which takes some minutes)"
)
FEED_FORWARD = 3.5
"""Widths of the feed-forward layer: 6 + 2 x 3.5 square matrices a layer are our 5 + 2 x 4."""
HEAD, EXTRA = 64, 16
"""Width of a head, and rank of the small matrices that make RWKV-6's mixes depend on the data."""
WANTED = {("18x768", 8): 1.4, ("18x768", 4): 1.2, ("12x512", 8): 1.3, ("12x512", 4): 1.2}
"""Shape and bits -> ratio to reach on one thread."""


def write_rwkv6(path: Path, shape: str, bits: int) -> int:
    """A random RWKV-6; the bytes of its matrices, but for the embedding, of which a row is read."""
    import gguf
    import numpy as np

    layers, width, vocab_size = map(int, shape.split("x"))
    hidden = int(FEED_FORWARD * width)
    kind = getattr(gguf.GGMLQuantizationType, {8: "Q8_0", 4: "Q4_0"}[bits])
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "rwkv6")
    for add, value in (
        (writer.add_vocab_size, vocab_size),
        (writer.add_context_length, 1024),
        (writer.add_embedding_length, width),
        (writer.add_block_count, layers),
        (writer.add_feed_forward_length, hidden),
        (writer.add_head_count, 0),
        (writer.add_layer_norm_eps, 1e-5),
        (writer.add_rescale_every_n_layers, 0),
        (writer.add_wkv_head_size, HEAD),
        (writer.add_time_mix_extra_dim, EXTRA),
        (writer.add_time_decay_extra_dim, EXTRA),
        (writer.add_tokenizer_model, "no_vocab"),
    ):
        add(value)
    read = 0

    def matrix(name: str, *size: int) -> None:
        nonlocal read
        values = rng.standard_normal(size, np.float32) / np.float32(np.sqrt(size[-1]))
        stored = gguf.quants.quantize(values, kind)
        writer.add_tensor(name + ".weight", stored, raw_dtype=kind)
        read += stored.nbytes if name != "token_embd" else 0

    def numbers(name: str, *size: int, value: float | None = None) -> None:
        drawn = 0.1 * rng.standard_normal(size, np.float32)
        values = drawn if value is None else np.full(size, value, np.float32)
        writer.add_tensor(name, values.astype(np.float32))

    def norm(name: str) -> None:
        numbers(name + ".weight", width, value=1.0)
        numbers(name + ".bias", width, value=0.0)

    matrix("token_embd", vocab_size, width)
    for name in ("token_embd_norm", "output_norm"):
        norm(name)
    matrix("output", vocab_size, width)
    for layer in range(layers):
        block = f"blk.{layer}."
        for name in ("attn_norm", "attn_norm_2", "time_mix_ln"):
            norm(block + name)
        for name in ("key", "value", "receptance", "gate", "output"):
            matrix(f"{block}time_mix_{name}", width, width)
        for mix in "xwkvrg":
            numbers(f"{block}time_mix_lerp_{mix}.weight", 1, 1, width, value=0.5)
        numbers(f"{block}time_mix_w1.weight", 5 * EXTRA, width)
        numbers(f"{block}time_mix_w2.weight", 5, width, EXTRA)
        numbers(f"{block}time_mix_first.weight", width // HEAD, HEAD)
        numbers(f"{block}time_mix_decay.weight", width, value=-1.0)
        numbers(f"{block}time_mix_decay_w1.weight", EXTRA, width)
        numbers(f"{block}time_mix_decay_w2.weight", width, EXTRA)
        for mix in "kr":
            numbers(f"{block}channel_mix_lerp_{mix}.weight", 1, 1, width, value=0.5)
        matrix(f"{block}channel_mix_key", hidden, width)
        matrix(f"{block}channel_mix_value", width, hidden)
        matrix(f"{block}channel_mix_receptance", width, width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return read


def llama_step(path: Path, threads: int) -> Callable[[int], None]:
    """One token of llama.cpp: in, and its logits out."""
    import llama_cpp

    quiet = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(
        str(path).encode(), llama_cpp.llama_model_default_params()
    )
    if not model:
        raise SystemExit(f"llama.cpp did not load {path}: its RWKV-6 has changed")
    plan = llama_cpp.llama_context_default_params()
    plan.n_ctx, plan.n_batch, plan.n_threads, plan.n_threads_batch = 256, 8, threads, threads
    context = llama_cpp.llama_init_from_model(model, plan)
    place = (llama_cpp.llama_token * 1)()

    def step(token: int, _kept: object = quiet) -> None:
        place[0] = token
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(place, 1)) != 0:
            raise SystemExit("llama.cpp did not take a token")
        llama_cpp.llama_get_logits(context)[0]

    return step


def measure(shape: str, bits: int, threads: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Both sides of one shape, in this process."""
    from spikegpt_neuro.benchmark.memory import memory_reader, weight_bytes
    from spikegpt_neuro.benchmark.rounds import take_turns
    from spikegpt_neuro.benchmark.speed import sessions
    from spikegpt_neuro.converters.lowering import lower
    from spikegpt_neuro.model.synthetic import random_model, random_tokens

    model = random_model(*map(int, shape.split("x")))
    graph = lower(model, random_tokens(model, CALIBRATION_TOKENS), weight_bits=bits)
    text = random_tokens(model, 256, seed=2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rwkv6.gguf"
        their_bytes = write_rwkv6(path, shape, bits)
        step, endless = llama_step(path, threads), cycle(text.tolist())

        def theirs() -> float:
            step(next(endless))
            return 1.0

        with (
            sessions({"ours": graph}, text, threads) as ours,
            memory_reader(threads) as read,
        ):
            sides = {"memory": read, "theirs": theirs, **ours}
            rates = take_turns(sides, rounds=rounds, seconds=seconds)
    rate = {name: found.best for name, found in rates.items()}
    our_bytes = weight_bytes(graph)
    return {
        "shape": shape,
        "weight_bits": bits,
        "threads": threads,
        "wanted_ratio": WANTED.get((shape.rpartition("x")[0], bits)) if threads == 1 else None,
        "tokens_per_second": {"ours": rate["ours"], "llama.cpp": rate["theirs"]},
        "ratio": rate["ours"] / rate["theirs"],
        "weight_bytes": {"ours": our_bytes, "llama.cpp": their_bytes},
        "share_of_read_bandwidth": {
            "ours": rate["ours"] * our_bytes / rate["memory"],
            "llama.cpp": rate["theirs"] * their_bytes / rate["memory"],
        },
        "rounds": {name: list(found.rounds) for name, found in rates.items()},
    }


def show(results: list[dict[str, Any]]) -> None:
    """A line per shape, bits and threads."""
    print(
        f"{'shape':16} bits thr {'ours':>7} {'llama':>7} {'ratio':>6} {'wanted':>6}"
        f" {'MB':>6} {'llama':>6} {'share':>6} {'llama':>6}"
    )
    for found in results:
        rate, size, share = (
            found[key].values()
            for key in ("tokens_per_second", "weight_bytes", "share_of_read_bandwidth")
        )
        columns = [f"{found['shape']:16} {found['weight_bits']:4} {found['threads']:3}"]
        columns += [f"{value:7.1f}" for value in rate]
        columns += [f"{found['ratio']:6.2f} {found['wanted_ratio'] or '-':>6}"]
        columns += [f"{value / 1e6:6.1f}" for value in size]
        columns += [f"{value:6.2f}" for value in share]
        print(" ".join(columns))


def in_a_process(arguments: argparse.Namespace, shape: str, bits: int, threads: int) -> Any:
    """:func:`measure` in a process whose libraries all keep to ``threads`` threads."""
    command = [sys.executable, __file__, "--measure", "--shapes", shape, "--bits", str(bits)]
    command += ["--threads", str(threads), "--rounds", str(arguments.rounds)]
    command += ["--seconds", str(arguments.seconds)]
    environment = {**os.environ, **thread_environment(threads)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser.add_argument(
        "--shapes", type=lambda s: s.split(","), default=SHAPES.split(","), help=f"[{SHAPES}]"
    )
    parser.add_argument("--bits", type=numbers, default=[8, 4], help="[8,4]")
    parser.add_argument("--threads", type=numbers, default=[1, 2], help="[1,2]")
    parser.add_argument("--rounds", type=int, default=6, help="turns of every side [6]")
    parser.add_argument("--seconds", type=float, default=0.3, help="per side and round [0.3]")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON to write [results/]")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure, write the JSON file and print the table."""
    arguments = parse()
    if any(find_spec(package) is None for package in NEEDED):
        print(MISSING, file=sys.stderr)
        return
    if arguments.measure:
        (shape,), (bits,), (threads,) = arguments.shapes, arguments.bits, arguments.threads
        print(json.dumps(measure(shape, bits, threads, arguments.rounds, arguments.seconds)))
        return
    results = []
    for shape in arguments.shapes:
        for bits in arguments.bits:
            for threads in arguments.threads:
                print(f"{shape}, {bits} bits, threads {threads}", file=sys.stderr, flush=True)
                results.append(in_a_process(arguments, shape, bits, threads))
    content = {"machine": description(), "results": results}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    show(results)


if __name__ == "__main__":
    main()
