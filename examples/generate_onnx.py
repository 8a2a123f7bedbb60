"""Text from an exported step model with onnxruntime alone (and numpy): nothing of this package.

    spikegpt-neuro export model.sgn --to onnx -o model.onnx
    python examples/generate_onnx.py model.onnx "The return value" -n 200

Works for both exports, ``onnx`` (integers) and ``onnx-float``. Character and byte vocabularies are
decoded from the file's metadata; one of byte pairs needs the package ``tokenizers``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime

PREFIX = "spikegpt_neuro."
DTYPES = {"tensor(int32)": np.int32, "tensor(float)": np.float32}


class StepModel:
    """A step model with its state: one token in, logits (V,) in real units out."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the matrices of one token are small
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        entries = self.session.get_modelmeta().custom_metadata_map
        self.metadata: dict[str, Any] = {
            key.removeprefix(PREFIX): json.loads(value)
            for key, value in entries.items()
            if key.startswith(PREFIX)
        }
        zeros = {
            entry.name: np.zeros(entry.shape, DTYPES[entry.type])
            for entry in self.session.get_inputs()
            if entry.name != "token"
        }
        self.outputs = [entry.name for entry in self.session.get_outputs()]
        self.pairs = {s["output"]: s["input"] for s in self.metadata["states"]}
        self.state = {
            s["input"]: zeros[s["input"]] + zeros[s["input"]].dtype.type(s["initial"])
            for s in self.metadata["states"]
        }

    def step(self, token: int) -> np.ndarray:
        """Feed one token id."""
        feed = {"token": np.array([token], np.int64), **self.state}
        results = dict(zip(self.outputs, self.session.run(None, feed), strict=True))
        self.state = {self.pairs[name]: results[name] for name in self.pairs}
        return results["logits"] * self.metadata.get("logit_scale", 1.0)


def codec(
    metadata: dict[str, Any],
) -> tuple[Callable[[str], list[int]], Callable[[Sequence[int]], str]]:
    """Functions from text to token ids and back, from the metadata."""
    kind, files = metadata["vocabulary"], metadata["vocabulary_files"]
    if kind == "byte":
        return lambda text: list(text.encode()), lambda ids: bytes(ids).decode(errors="replace")
    if kind == "character":
        character = {int(index): text for index, text in json.loads(files["vocab.json"]).items()}
        index = {text: number for number, text in character.items()}
        return (
            lambda text: [index[letter] for letter in text],
            lambda ids: "".join(character[number] for number in ids),
        )
    if kind == "bpe":
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(files["tokenizer.json"])
        return lambda text: tokenizer.encode(text).ids, tokenizer.decode
    raise SystemExit("error: the model has no vocabulary; export it again with --vocab")


def sample(logits: np.ndarray, temperature: float, rng: np.random.Generator) -> int:
    """A token id: the likeliest at temperature 0, else drawn."""
    if temperature == 0:
        return int(np.argmax(logits))
    weights = np.exp((logits - logits.max()) / temperature)
    return int(rng.choice(len(logits), p=weights / weights.sum()))


def main() -> None:
    """Prompt in, prompt and continuation out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model")
    parser.add_argument("prompt")
    parser.add_argument("-n", "--tokens", type=int, default=100)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    model = StepModel(arguments.model)
    encode, decode = codec(model.metadata)
    rng = np.random.default_rng(arguments.seed)
    try:
        ids = encode(arguments.prompt)
    except KeyError as error:
        raise SystemExit(f"error: {error} is not in the model's vocabulary") from None
    if not ids:
        raise SystemExit("error: the prompt is empty")
    for token in ids:
        logits = model.step(token)
    for _ in range(arguments.tokens):
        ids.append(sample(logits, arguments.temperature, rng))
        logits = model.step(ids[-1])
    sys.stdout.write(decode(ids) + "\n")


if __name__ == "__main__":
    main()
