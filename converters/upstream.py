"""SpikeGPT's own ``.pth``: a plain state_dict, from which the whole shape is inferred.

Source of the format: ``src/trainer.py`` and ``src/model.py`` of the SpikeGPT repository
(Zhu, Zhao, Li, Eshraghian, arXiv 2302.13939). It stores no configuration; the LIF is
SpikingJelly's with tau = 2, threshold 1, reset 0 and a decayed input.
"""

from __future__ import annotations

from pathlib import Path

from spikegpt_neuro.converters import myelin, torch_file
from spikegpt_neuro.converters.checkpoint import Options, Reader, build
from spikegpt_neuro.model.spikegpt import SpikeGPT

FORMAT = "upstream-pth"


def matches(path: Path) -> bool:
    """Whether ``path`` is a zip-format torch file that is not myelin's."""
    return torch_file.pickle_of(path) is not None and not myelin.matches(path)


def read(path: Path, vocab: Path | None = None) -> SpikeGPT:
    """Read an upstream state_dict."""
    raw = torch_file.raw_tensors(torch_file.load(path), path)
    return build(path, FORMAT, path, raw, options=Options(), vocab=vocab)


READER = Reader(FORMAT, matches, read)
