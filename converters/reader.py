"""Reading a checkpoint whatever its format."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from spikegpt_neuro import plugins
from spikegpt_neuro.converters import hub, myelin, onnx_reader, safetensors_directory, upstream
from spikegpt_neuro.converters.checkpoint import Reader, check_exists, check_readable
from spikegpt_neuro.converters.folder import Source, locate
from spikegpt_neuro.converters.selection import some
from spikegpt_neuro.converters.settings import GivenLIF, with_given
from spikegpt_neuro.converters.torch_file import OLD_TORCH_MAGIC, ZIP_MAGIC
from spikegpt_neuro.errors import MissingBackend, UnsupportedInput
from spikegpt_neuro.model.spikegpt import SpikeGPT

ENTRY_POINT_GROUP = "spikegpt_neuro.converters"
OWN_PACKAGE = "spikegpt-neuro"
BUILT_IN = (
    myelin.READER,
    upstream.READER,
    safetensors_directory.READER,
    onnx_reader.READER,
)


def read_checkpoint(
    path: str | Path, *, vocab: str | Path | None = None, lif: GivenLIF | None = None
) -> SpikeGPT:
    """Read a SpikeGPT checkpoint: upstream ``.pth``, myelin ``.pt``, safetensors or ONNX.

    ``path`` is a file, or a folder with one weights file or with shards; a shard or an index of
    them stands for its folder. ``path`` and ``vocab`` may be on a hub:
    ``hf:OWNER/NAME[@REVISION][/FILE]``, see :mod:`spikegpt_neuro.converters.hub`.

    What training saved beside the model is left out, and a remark (``SpikeGPT.remarks``) says
    so. The format is told from the content; readers of other packages are asked first. ``vocab``
    names a vocabulary file; without it the one stored in or beside the checkpoint is used, else
    bytes for 256 token ids, else the model has none. ``lif`` says of the LIF what neither the file
    nor the configuration beside it states. Tensors stay in the memory-mapped file until they are
    asked for.

    Raises :class:`UnsupportedInput` with one line that names the file and what is wrong,
    :class:`MissingBackend` where onnx is needed and not installed, or a reader of another
    package cannot be imported.
    """
    return with_given(_read(path, vocab), lif or GivenLIF())


def _read(path: str | Path, vocab: str | Path | None) -> SpikeGPT:
    if vocab is not None and hub.is_reference(vocab):
        vocab = hub.fetch(str(vocab), weights=False).path
    if hub.is_reference(path):
        fetched = hub.fetch(str(path))
        model = _read(fetched.path, vocab)
        return replace(model, provenance=replace(model.provenance, file=fetched.origin))
    checkpoint = Path(path)
    if "\0" in str(checkpoint):
        raise UnsupportedInput(f"{str(checkpoint)!r:.80}: a name with a NUL character")
    vocabulary = None if vocab is None else Path(vocab)
    if not os.path.isdir(checkpoint):  # unlike Path's, it takes any name
        check_exists(checkpoint)
    if outside := next(_from_outside(checkpoint), None):
        return outside.read(checkpoint, vocabulary)
    source = locate(checkpoint)
    for file in source.files:
        check_readable(file)
    whole = checkpoint if len(source.files) > 1 else source.path
    for reader in BUILT_IN:
        if reader.matches(source.files[0]):
            return _remarked(reader.read(whole, vocabulary), source)
    raise UnsupportedInput(f"{source.path}: {_diagnosis(source.files[0])}")


def _remarked(model: SpikeGPT, source: Source) -> SpikeGPT:
    """The model with a remark on weights in its folder that were not read."""
    if not source.others:
        return model
    taken = f"{source.files[0]}: read; other weights in its folder: {some(source.others)}"
    return replace(model, remarks=(*model.remarks, taken))


def _from_outside(path: Path) -> Iterator[Reader]:
    """The readers of other packages that take ``path``.

    Raises one error, which names the entry point and its package, where one cannot be imported
    (:class:`MissingBackend`), is no :class:`Reader`, or fails to look at ``path``
    (:class:`UnsupportedInput`).
    """
    for entry in plugins.entries(ENTRY_POINT_GROUP):
        package = entry.dist.name if entry.dist else "unknown"
        if package == OWN_PACKAGE:
            continue
        title = f"reader {entry.name} ({entry.value}) of the package {package}"
        try:
            reader = entry.load()
        except Exception as error:
            raise MissingBackend(f"{title} cannot be imported: {error}") from error
        if not isinstance(reader, Reader):
            raise UnsupportedInput(f"{title} is none; expected a {Reader.__module__}.Reader")
        try:
            matches = reader.matches(path)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise UnsupportedInput(f"{title} failed to look at {path}: {reason}") from error
        if matches:
            yield reader


def _diagnosis(path: Path) -> str:
    """Why no reader took a file."""
    with path.open("rb") as file:
        head = file.read(len(OLD_TORCH_MAGIC))
    if head.startswith(ZIP_MAGIC):
        return "a zip archive that is truncated or not from torch.save; copy the file again"
    if head == OLD_TORCH_MAGIC:
        return (
            "a file of an old torch (before 1.6), which is not read; save it anew: "
            "torch.save(torch.load(file, weights_only=True), new_file)"
        )
    return (
        "not a checkpoint in a known format (zip .pth or .pt, .safetensors, .onnx); a file of an "
        "old torch is read after torch.save(torch.load(file, weights_only=True), new_file)"
    )
