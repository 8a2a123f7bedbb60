"""Reading a checkpoint whatever its format."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

from spikegpt_neuro.converters import myelin, onnx_reader, safetensors_directory, upstream
from spikegpt_neuro.converters.checkpoint import Reader, check_readable
from spikegpt_neuro.converters.torch_file import ZIP_MAGIC
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.model.spikegpt import SpikeGPT

ENTRY_POINT_GROUP = "spikegpt_neuro.converters"
BUILT_IN = (
    myelin.READER,
    upstream.READER,
    safetensors_directory.READER,
    onnx_reader.READER,
)


def read_checkpoint(path: str | Path, *, vocab: str | Path | None = None) -> SpikeGPT:
    """Read a SpikeGPT checkpoint: upstream ``.pth``, myelin ``.pt``, safetensors or ONNX.

    The format is told from the content. ``vocab`` names a vocabulary file; without it the
    one stored in or beside the checkpoint is used, else bytes for 256 token ids, else the
    model has none. Tensors stay in the memory-mapped file until they are asked for.

    Raises :class:`UnsupportedInput` with one line that names the file and what is wrong,
    :class:`MissingBackend` where torch is needed and not installed.
    """
    checkpoint = Path(path)
    if not checkpoint.is_dir():
        check_readable(checkpoint)
    vocabulary = None if vocab is None else Path(vocab)
    for reader in _readers():
        if reader.matches(checkpoint):
            return reader.read(checkpoint, vocabulary)
    raise UnsupportedInput(f"{checkpoint}: {_diagnosis(checkpoint)}")


def _readers() -> Iterator[Reader]:
    """The built-in readers, then those that other packages registered."""
    yield from BUILT_IN
    known = {reader.name for reader in BUILT_IN}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name not in known:
            reader = entry.load()
            if isinstance(reader, Reader):
                yield reader


def _diagnosis(path: Path) -> str:
    """Why no reader took the file or directory."""
    if path.is_dir():
        return "no model.safetensors in it; a checkpoint directory holds that and config.json"
    with path.open("rb") as file:
        head = file.read(len(ZIP_MAGIC))
    if head == ZIP_MAGIC:
        return "a zip archive that is truncated or not from torch.save; copy the file again"
    return (
        "not a checkpoint in a known format (zip .pth or .pt, .safetensors, .onnx); a file of an "
        "old torch is read after torch.save(torch.load(file, weights_only=True), new_file)"
    )
