"""The project keeps its rules: which imports are allowed, what loads early, how errors read."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
import zipfile
from graphlib import TopologicalSorter
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
HEAVY = {"msgspec", "numpy", "numba", "torch", "lava", "rich", "tokenizers", "safetensors"}


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
    open_to_all = {*(CORE / "api").rglob("*.py"), *(CORE / "cli").rglob("*.py")}
    for file in sorted(set(CORE.rglob("*.py")) - open_to_all):
        for name in _imports(file):
            package = name.removeprefix("spikegpt_neuro.").split(".")[0]
            assert package not in OUTSIDE or not name.startswith("spikegpt_neuro."), (file, name)


def test_no_package_imports_the_command_line_or_the_facade() -> None:
    for_users = {
        *(CORE / "api").rglob("*.py"),
        CORE / "__init__.py",
        CORE / "__main__.py",
        *(CORE / "cli").rglob("*.py"),
    }
    for file in sorted(set(_package_files()) - for_users):
        for name in _imports(file):
            assert not name.startswith(("spikegpt_neuro.cli", "spikegpt_neuro.api")), (file, name)


def test_the_command_line_is_imported_by_nothing_but_itself() -> None:
    for file in _package_files():
        if file.parent != CORE / "cli" and file.name != "__main__.py":
            assert not any(n.startswith("spikegpt_neuro.cli") for n in _imports(file)), file


def test_the_command_line_names_no_backend() -> None:
    """What a backend is and takes, it says itself (spikegpt_neuro/descriptions.py)."""
    names = {"reference", "lava", "cycle", "loihi"}
    for file in sorted((CORE / "cli").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            text = node.value if isinstance(node, ast.Constant) else getattr(node, "id", None)
            if isinstance(text, str):
                assert text not in names, (file, text)
                assert not re.search(r"lava_|loihi_|(?i:loihi:)|(?i:lava:)", text), (file, text)


def _is_reported(node: ast.AST) -> bool:
    """A ``raise`` statement or a line of the log."""
    return isinstance(node, ast.Raise) or (
        isinstance(node, ast.Call) and ast.unparse(node.func).startswith("LOG.")
    )


def _reported_texts(file: Path) -> set[str]:
    """Texts in errors and log lines of a file, those of its constants that they name included."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    parts = [part for node in ast.walk(tree) if _is_reported(node) for part in ast.walk(node)]
    named = [constants[p.id] for p in parts if isinstance(p, ast.Name) and p.id in constants]
    parts += [part for value in named for part in ast.walk(value)]
    values = [part.value for part in parts if isinstance(part, ast.Constant)]
    return {value for value in values if isinstance(value, str)}


def test_errors_of_the_library_name_options_as_python_does() -> None:
    """``force=True``, not ``--force``: the command line rewrites them to its flags."""
    files = [file for file in _package_files() if file.parent != CORE / "cli"]
    texts = {(file, text) for file in files for text in _reported_texts(file)}
    assert any("force=True" in text for _, text in texts)
    for file, text in sorted(texts):
        assert not re.search(r"(?<![\w-])--?[a-z]", text), (file, text)


def test_no_two_modules_import_each_other() -> None:
    """No circle, be it at the top of a module, inside functions or for types only."""
    files = {_module(file): file for file in _package_files()}
    imports = {
        name: {_loaded(wanted, files) for wanted in _imports(file)} & set(files) - {name}
        for name, file in files.items()
    }
    TopologicalSorter(imports).prepare()


def _module(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts if parts[0] == "spikegpt_neuro" else ("spikegpt_neuro", *parts))
    return name.removesuffix(".__init__")


def _loaded(wanted: str, files: dict[str, Path]) -> str:
    """The module that an import of ``wanted`` loads: itself, or what it is a name of."""
    return wanted if wanted in files else wanted.rpartition(".")[0]


def test_torch_is_imported_only_to_unpickle_to_race_against_and_to_train() -> None:
    torch_users = {
        "converters/torch_file.py",
        "spikegpt_neuro/api/finetuning.py",
        "spikegpt_neuro/benchmark/torch_model.py",
    }
    for file in _package_files():
        roots = {name.split(".")[0] for name in _imports(file)}
        if file.parent != CORE / "training":
            named = file.relative_to(ROOT).as_posix() in torch_users
            assert "torch" not in roots or named, file


def test_what_needs_torch_or_triton_is_loaded_by_nothing_at_import_time() -> None:
    without = {"recipe", "steering", "formats", "surrogates", "kernels"}
    for file in _package_files():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        early = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert "spikegpt_neuro.benchmark.torch_model" not in early, file
        assert "spikegpt_neuro.training.gpu" not in early, file
        names = {name for name in early if name and name.startswith("spikegpt_neuro.training.")}
        if file.parent != CORE / "training" or file.stem in without:
            assert {name.rpartition(".")[2] for name in names} <= without, file
        if file.parent == CORE / "training" and file.stem in without:
            assert "torch" not in {name.split(".")[0] for name in _imports(file)}, file


@pytest.mark.parametrize(
    "statement",
    [
        "import spikegpt_neuro",
        "import spikegpt_neuro.schedules",
        "from spikegpt_neuro.backends.cycle.timing.names import timing_names; timing_names()",
        "from spikegpt_neuro.converters.exporters.names import format_names; format_names()",
        "from spikegpt_neuro.cli import run; run(['--help'])",
        "from spikegpt_neuro.cli import run; run(['generate', '--help'])",
        "from spikegpt_neuro.cli import run; run(['export', '--help'])",
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
    for package in OUTSIDE:
        assert f"spikegpt_neuro/{package}/__init__.py" in names
    assert "spikegpt_neuro/py.typed" in names
    for file in (ROOT / "hw_profiles").rglob("*.toml"):
        assert f"spikegpt_neuro/{file.relative_to(ROOT).as_posix()}" in names


def _module_of(file: Path) -> str:
    """The name that a file of the package is imported by."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    inside = parts if parts[0] == CORE.name else (CORE.name, *parts)
    return ".".join(part for part in inside if part != "__init__")


def _import_graph() -> dict[str, set[str]]:
    """Module -> modules that it imports: at the top, inside functions, under TYPE_CHECKING."""
    files = {_module_of(file): file for file in _package_files()}

    def target(name: str) -> str:
        return name if name in files else name.rpartition(".")[0]

    return {
        module: {target(name) for name in _imports(file)} & files.keys() - {module}
        for module, file in files.items()
    }


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Sets of nodes that all reach each other, each sorted: strongly connected components."""
    left = {node: set(targets) for node, targets in graph.items()}
    while ends := {n for n, t in left.items() if not t & left.keys() - {n}}:
        left = {n: t for n, t in left.items() if n not in ends}  # no circle goes through them

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        ahead = [start]
        while ahead:
            new = left[ahead.pop()] & left.keys() - found
            found |= new
            ahead += new
        return found

    reach = {node: reached(node) for node in left}
    groups = {frozenset(m for m in reach[n] if n in reach[m]) for n in left if n in reach[n]}
    return sorted(sorted(group) for group in groups)


def test_circles_are_found() -> None:
    ring = {"d": {"e"}, "e": {"f"}, "f": {"d"}}
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "g": {"a"}} | ring
    assert circles(graph) == [["b", "c"], ["d", "e", "f"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = _import_graph()
    assert "spikegpt_neuro.graph.graph" in graph["spikegpt_neuro.backends.reference.backend"]
    found = circles(graph)
    assert not found, "; ".join(" <-> ".join(circle) for circle in found)
