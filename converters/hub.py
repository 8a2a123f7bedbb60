"""Checkpoints from a model hub: ``hf:OWNER/NAME[@REVISION][/FILE]``.

``huggingface_hub`` downloads into its cache, which is shared with other programs; it reads
``HF_ENDPOINT``, ``HF_HOME``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE``. Only the weights and what belongs
to them are fetched: configuration, vocabulary, further shards. Nothing that was fetched is run.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

from spikegpt_neuro.converters.folder import INDEX_ENDING, NOT_WEIGHTS, SHARD, SUFFIXES
from spikegpt_neuro.converters.selection import some
from spikegpt_neuro.errors import MissingBackend, UnsupportedInput
from spikegpt_neuro.remarks import remark

LOG = logging.getLogger(__name__)
SCHEME = "hf:"
FORM = "hf:OWNER/NAME[@REVISION][/FILE]"
INSTALL = "pip install 'spikegpt-neuro[hub]'"
PART = r"[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?"
REFERENCE = re.compile(
    rf"hf:(?P<repository>{PART}/{PART})"
    rf"(?:@(?P<revision>refs/(?:pr|convert)/{PART}|{PART}))?"
    r"(?:/(?P<file>.+))?",
    re.ASCII,
)
NAME_CHARACTERS = 96
FILE = re.compile(r"[\w+=@()\[\], -][\w.+=@()\[\], -]*")
COMMIT = re.compile(r"[0-9a-f]{40}")
PREFERRED = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
BESIDE = (
    "config.json",
    "*vocab*.json",
    "*tokenizer*.json",
    "merges.txt",
    "special_tokens_map.json",
)
SHOWN = 8
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Reference:
    """A repository, a revision of it (None: its main branch) and a file (None: the weights)."""

    repository: str
    revision: str | None = None
    file: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """What ``hf:...`` names; raises :class:`UnsupportedInput` for what cannot be a name."""
        found = REFERENCE.fullmatch(text)
        if found is None or any(
            len(part) > NAME_CHARACTERS or ".." in part or "--" in part
            for part in found["repository"].split("/")
        ):
            raise UnsupportedInput(f"{text[:120]!r} names no repository; expected {FORM}")
        file = found["file"]
        if file is not None and not all(
            FILE.fullmatch(part) and ".." not in part for part in file.split("/")
        ):
            raise UnsupportedInput(
                f"{text[:120]!r}: {file[:80]!r} is no file name; expected {FORM}"
            )
        return cls(found["repository"], found["revision"], file)

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{SCHEME}{self.repository}{revision}{f'/{self.file}' if self.file else ''}"


@dataclass(frozen=True)
class Fetched:
    """A file on this machine, and where exactly it comes from (``hf:OWNER/NAME@COMMIT/FILE``)."""

    path: Path
    origin: str


def is_reference(path: str | Path) -> bool:
    """Whether a path names something on the hub (``./hf:...`` is a file)."""
    return str(path).startswith(SCHEME)


def fetch(text: str, *, weights: bool = True) -> Fetched:
    """The file that ``text`` names, in the cache, with what belongs to it in the same folder.

    ``weights=False``: the file alone, which must be named.

    Raises
    ------
    MissingBackend
        ``huggingface_hub`` is not installed.
    UnsupportedInput
        The text is no reference, there is no such repository, revision or file, several files
        could be meant (they are listed), or it is neither in the cache nor to be had.
    """
    reference = Reference.parse(text)
    if not weights and reference.file is None:
        raise UnsupportedInput(f"{reference}: name the file: {SCHEME}{reference.repository}/FILE")
    hub = _library()
    with _explained(reference):
        names, commit = _listing(reference, hub)
        chosen = _chosen(reference, names)
        wanted = [chosen, *(_companions(chosen, names) if weights else ())]
        if commit is None:
            return _cached(reference, chosen)
        paths = [_downloaded(reference, name, hub) for name in wanted]
    commits = {_root(path, name).name for path, name in zip(paths, wanted, strict=True)}
    if commits != {commit}:
        raise UnsupportedInput(f"{reference}: changed while it was fetched; try again")
    return Fetched(paths[0], f"{SCHEME}{reference.repository}@{commit}/{chosen}")


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingBackend(f"{FORM} needs huggingface_hub: {INSTALL}") from error
    return huggingface_hub


def _listing(reference: Reference, hub: Any) -> tuple[list[str], str | None]:
    """Names of the repository's files and its commit; the cached names and None if unreachable."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    api = hub.HfApi()
    try:
        info = api.model_info(
            reference.repository, revision=reference.revision, timeout=TIMEOUT_SECONDS
        )
        names = [file.rfilename for file in info.siblings or ()]
        names = names or api.list_repo_files(reference.repository, revision=info.sha)
    except OfflineModeIsEnabled:
        return _cached_names(reference, "offline mode is on (HF_HUB_OFFLINE)"), None
    except _unreachable() as error:
        reason = f"the hub cannot be reached ({type(error).__name__})"
        names = _cached_names(reference, reason)
        remark(f"{reference}: {reason}; the copy in the cache is used")
        return names, None
    return sorted(names), str(info.sha)


def _unreachable() -> tuple[type[BaseException], ...]:
    """What the library raises where there is no network, whichever client it has."""
    found: list[Any] = [ConnectionError, TimeoutError]
    for name in ("httpx2", "httpx", "requests"):
        try:
            client = import_module(name)
        except ImportError:
            continue
        found += [getattr(client, error, None) for error in ("TransportError", "ConnectionError")]
    return tuple(each for each in found if isinstance(each, type))


def _snapshot(reference: Reference) -> Path | None:
    """The folder of the cache that holds the revision, if it was ever fetched."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE, f"models--{reference.repository.replace('/', '--')}")
    revision = reference.revision or constants.DEFAULT_REVISION
    try:
        commit = revision
        if not COMMIT.fullmatch(revision):
            commit = (folder / "refs" / revision).read_text(encoding="utf-8").strip()
        found = folder / "snapshots" / commit
        return found if COMMIT.fullmatch(commit) and found.is_dir() else None
    except (OSError, ValueError):
        return None


def _cached_names(reference: Reference, reason: str) -> list[str]:
    from huggingface_hub import constants

    folder = _snapshot(reference)
    if folder is None:
        raise UnsupportedInput(
            f"{reference}: not in the cache ({constants.HF_HUB_CACHE}), and {reason}; fetch it "
            "once with a network, or give a local file"
        )
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())


def _cached(reference: Reference, name: str) -> Fetched:
    folder = _snapshot(reference)
    assert folder is not None
    return Fetched(folder / name, f"{SCHEME}{reference.repository}@{folder.name}/{name}")


def _chosen(reference: Reference, names: Collection[str]) -> str:
    """The file that is meant; raises where none or several could be."""
    if reference.file in names:
        return str(reference.file)
    inside = f"{reference.file}/" if reference.file else ""
    here = [name for name in names if PurePosixPath(name).parent == PurePosixPath(inside or ".")]
    for name in PREFERRED:
        if inside + name in here:
            return inside + name
    found = [name for name in here if _is_weights(PurePosixPath(name).name)]
    sets = {_set_of(PurePosixPath(name).name) or name for name in found}
    if len(sets) == 1:
        return found[0]
    if found:
        raise UnsupportedInput(
            f"{reference}: holds {len(sets)} files of weights; name one of {some(found, SHOWN)} "
            f"({FORM})"
        )
    every = [name for name in names if _is_weights(PurePosixPath(name).name)]
    what = f"no file {reference.file}" if reference.file else "no weights"
    instead = f"; there are {some(every, SHOWN)}" if every else f" among its {len(names)} files"
    raise UnsupportedInput(f"{reference}: holds {what}{instead}")


def _is_weights(name: str) -> bool:
    return PurePosixPath(name).suffix in SUFFIXES and not NOT_WEIGHTS.search(name)


def _companions(chosen: str, names: Iterable[str]) -> list[str]:
    """Files in the same folder that belong to the weights."""
    path = PurePosixPath(chosen)
    patterns, shards = (*BESIDE, f"{path.name}.data"), _set_of(path.name)

    def belongs(file: PurePosixPath) -> bool:
        is_shard = shards is not None and _set_of(file.name) == shards
        return is_shard or any(fnmatchcase(file.name, pattern) for pattern in patterns)

    beside = [PurePosixPath(name) for name in names if name != chosen]
    return [str(file) for file in beside if file.parent == path.parent and belongs(file)]


def _set_of(name: str) -> tuple[str, str] | None:
    """What the shards of one model and their index have in common: stem and suffix."""
    if name.endswith(INDEX_ENDING):
        whole = PurePosixPath(name.removesuffix(INDEX_ENDING))
        return whole.stem, whole.suffix
    shard = SHARD.fullmatch(name)
    return (shard["stem"], shard["end"]) if shard else None


def _downloaded(reference: Reference, name: str, hub: Any) -> Path:
    folder = _snapshot(reference)
    if folder is None or not (folder / name).is_file():
        LOG.info("fetching %s of %s%s", name, SCHEME, reference.repository)
    return Path(hub.hf_hub_download(reference.repository, name, revision=reference.revision))


def _root(path: Path, name: str) -> Path:
    """The snapshot's folder in the cache, named by the commit."""
    return path.parents[len(PurePosixPath(name).parts) - 1]


@contextmanager
def _explained(reference: Reference) -> Iterator[None]:
    """Errors of the library as one line of ours; its warnings stay unseen."""
    errors: Any = import_module("huggingface_hub.errors")
    others = (*_unreachable(), errors.HfHubHTTPError, OSError, ValueError)
    try:
        with _silent():
            yield
    except errors.GatedRepoError as error:
        raise UnsupportedInput(
            f"{reference}: the repository is gated; accept its terms on the hub, and log in or "
            "set HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UnsupportedInput(f"{reference}: no such revision in the repository") from error
    except errors.RepositoryNotFoundError as error:
        raise UnsupportedInput(
            f"{reference}: no such repository on the hub, or a private one (log in or set HF_TOKEN)"
        ) from error
    except errors.EntryNotFoundError as error:
        raise UnsupportedInput(f"{reference}: {_reason(error)}") from error
    except others as error:
        raise UnsupportedInput(f"{reference}: the hub did not give it: {_reason(error)}") from error


@contextmanager
def _silent() -> Iterator[None]:
    """No warnings and no progress bars of the library."""
    utils: Any = import_module("huggingface_hub.utils")
    log = logging.getLogger("huggingface_hub")
    level, were_off = log.level, utils.are_progress_bars_disabled()
    log.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        utils.disable_progress_bars()
        try:
            yield
        finally:
            log.setLevel(level)
            if not were_off:
                utils.enable_progress_bars()


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."
