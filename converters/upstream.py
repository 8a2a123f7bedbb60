"""SpikeGPT's own ``.pth``: a plain state_dict, from which the whole shape is inferred.

Source of the format: ``src/trainer.py`` and ``src/model.py`` of the SpikeGPT repository
(Zhu, Zhao, Li, Eshraghian, arXiv 2302.13939). It stores no configuration; the LIF is
SpikingJelly's with tau = 2, threshold 1, reset 0 and a decayed input. Other training loops wrap
that dictionary and save other things beside it, or divide it into shards.
"""

from __future__ import annotations

from pathlib import Path

from spikegpt_neuro.converters import myelin, torch_file
from spikegpt_neuro.converters.checkpoint import Entries, Options, Reader, build, joined
from spikegpt_neuro.converters.folder import locate
from spikegpt_neuro.model.spikegpt import SpikeGPT

FORMAT = "upstream-pth"


def matches(path: Path) -> bool:
    """Whether ``path`` is a zip-format torch file that is not myelin's."""
    return torch_file.is_torch_file(path) and not myelin.matches(path)


def read(path: Path, vocab: Path | None = None) -> SpikeGPT:
    """Read an upstream state_dict, wrapped or not, or its shards."""
    source = locate(path)
    raw = joined({file: _entries(file) for file in source.files}, source.path)
    return build(source.path, FORMAT, source.files, raw, options=Options(), vocab=vocab)


def _entries(path: Path) -> Entries:
    file = torch_file.load(path)
    return torch_file.entries(torch_file.dictionary(file), file)


READER = Reader(FORMAT, matches, read)
