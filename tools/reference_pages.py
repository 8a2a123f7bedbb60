"""Pages of the documentation site that the program itself writes; a hook of MkDocs.

Verbs come from the click program, constants from the installed profiles, the Python face from its
list of names, decisions from their files. Each function gives a page as Markdown.
"""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

import spikegpt_neuro as sgn
from spikegpt_neuro.cli import VERBS, group
from spikegpt_neuro.cli.session import PROGRAM
from spikegpt_neuro.cli.sweep_show import show
from spikegpt_neuro.hardware.schema import REQUIRED, SPECS

DECISIONS = Path(__file__).resolve().parent.parent / "docs" / "decisions"


def cell(value: object) -> str:
    """Text that stands as it is in a cell of a table."""
    text = "" if value is None else " ".join(str(value).split())
    return html.escape(text, quote=False).replace("|", "&#124;").translate(SIGNS)


SIGNS = str.maketrans({sign: f"&#{ord(sign)};" for sign in "*_`[]\\"})


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    names = list(head)
    lines = [names, ["---"] * len(names), *([cell(v) for v in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def verbs() -> str:
    """Every verb with all its options."""
    parts = ["# Verbs", "Generated from the program: what `--help` says."]
    with click.Context(group, info_name=PROGRAM) as parent:
        parts += [_verb(parent, name) for name in VERBS]
    return "\n\n".join(parts) + "\n"


def _verb(parent: click.Context, name: str) -> str:
    command = group.get_command(parent, name)
    assert command is not None
    told = f"## {name}\n\n{_options(parent, command, name)}"
    if name == "sweep":  # the one verb that has another in it
        told += f"\n\n### sweep show\n\n{_options(parent, show, 'sweep show')}"
    return told


def _options(parent: click.Context, command: click.Command, name: str) -> str:
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join([PROGRAM, name, *command.collect_usage_pieces(context)])
    records = (p.get_help_record(context) for p in command.get_params(context))
    options = table(("option", "does"), (r for r in records if r is not None))
    told = inspect.cleandoc(command.help or "").replace("\b\n", "").replace("\f", "")
    return f"```text\n{usage}\n```\n\n```text\n{told}\n```\n\n{options}"


def hardware() -> str:
    """Every constant of every profile, with unit, kind, range and source."""
    parts = ["# Hardware profiles", "Generated from the installed profiles, constant by constant."]
    parts += ["## What each constant means", _meanings()]
    listed: Any = sgn.profiles()
    for name in listed.profiles:
        shown: Any = sgn.profiles(name)
        rows = (
            (r["constant"], r["value"], r["unit"], r["kind"], _range(r), _source(r))
            for r in shown.rows()
        )
        head = ("constant", "value", "unit", "kind", "low .. high", "source")
        parts += [f"## {name}", cell(shown.title), table(head, rows)]
    return "\n\n".join(parts) + "\n"


def _meanings() -> str:
    """Every key that a profile may have."""
    head = ("constant", "means", "takes", "units", "needed")
    rows = (
        (key, spec.meaning, spec.form, ", ".join(spec.dimension.units), _needed(key))
        for key, spec in SPECS.items()
    )
    return table(head, rows)


def _needed(key: str) -> str:
    return "yes" if key in REQUIRED else ""


def _range(row: dict[str, Any]) -> str:
    return "" if row["low"] is None else f"{row['low']} .. {row['high']}"


def _source(row: dict[str, Any]) -> str:
    return "; ".join(str(row[key]) for key in ("source", "note") if row[key])


def python() -> str:
    """What ``import spikegpt_neuro`` offers, each from where it is defined."""
    names = (name for name in sgn.__all__ if not name.startswith("__"))
    homes = (f"{getattr(sgn, name).__module__}.{name}" for name in names)
    head = "# Python\n\nWhat `import spikegpt_neuro as sgn` offers.\n\n"
    return head + "\n\n".join(f"::: {home}" for home in homes) + "\n"


def decisions() -> str:
    """The list of decisions."""
    files = sorted(DECISIONS.glob("[0-9]*.md"))
    titles = ((f.name, f.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")) for f in files)
    return "# Decisions\n\n" + "\n".join(f"- [{title}]({name})" for name, title in titles) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "reference/verbs.md": verbs,
    "reference/profiles.md": hardware,
    "reference/python.md": python,
    "decisions/index.md": decisions,
}


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=page()))
    return files


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001
    """The page with options and names of files that no line end divides at their dashes."""
    return re.sub(r"<code>.*?</code>", lambda m: _undivided(m[0]), html, flags=re.DOTALL)


def _undivided(code: str) -> str:
    word = r"(?<![\w./-])(?=[\w./-]{2,30}(?![\w./-]))([\w./]*-[\w./-]*)(?=[^<>]*<)"
    return re.sub(word, r'<span class="word">\1</span>', code)
