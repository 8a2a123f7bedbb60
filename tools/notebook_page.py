"""The notebook of ``examples/`` as a page of the documentation site; a hook of MkDocs.

It is run while the site is built, so that the page shows what the code of today gives, and a cell
that fails ends the build. In git it has no outputs.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "examples" / "walkthrough.ipynb"
PAGE, PICTURES = "walkthrough.md", "walkthrough_files"
CELL_SECONDS = 1200  # of a busy machine; a cell that hangs ends, too

IMAGE = re.compile(rf"!\[\w+\]\(({PICTURES}/walkthrough_(\d+)_\d+\.\w+)\)")
OUTSIDE = re.compile(r"\]\(\.\./docs/")
FRAME = re.compile(
    r"<style scoped>.*?</style>|(?<=<table) border=\"1\" class=\"dataframe\"", re.DOTALL
)


def converted(notebook: Path) -> tuple[str, dict[str, bytes]]:
    """The notebook, run where it lies, as Markdown; and its pictures by their paths."""
    import nbformat
    from mkdocs.exceptions import PluginError
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
    from nbconvert.exporters import MarkdownExporter

    cells = nbformat.read(notebook, as_version=4)
    place = {"metadata": {"path": str(notebook.parent)}}
    try:
        NotebookClient(cells, timeout=CELL_SECONDS, resources=place).execute()
    except CellExecutionError as error:
        raise PluginError(f"{notebook.name}: {error}") from error
    names = {"unique_key": "walkthrough", "output_files_dir": PICTURES}
    text, resources = MarkdownExporter().from_notebook_node(cells, names)
    return as_page(text, [cell.metadata.get("alt") for cell in cells.cells]), resources["outputs"]


def as_page(text: str, alternatives: list[str | None]) -> str:
    """Links as from ``docs/``, each picture with its cell's ``alt``, tables as the theme's."""

    def described(found: re.Match[str]) -> str:
        said = alternatives[int(found[2])]
        if said is None:
            raise ValueError(f"cell {found[2]} draws a picture and has no alt in its metadata")
        return f"![{said}]({found[1]})"

    return FRAME.sub("", OUTSIDE.sub("](", IMAGE.sub(described, text)))


def on_files(files: Any, config: Any) -> Any:
    """Add the page, its pictures, and the notebook itself to take away."""
    from mkdocs.structure.files import File

    text, pictures = converted(NOTEBOOK)
    head, rest = text.lstrip().split("\n", 1)
    offer = f"[Take it as a notebook]({NOTEBOOK.name}){{ download }}\n"
    source = NOTEBOOK.read_text(encoding="utf-8")
    contents = {PAGE: f"{head}\n\n{offer}{rest}", NOTEBOOK.name: source, **pictures}
    for path, content in contents.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links of other pages to the notebook lead to its page."""
    return markdown.replace(f"](../examples/{NOTEBOOK.name})", f"]({PAGE})")
