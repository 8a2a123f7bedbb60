"""The house keeps its rules: imports run one way, nothing heavy loads early, packages are named."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import spikegpt_neuro

from places import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CORE = ROOT / "spikegpt_neuro"
OUTSIDE = {name: ROOT / name for name in ("backends", "converters", "hw_profiles")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HEAVY = {"numpy", "numba", "torch", "lava", "rich", "tokenizers", "safetensors"}


def _imports(file: Path) -> set[str]:
    """Full names that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _package_files() -> list[Path]:
    return [f for folder in (CORE, *OUTSIDE.values()) for f in sorted(folder.rglob("*.py"))]


def test_the_core_knows_no_reader_and_no_backend() -> None:
    open_to_all = {CORE / "api.py", *(CORE / "cli").rglob("*.py")}
    for file in sorted(set(CORE.rglob("*.py")) - open_to_all):
        for name in _imports(file):
            room = name.removeprefix("spikegpt_neuro.").split(".")[0]
            assert room not in OUTSIDE or not name.startswith("spikegpt_neuro."), (file, name)


def test_no_room_imports_the_command_line_or_the_facade() -> None:
    doors = {
        CORE / "api.py",
        CORE / "__init__.py",
        CORE / "__main__.py",
        *(CORE / "cli").rglob("*.py"),
    }
    for file in sorted(set(_package_files()) - doors):
        for name in _imports(file):
            assert not name.startswith(("spikegpt_neuro.cli", "spikegpt_neuro.api")), (file, name)


def test_torch_is_imported_only_to_unpickle_and_to_race_against() -> None:
    torch_users = {"converters/torch_file.py", "spikegpt_neuro/benchmark/torch_model.py"}
    for file in _package_files():
        roots = {name.split(".")[0] for name in _imports(file)}
        assert "torch" not in roots or file.relative_to(ROOT).as_posix() in torch_users, file


def test_the_torch_opponent_is_loaded_by_nothing_at_import_time() -> None:
    for file in _package_files():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        early = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert "spikegpt_neuro.benchmark.torch_model" not in early, file


@pytest.mark.parametrize(
    "statement",
    [
        "import spikegpt_neuro",
        "import spikegpt_neuro.schedules",
        "from spikegpt_neuro.backends.cycle.timing.names import timing_names; timing_names()",
        "from spikegpt_neuro.converters.exporters.names import format_names; format_names()",
        "from spikegpt_neuro.cli import run; run(['--help'])",
        "from spikegpt_neuro.cli import run; run(['generate', '--help'])",
    ],
)
def test_nothing_heavy_loads_before_it_is_needed(statement: str) -> None:
    code = f"{statement}\nimport sys; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stderr.split())


def test_every_public_name_is_there() -> None:
    for name in spikegpt_neuro.__all__:
        assert getattr(spikegpt_neuro, name) is not None
    assert callable(spikegpt_neuro.run)
    with pytest.raises(AttributeError, match="nothing"):
        _ = spikegpt_neuro.nothing


def test_every_entry_point_loads() -> None:
    groups = PROJECT["project"]["entry-points"]
    for group, entries in groups.items():
        installed = {e.name: e for e in importlib.metadata.entry_points(group=group)}
        for name in entries:
            assert installed[name].load() is not None


def test_every_package_is_named_in_pyproject() -> None:
    mapped = {"spikegpt_neuro": CORE} | {
        f"spikegpt_neuro.{name}": folder for name, folder in OUTSIDE.items()
    }
    found = {
        ".".join((package, *init.parent.relative_to(folder).parts))
        for package, folder in mapped.items()
        for init in folder.rglob("__init__.py")
    }
    assert sorted(found) == PROJECT["tool"]["setuptools"]["packages"]


def test_constraints_pin_every_dependency() -> None:
    pins = re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    project = PROJECT["project"]
    wanted = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.split(r"[<>=;\[ ]", line)[0] for lines in wanted for line in lines}
    assert names <= set(pins)
    assert pins[0] == "torch"


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md"]
)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", text) + re.findall(r'src(?:set)?="([^"]+)"', text)
    for target in targets:
        if "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), target


@pytest.mark.slow
def test_the_wheel_brings_one_top_level_name(tmp_path: Path) -> None:
    tree, wheels = tmp_path / "tree", tmp_path / "wheels"
    tree.mkdir()
    for folder in (CORE, *OUTSIDE.values()):
        shutil.copytree(folder, tree / folder.name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-w", str(wheels), str(tree)], check=True)
    (wheel,) = wheels.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"spikegpt_neuro", wheel.name.rsplit("-", 3)[0] + ".dist-info"}
    for room in OUTSIDE:
        assert f"spikegpt_neuro/{room}/__init__.py" in names
    assert "spikegpt_neuro/py.typed" in names
