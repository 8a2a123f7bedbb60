"""Compiled kernels on disk: used where they are right, and never missed where they are not."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from llvmlite import binding

from spikegpt_neuro.arithmetic import jit, kernel_cache
from spikegpt_neuro.arithmetic.kernel_cache import Place, candidates, shelf_of
from spikegpt_neuro.errors import UsageError

from places import EXAMPLES
from verbs import verb

NOWHERE = Path("/proc/nowhere")


def triple(x: int) -> int:
    return 3 * x


@pytest.fixture(autouse=True)
def forgetful(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """As in a new process: no folder is known, and no remark was made."""
    caplog.set_level(logging.INFO, "spikegpt_neuro")
    shelf_of.cache_clear()
    kernel_cache.NOT_KEPT.said = False
    yield
    shelf_of.cache_clear()
    kernel_cache.NOT_KEPT.said = False


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where kernels are kept during this test."""
    monkeypatch.setattr(kernel_cache.settings, "CACHE_DIR", str(tmp_path))
    return tmp_path


def run_triple() -> bool:
    """Call a kernel as a new process would; whether its code came from the disk."""
    compiled = cast(Any, jit.kernel(triple))
    assert compiled(14) == 42
    return bool(compiled.stats.cache_hits)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def remarks(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said about the cache, other than that kernels are being compiled."""
    said = [record.getMessage() for record in caplog.records]
    return [text for text in said if not text.startswith("compiling kernels")]


def test_a_kernel_is_compiled_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert [run_triple() for _ in range(3)] == [False, True, True]
    assert len(files(folder)) == 1
    assert remarks(caplog) == []


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda _: b"",
    "cut in half": lambda kept: kept[: len(kept) // 2],
    "cut by one byte": lambda kept: kept[:-1],
    "a bit changed": lambda kept: kept[:100] + bytes([kept[100] ^ 1]) + kept[101:],
    "another checksum": lambda kept: bytes(32) + kept[32:],
    "longer": lambda kept: kept + b"\0",
    "something else": lambda _: b"\x80\x04\x8c\x07missing\x8c\x05thing\x93.",
    "right, but no kernel": lambda _: hashlib.sha256(b"N.").digest() + b"N.",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_compiled_anew(damage: str, folder: Path) -> None:
    assert not run_triple()
    (path,) = files(folder)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert not run_triple()
    assert files(folder) == [path]
    assert run_triple()


def test_a_folder_in_the_place_of_a_file_is_lived_with(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_triple()
    (path,) = files(folder)
    path.unlink()
    path.mkdir()
    assert [run_triple(), run_triple()] == [False, False]
    assert len(remarks(caplog)) == 1
    assert files(folder) == []


@pytest.mark.parametrize("kind", ["no folder", "a file", "a file above", "a broken link"])
def test_without_a_place_kernels_are_compiled_in_memory(
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "missing/deeper")
    where, reason = {
        "no folder": (NOWHERE, "No such file or directory"),
        "a file": (tmp_path / "file", "File exists"),
        "a file above": (tmp_path / "file/deeper", "Not a directory"),
        "a broken link": (tmp_path / "link", "File exists"),
    }[kind]
    monkeypatch.setattr(kernel_cache, "candidates", lambda _: iter([Place(where, where)]))
    assert [run_triple(), run_triple()] == [False, False]
    (said,) = remarks(caplog)
    assert said == (
        "kernels that are not cached are compiled in memory, in every process anew: "
        f"{where} ({reason}) cannot be written; NUMBA_CACHE_DIR names a folder that can be"
    )
    assert cast(Any, jit.kernel(triple)).stats.cache_path is None


def test_a_place_that_cannot_be_written_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run_triple()
    before = files(folder)
    shelf_of.cache_clear()
    monkeypatch.setattr(kernel_cache, "_why_not", lambda _: "Read-only file system")
    assert run_triple()
    assert files(folder) == before
    assert len(remarks(caplog)) == 1
    assert f"{folder} (Read-only file system)" in remarks(caplog)[0]


def test_a_folder_that_was_named_and_cannot_be_used_is_remarked_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kernel_cache.settings, "CACHE_DIR", str(NOWHERE))
    named, *_ = candidates(Path(__file__).parent)
    places = [named, Place(tmp_path, tmp_path)]
    monkeypatch.setattr(kernel_cache, "candidates", lambda _: iter(places))
    assert [run_triple(), run_triple()] == [False, True]
    assert remarks(caplog) == [
        f"compiled kernels are kept in {tmp_path}: {NOWHERE} (No such file or directory) "
        "cannot be written"
    ]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EIO])
def test_a_disk_that_fills_up_leaves_nothing_behind(
    number: int,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def replace_fails(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "replace", replace_fails)
    assert [run_triple(), run_triple()] == [False, False]
    assert files(folder) == []
    assert len(remarks(caplog)) == 1
    assert os.strerror(number) in remarks(caplog)[0]


def test_what_another_user_wrote_is_not_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run_triple()
    ours = shelf_of(Path(__file__).parent)
    assert os.geteuid() in ours.owners
    stranger = replace(ours, owners=frozenset())
    monkeypatch.setattr(kernel_cache, "shelf_of", lambda _: stranger)
    assert not run_triple()
    (said,) = remarks(caplog)
    assert said.endswith("belongs to another user: it is compiled anew")


def test_kernels_of_other_sources_are_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_triple()
    (old,) = files(folder)
    monkeypatch.setattr(jit, "stamp_of", lambda _: "f" * 64)
    assert not run_triple()
    (new,) = files(folder)
    assert new != old


def test_a_function_that_no_file_holds_is_compiled() -> None:
    namespace: dict[str, Any] = {}
    exec(compile("def half(x):\n    return x // 2\n", "<typed>", "exec"), namespace)
    assert jit.kernel(namespace["half"])(9) == 4


def test_a_kernel_refuses_to_run_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit.numba_settings, "DISABLE_JIT", 1)
    refusing = cast(Any, jit.kernel(triple))
    assert refusing.py_func(14) == 42
    with pytest.raises(UsageError, match=r"NUMBA_DISABLE_JIT is set, .*: unset it"):
        refusing(14)


def test_a_kernel_refuses_instructions_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "get_host_cpu_features", lambda: {"avx2": True, "zz": False})
    for features in ("+avx2,-zz", ""):
        monkeypatch.setattr(jit.numba_settings, "CPU_FEATURES", features)
        assert jit.kernel(triple)(14) == 42
    monkeypatch.setattr(jit.numba_settings, "CPU_FEATURES", "+avx2, +zz")
    with pytest.raises(UsageError, match="CPU_FEATURES names zz, which this processor lacks"):
        jit.kernel(triple)(14)


SHIFT = (
    "import logging; logging.basicConfig(level=logging.INFO)\n"
    "from spikegpt_neuro.arithmetic.fixed_point import round_shift\n"
    "assert round_shift(5, 1) == 3"
)


def test_code_for_one_processor_is_not_used_for_another(tmp_path: Path) -> None:
    other = {"NUMBA_CPU_NAME": "generic"}
    said = []
    for target in ({}, other, other, {}):
        environment = {**os.environ, **target, "NUMBA_CACHE_DIR": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", SHIFT],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(done.stderr.count("compiling kernels"))
    assert said == [1, 1, 0, 0]


def test_code_of_one_optimization_is_not_used_for_another(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not run_triple()
    monkeypatch.setattr(kernel_cache.settings, "OPT", type(kernel_cache.settings.OPT)(1))
    assert [run_triple(), run_triple()] == [False, True]
    assert len(files(folder)) == 2


def test_doctor_tells_where_kernels_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = verb("doctor", "--json").figures
    assert figures["compiled_for"] == kernel_cache.processor()
    assert (figures["cache"], figures["cache_writable"]) == (str(folder), True)
    assert figures["cache_problem"] is None
    shelf_of.cache_clear()
    monkeypatch.setattr(kernel_cache, "candidates", lambda _: iter([Place(NOWHERE, NOWHERE)]))
    figures = verb("doctor", "--json").figures
    assert (figures["cache"], figures["cache_writable"]) == (str(NOWHERE), False)
    assert figures["cache_problem"] == f"{NOWHERE} (No such file or directory) cannot be written"


VERBS = """
import sys
from pathlib import Path
from spikegpt_neuro.arithmetic import kernel_cache
if sys.argv.pop(1) == "nowhere":
    where = Path("/proc/nowhere")
    kernel_cache.candidates = lambda _: iter([kernel_cache.Place(where, where)])
from spikegpt_neuro.cli import main
main()
"""


def model_and_text(folder: Path, place: str, target: dict[str, str]) -> tuple[list[bytes], str]:
    """The files of a converted model, and what it writes."""
    artifact, vocabulary = folder / "model.sgn", EXAMPLES / "pydoc-vocab.json"
    convert = ["convert", EXAMPLES / "pydoc-4x128.pth", "--vocab", vocabulary, "-o", artifact]
    simulate = ["simulate", artifact, "--prompt", "def main(", "--verify", "--json"]
    generate = ["generate", artifact, "def main(", "-n", 40, "--seed", 1, "--json"]
    answers = []
    for command in (convert, simulate, generate):
        done = subprocess.run(
            [sys.executable, "-c", VERBS, place, *map(str, command)],
            env={**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache"), **target},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("in memory, in every process anew") == (place == "nowhere")
        answers.append(done.stdout)
    assert json.loads(answers[1])["matches_reference"] is True
    integers = [path.read_bytes() for path in sorted(artifact.iterdir())]
    return integers, json.loads(answers[2])["text"]


@pytest.fixture(scope="module")
def as_usual(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[bytes], str]:
    pytest.importorskip("torch", reason="reading .pth needs torch")
    return model_and_text(tmp_path_factory.mktemp("usual"), "here", {})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("nowhere", {}),
        ("here", {"NUMBA_CPU_NAME": "generic"}),
        ("here", {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+avx2,-avx512vnni"}),
        ("here", {"NUMBA_ENABLE_AVX": "0"}),
        ("here", {"NUMBA_OPT": "0"}),
    ],
)
def test_every_processor_and_place_gives_the_same_model_and_text(
    place: str, target: dict[str, str], tmp_path: Path, as_usual: tuple[list[bytes], str]
) -> None:
    assert model_and_text(tmp_path, place, target) == as_usual


PRODUCT = """
import sys
import numpy as np
from spikegpt_neuro.backends.reference.backend import events_sent
assert events_sent(np.ones((2, 3), np.int32)).tolist() == [2, 2, 2]
assert "scipy.linalg" not in sys.modules
from numba import njit
assert njit(lambda a, b: a @ b)(2 * np.eye(2), np.ones((2, 2))).tolist() == [[2, 2], [2, 2]]
"""


def test_kernels_come_without_scipy_and_others_find_it() -> None:
    pytest.importorskip("scipy.linalg")
    done = subprocess.run([sys.executable, "-c", PRODUCT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
