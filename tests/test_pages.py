"""What README and documentation show runs as it stands there, on the example and small texts."""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import inspect
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from loihi_records import measured_records

import spikegpt_neuro as sgn
from spikegpt_neuro.cli import VERBS, group
from spikegpt_neuro.cli.sweep_show import show
from spikegpt_neuro.energy.record import to_json
from spikegpt_neuro.evaluation.corpus import held_out, python_documentation

from pages import PAGES, blocks, prose, told_by
from places import CHECKPOINT, EXAMPLES, ROOT

PROGRAM = "spikegpt-neuro"
SHELLS = {"bash", "fish", "zsh"}  # typed into these by tests/cli/test_completion.py
LANGUAGES = {"console", "python", "text", "toml", "yaml"} | SHELLS

SUITE = "the suite's own: continuous integration runs it"
SERVICE = "wants a network or several machines; tests/cluster runs the same with its own"
CHIP = "wants a Loihi 2 or the way to one; tests/backends/loihi rehearses it"
INSTALLS = "would change the environment that the tests run in; tests/test_dist.py installs"
SHARED = "/shared/model.sgn /shared/held-out.txt"
NOT_RUN = {
    "make demo": SUITE,
    "make test": SUITE,
    "make docs": SUITE,
    "make venv": SUITE,
    ". .venv/bin/activate": SUITE,
    "pip install '.[lava]'": INSTALLS,
    "pip install --ignore-requires-python --no-deps lava-nc==0.10.0": INSTALLS,
    "pip install 'spikegpt-neuro[cluster]'": INSTALLS,
    "make dist && docker build -t spikegpt-neuro .": "wants a Docker daemon",
    'docker run --rm --read-only --tmpfs /tmp -v "$PWD:/work" --user "$(id -u):$(id -g)" '
    "spikegpt-neuro doctor": "wants a Docker daemon",
    f"{PROGRAM} convert hf:OWNER/NAME -o published.sgn": "names no repository",
    "dask scheduler --port 8786": SERVICE,
    "dask worker tcp://HOST:8786 --nthreads 1 --nworkers 8": SERVICE,
    f"{PROGRAM} evaluate {SHARED} --scheduler tcp://HOST:8786": SERVICE,
    f"{PROGRAM} evaluate {SHARED} --cluster slurm.yaml": SERVICE,
    f"{PROGRAM} sweep /shared/plan.toml -o /shared/results --cluster slurm.yaml --workers 16": (
        SERVICE
    ),
    f"{PROGRAM} profile model.sgn --backend loihi --slurm oheogulch --layers 0 --text book.txt "
    "--tokens 5000 -o run.json": CHIP,
    "scp -r job/ cloud:": CHIP,
    "python3 job/check.py": CHIP,
    "sh job/run.sh": CHIP,
}
"""Commands that are read and not run, and why."""

SMALLER = {
    f"{PROGRAM} finetune model.pth --text train.txt --synops 0.25 -o sparse": "--steps 5 --batch 4",
}
"""What makes a command short enough for a test."""


def verb(name: str) -> click.Command:
    command = group.get_command(click.Context(group), name)
    assert command is not None, name
    return command


def options(command: click.Command) -> set[str]:
    known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
    return known | {"-h", "--help"}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


@every_page
def test_every_block_is_of_a_kind_that_a_test_looks_at(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, block.place
        if block.language == "console":
            lines = block.body.replace("\\\n", "")
            assert lines.startswith("$ "), f"{block.place}: a command stands behind $"
        if block.language in ("toml", "yaml"):
            assert block.title, f'{block.place}: title="..." says which file it is'


@every_page
def test_commands_on_pages_have_the_options_of_the_program(page: Path) -> None:
    lines = [command for block in blocks(page) for command, _ in block.commands]
    quoted = re.findall(r"`([^`\n]+)`", prose(page))
    lines += [f"{PROGRAM} {q.removeprefix(PROGRAM).strip()}" for q in quoted if is_a_verb(q)]
    for line in lines:
        words = shlex.split(line.split(";")[0], comments=True)
        if words[0] == PROGRAM and words[1] in VERBS:
            asked = {w.split("=")[0] for w in words[2:] if re.match(r"--?[a-zA-Z]", w)}
            command = show if words[1:3] == ["sweep", "show"] else verb(words[1])
            assert asked <= options(command), line


def plain(command: str) -> str:
    """Without its comment, and with single spaces."""
    return " ".join(command.split(" #")[0].split())


def is_a_verb(quoted: str) -> bool:
    words = quoted.removeprefix(PROGRAM).split()
    return bool(words) and words[0] in VERBS and "'" not in quoted


@every_page
def test_options_named_alone_exist(page: Path) -> None:
    known = options(show).union(*(options(verb(name)) for name in VERBS))
    for quoted in re.findall(r"`(--[a-z][a-z-]*)[^`\n]*`", prose(page)):
        assert quoted in known, quoted


def test_what_is_not_run_is_still_there() -> None:
    shown = {plain(command) for page in PAGES for b in blocks(page) for command, _ in b.commands}
    assert NOT_RUN.keys() <= shown
    assert SMALLER.keys() <= shown - NOT_RUN.keys()


def test_names_in_python_blocks_exist() -> None:
    for page in PAGES:
        known = set(dir(builtins))
        for block in blocks(page):
            if block.language == "python":
                tree = ast.parse(block.body, block.place)
                known |= made_names(tree)
                missing = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} - known
                assert not missing, f"{block.place}: {missing}"
                check_calls(tree, block.place)


def made_names(tree: ast.AST) -> set[str]:
    """What a block imports or assigns; what it imports from this package must exist."""
    made = {
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            made |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("spikegpt_neuro"):
            module = importlib.import_module(node.module or "")
            assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
    return made


def check_calls(tree: ast.AST, place: str) -> None:
    """Functions called as ``sgn.name(...)`` exist and have the arguments' names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and re.fullmatch(r"sgn\.\w+", ast.unparse(node.func)):
            function: Any = getattr(sgn, ast.unparse(node.func).removeprefix("sgn."))
            given = {str(keyword.arg): None for keyword in node.keywords}
            try:
                inspect.signature(function).bind(*node.args, **given)
            except TypeError as error:
                raise AssertionError(f"{place}: {ast.unparse(node)}: {error}") from error


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pages take for granted, small: a model, texts, records of measured runs."""
    import torch

    folder = tmp_path_factory.mktemp("stand-ins")
    shutil.copy(CHECKPOINT, folder / "model.pth")
    shutil.copy(EXAMPLES / "pydoc-vocab.json", folder / "vocab.json")
    weights = torch.load(CHECKPOINT, weights_only=True)
    lightning = {"state_dict": {"model": weights}, "optimizer_states": [], "epoch": 3}
    torch.save(lightning, folder / "last.ckpt")
    graph = sgn.convert(folder / "model.pth", vocab=folder / "vocab.json")
    sgn.save(graph, folder / "model.sgn")
    text = python_documentation()
    (folder / "train.txt").write_text(text[:4_000], encoding="utf-8")
    for name in ("text.txt", "book.txt", "held-out.txt"):
        (folder / name).write_text(held_out(text)[:3_000], encoding="utf-8")
    (folder / "prompt.txt").write_text("The return value", encoding="utf-8")
    (folder / "letters.txt").write_text("The café is open.", encoding="utf-8")
    for number, record in enumerate(measured_records(5), 1):
        (folder / f"run{number}.json").write_text(json.dumps(to_json(record)), encoding="utf-8")
    return folder


def furnished(folder: Path, steps: list[dict[str, Any]], stand_ins: Path) -> None:
    """Put into ``folder`` what the steps use and do not make."""
    (folder / "examples").symlink_to(EXAMPLES)
    (folder / "README.md").symlink_to(ROOT / "README.md")
    bodies = "\n".join(step["body"] for step in steps)
    made = set(re.findall(r"-o (\S+)", bodies))
    for source in stand_ins.iterdir():
        if source.name not in made:
            copy: Any = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, folder / source.name)


def steps_of(page: Path) -> list[dict[str, Any]]:
    """What a process does that follows the page, except for what is not run."""
    steps = []
    for block in blocks(page):
        place = {"place": block.place, "title": block.title}
        if block.title:
            steps.append({"do": "write", "body": block.body, **place})
        elif block.language == "python":
            steps.append({"do": "python", "body": block.body, **place})
        elif block.language == "text":
            steps.append({"do": "compare", "body": block.body, **place})
        for command, shown in block.commands:
            if plain(command) not in NOT_RUN:
                line = f"{command} {SMALLER.get(plain(command), '')}"
                steps.append({"do": "command", "body": line, **place})
                steps += [{"do": "compare", "body": shown, **place}] if shown else []
    return steps


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("lava", "jinja2", "torch", "pandas")),
    reason="pages run Lava, write reports and train",
)
@pytest.mark.parametrize("page", [page for page in PAGES if steps_of(page)], ids=name_of)
def test_a_page_runs_as_it_stands(
    page: Path, stand_ins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = steps_of(page)
    furnished(tmp_path, steps, stand_ins)
    programs = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    told = told_by(steps, tmp_path)
    if page.name == "first-half-hour.md":
        assert re.search(r"^matches reference +yes$", told, re.MULTILINE)
        for label, figure in (("bytes", "1.02 MB"), ("neurons", "9,824"), ("cores", "8")):
            assert re.search(rf"^{label} +{figure}$", told, re.MULTILINE), label
