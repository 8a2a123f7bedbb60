"""Which files hold the weights of a checkpoint: one, or the shards of a folder.

The layouts are those that training loops and model hubs leave: ``model.safetensors``,
``pytorch_model.bin``, one weights file of any name, or shards
(``model-00001-of-00003.safetensors``) with or without an index. A shard or an index given as the
file leads to all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from spikegpt_neuro.converters.selection import some
from spikegpt_neuro.documents import read_json
from spikegpt_neuro.errors import UnsupportedInput

WEIGHTS_FILE = "model.safetensors"
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".onnx")
INDEX_ENDING = ".index.json"
INDEX_BYTES = 64 << 20
SHARD = re.compile(
    r"(?P<stem>.*?)[-_.]?(?P<number>\d{1,6})[-_.]of[-_.](?P<count>\d{1,6})(?P<end>\.\w+)"
)
NOT_WEIGHTS = re.compile(
    r"optim|sched|scaler|rng_state|random_states|training_args|trainer_state|tokenizer|vocab",
    re.IGNORECASE,
)
SHARDS_MAX = 10_000
CANDIDATES_SHOWN = 8


@dataclass(frozen=True)
class Source:
    """Where a checkpoint's tensors are.

    ``path``   what stands for it in errors: the file, or the folder of several.
    ``files``  the weights, all of one format.
    ``index``  the file that lists them, if there is one.
    ``others`` names of weights in the folder that are not these.
    """

    path: Path
    files: tuple[Path, ...]
    index: Path | None = None
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Index:
    """What an index of shards says: the file of each tensor."""

    weight_map: dict[str, str] = field(default_factory=dict)


def locate(path: Path) -> Source:
    """The weights files of the file or folder ``path``; raises :class:`UnsupportedInput`."""
    if path.is_dir():
        return _in_folder(path)
    if path.suffix == ".json":
        return _of_index(path, path)
    index = _index_that_lists(path)
    if index is not None:
        return _of_index(index, path)
    if (found := SHARD.fullmatch(path.name)) and int(found["count"]) > 1:
        return _of_numbered(path, found)
    return Source(path, (path,))


def _in_folder(folder: Path) -> Source:
    if (folder / WEIGHTS_FILE).is_file():
        others = (n for n in _names(folder) if n != WEIGHTS_FILE and _may_be_weights(n))
        return Source(folder, (folder / WEIGHTS_FILE,), others=tuple(others))
    from spikegpt_neuro.graph.artifact import is_artifact  # with every program's kernel: slow

    if is_artifact(folder):
        raise UnsupportedInput(f"{folder}: an artifact, which is converted already")
    sources = list(_candidates(folder))
    if len(sources) > 1:
        names = [(s.index or s.files[0]).name for s in sources]
        raise UnsupportedInput(
            f"{folder}: holds {len(names)} checkpoints: {some(names, CANDIDATES_SHOWN)}; give one "
            "of these files"
        )
    if not sources:
        raise UnsupportedInput(f"{folder}: {_why_none(folder)}")
    return sources[0]


def _candidates(folder: Path) -> Iterator[Source]:
    """The checkpoints in a folder: shards count as one, what an index lists as that."""
    names = _names(folder)
    seen: set[str] = set()
    for name in names:
        if name.endswith(INDEX_ENDING):
            source = _of_index(folder / name, folder)
            seen |= {file.name for file in source.files}
            yield source
    for name in names:
        file = folder / name
        if name in seen or not _may_be_weights(name):
            continue
        found = SHARD.fullmatch(name)
        sharded = found is not None and int(found["count"]) > 1
        source = _of_numbered(file, found) if found and sharded else Source(file, (file,))
        seen |= {each.name for each in source.files}
        yield source


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError as error:
        raise UnsupportedInput(f"{folder}: cannot be read: {error.strerror}") from error


def _may_be_weights(name: str) -> bool:
    return name.endswith(SUFFIXES) and not NOT_WEIGHTS.search(name)


def _why_none(folder: Path) -> str:
    """Why a folder holds no checkpoint, and where one may be."""
    if (folder / ".metadata").exists() or next(folder.glob("*.distcp"), None):
        return (
            "a torch.distributed checkpoint; join it first: "
            "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE.pth"
        )
    inner = sorted(
        sub.name
        for sub in folder.iterdir()
        if sub.is_dir() and any(f.suffix in SUFFIXES for f in sub.iterdir() if f.is_file())
    )
    hint = f"; there are weights in {some(inner, CANDIDATES_SHOWN)}" if inner else ""
    return f"no {WEIGHTS_FILE} in it, nor any other weights file ({' '.join(SUFFIXES)}){hint}"


def _index_that_lists(file: Path) -> Path | None:
    """The index in the file's folder that names it."""
    for index in sorted(file.parent.glob(f"*{INDEX_ENDING}")):
        if file.name in set(_read_index(index).weight_map.values()):
            return index
    return None


def _read_index(path: Path) -> Index:
    return read_json(path, Index, limit=INDEX_BYTES, remedy="an index lists shards in weight_map")


def _of_index(index: Path, path: Path) -> Source:
    """The shards that an index lists; every one must lie beside it."""
    listed = list(dict.fromkeys(_read_index(index).weight_map.values()))
    if not listed:
        raise UnsupportedInput(
            f"{index}: lists no weights (weight_map); give the folder or the weights file"
        )
    outside = [name for name in listed if Path(name).name != name or "\0" in name]
    if outside:
        raise UnsupportedInput(
            f"{index}: names {outside[0]!r:.80}, which is outside its folder; refused"
        )
    return _complete(index.parent, listed, path, index)


def _of_numbered(path: Path, found: re.Match[str]) -> Source:
    """All shards of a set, told from the name of one."""
    count = min(int(found["count"]), SHARDS_MAX)
    start, end = found.span("number")
    names = [
        f"{path.name[:start]}{number:0{end - start}d}{path.name[end:]}"
        for number in range(1, count + 1)
    ]
    if path.name not in names:
        return Source(path, (path,))
    return _complete(path.parent, names, path.parent, None)


def _complete(folder: Path, names: Iterable[str], path: Path, index: Path | None) -> Source:
    names = sorted(names)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        where = f"{index.name} lists" if index else "this needs"
        raise UnsupportedInput(
            f"{folder}: {where} {len(names)} shards, of which {len(missing)} are missing: "
            f"{some(missing)}"
        )
    return Source(folder if len(names) > 1 else path, tuple(folder / n for n in names), index)
