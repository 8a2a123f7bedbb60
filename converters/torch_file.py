"""Opening a file of ``torch.save`` without running what is in it.

The file is looked at as a zip archive first; torch itself is imported only to unpickle,
with ``weights_only=True`` and memory-mapped storages.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spikegpt_neuro.converters.checkpoint import RawTensor
from spikegpt_neuro.converters.mapped_file import Mappings
from spikegpt_neuro.errors import MissingBackend, UnsupportedInput

PICKLE_MEMBER = "data.pkl"
ZIP_MAGIC = b"PK\x03\x04"
TORCH_INSTALL = "pip install 'spikegpt-neuro[torch]' (or: pip install torch==2.13.0)"
DISALLOWED = re.compile(r"(?:GLOBAL|Unsupported (?:global|class|operand)):?\s+([\w.]+)")


def pickle_of(path: Path) -> bytes | None:
    """The pickle inside a zip-format torch file, not executed; None if there is none."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if member.rpartition("/")[2] == PICKLE_MEMBER:
                    return archive.read(member)
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError):
        return None
    return None


def load(path: Path) -> Mapping[Any, Any]:
    """The dictionary stored in a zip-format torch file; its tensors are memory-mapped."""
    try:
        import torch
    except ImportError as error:
        raise MissingBackend(
            f"{path}: reading a torch file needs torch: {TORCH_INSTALL}"
        ) from error
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        found = DISALLOWED.search(str(error))
        what = f" ({found[1]})" if found else ""
        raise UnsupportedInput(
            f"{path}: the pickle holds more than tensors{what}; refused, because loading it "
            "could run code; save a plain state_dict instead"
        ) from error
    except Exception as error:  # torch reports damage in many types
        reason = " ".join(str(error).split())[:120]
        raise UnsupportedInput(f"{path}: damaged torch file: {reason}") from error
    if not isinstance(payload, Mapping):
        raise UnsupportedInput(
            f"{path}: holds a {type(payload).__name__}, expected a dictionary of tensors"
        )
    return payload


def raw_tensors(state_dict: Mapping[Any, Any], path: Path) -> dict[str, RawTensor]:
    """The tensors of a state_dict as numpy views of the memory map."""
    mappings = Mappings.of(path)
    raw = {str(name): _raw_tensor(str(name), value, path) for name, value in state_dict.items()}
    return {name: replace(t, mapped=mappings.hold(t.array)) for name, t in raw.items()}


def _raw_tensor(name: str, value: Any, path: Path) -> RawTensor:
    import torch

    if not isinstance(value, torch.Tensor):
        raise UnsupportedInput(f"{path}: {name} is a {type(value).__name__}, expected a tensor")
    if value.layout is not torch.strided or value.device.type != "cpu":
        raise UnsupportedInput(f"{path}: {name} is not a plain dense tensor")
    tensor = value.detach()
    if tensor.dtype == torch.bfloat16:
        return RawTensor(tensor.view(torch.int16).numpy().view(np.uint16), is_bfloat16=True)
    if tensor.dtype in (torch.float64, torch.float32, torch.float16):
        return RawTensor(tensor.numpy())
    raise UnsupportedInput(
        f"{path}: {name} is {str(tensor.dtype).removeprefix('torch.')}, "
        "expected float64, float32, float16 or bfloat16"
    )
