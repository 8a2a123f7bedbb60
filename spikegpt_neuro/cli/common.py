"""What the verbs share: common options, output, progress, and where texts come from."""

from __future__ import annotations

import functools
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from spikegpt_neuro.errors import UnsupportedInput, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spikegpt_neuro.graph.graph import SpikingGraph
    from spikegpt_neuro.running import Backend, Progress
    from spikegpt_neuro.vocabulary import Unknown, Vocabulary

PROGRAM = "spikegpt-neuro"
CORPORA = ("python-docs",)
TIMINGS = ("bound", "simple", "detailed", "cycle")  # those of backends.cycle, which loads numpy

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass
class Session:
    """What outlives a verb: whether an error shall show its traceback."""

    debug: bool = False


@dataclass(frozen=True)
class Output:
    """Data goes to standard output, everything else to standard error."""

    as_json: bool
    quiet: bool

    def result(self, values: Mapping[str, object]) -> None:
        """Print a verb's figures: one JSON object, or one line per figure."""
        if self.as_json:
            click.echo(json.dumps(values, ensure_ascii=False))
            return
        width = max(map(len, values))
        for name, value in values.items():
            click.echo(f"{name.ljust(width)}  {_shown(value)}")

    def note(self, text: str) -> None:
        """A remark for a person."""
        if not self.quiet:
            click.echo(text, err=True)

    @contextmanager
    def progress(self, label: str, unit: str = "tokens") -> Iterator[Progress | None]:
        """A progress bar on standard error; None off a terminal and with --quiet."""
        if self.quiet or not sys.stderr.isatty():
            yield None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
        )
        with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(label, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "-"
    return str(value)


def verb(function: Function) -> Function:
    """Give a verb --json, --quiet and --debug; it receives an :class:`Output` first."""

    @click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
    @click.option("-q", "--quiet", is_flag=True, help="No progress and no remarks.")
    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(function)
    def wrapped(as_json: bool, quiet: bool, debug: bool, **options: Any) -> None:
        session = click.get_current_context().find_object(Session)
        if session is not None:
            session.debug = debug
        with _remarks(quiet):
            function(Output(as_json, quiet), **options)

    return wrapped  # type: ignore[return-value]


@contextmanager
def _remarks(quiet: bool) -> Iterator[None]:
    """Show what the library logs on standard error, for as long as a verb runs."""
    log = logging.getLogger("spikegpt_neuro")
    handler = logging.StreamHandler(sys.stderr)
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


unknown_option = click.option(
    "--unknown",
    type=click.Choice(["error", "replace"]),
    default="error",
    show_default=True,
    help="Characters outside the vocabulary: stop, or put a substitute in their place.",
)
corpus_option = click.option(
    "--corpus",
    type=click.Choice(CORPORA),
    help="A built-in text: the last tenth of the running Python's own documentation.",
)
backend_option = click.option(
    "--backend", default="reference", show_default=True, help="Which backend runs the graph."
)
lava_python_option = click.option(
    "--lava-python", metavar="PYTHON", help="Interpreter that has Lava, if not this one."
)
where_choice = click.Choice(["chip", "host"])
time_limit_option = click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="End a Lava run after this time.",
)


def source_options(function: Function) -> Function:
    """--text, --prompt and --corpus: what a verb runs."""
    return _with(
        function,
        click.option("--text", metavar="FILE", help="A UTF-8 text (- for standard input)."),
        click.option("--prompt", metavar="TEXT", help="The text itself."),
        corpus_option,
    )


def place_options(function: Function) -> Function:
    """--embedding, --head and --seed: how a verb places a model."""
    return _with(
        function,
        click.option(
            "--embedding",
            type=where_choice,
            default="host",
            show_default=True,
            help="Where it is read.",
        ),
        click.option(
            "--head",
            type=where_choice,
            default="chip",
            show_default=True,
            help="Where logits are made.",
        ),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),
    )


def _with(function: Function, *options: Callable[[Function], Function]) -> Function:
    """The function with options that stand in this order in --help."""
    for option in reversed(options):
        function = option(function)
    return function


def vocabulary_of(graph: SpikingGraph, where: str) -> Vocabulary:
    """The graph's vocabulary, or an error saying how to get one."""
    if graph.vocabulary is None:
        raise UnsupportedInput(f"{where}: has no vocabulary; convert again with --vocab")
    return graph.vocabulary


def text_tokens(
    graph: SpikingGraph, where: str, unknown: Unknown, text: str | None
) -> NDArray[np.int64]:
    """Token ids of the file ``text`` (``-``: standard input); None: the corpus python-docs."""
    from spikegpt_neuro.evaluation.corpus import held_out, python_documentation
    from spikegpt_neuro.text import read_text

    vocabulary = vocabulary_of(graph, where)
    if text is None:
        return vocabulary.encode(held_out(python_documentation()), unknown="replace")
    return vocabulary.encode(read_text(text), unknown=unknown)


def prompt_tokens(
    graph: SpikingGraph, where: str, unknown: Unknown, prompt: str
) -> NDArray[np.int64]:
    """Token ids of a prompt; lines are tidied as upstream does for a character model."""
    from spikegpt_neuro.vocabulary import refine_prompt

    vocabulary = vocabulary_of(graph, where)
    if not prompt:
        raise UnsupportedInput("the prompt is empty; at least one character is needed")
    refined = refine_prompt(prompt) if vocabulary.kind == "character" else prompt
    return vocabulary.encode(refined, unknown=unknown)


def source_tokens(
    graph: SpikingGraph, where: str, unknown: Unknown, text: str | None, prompt: str | None
) -> NDArray[np.int64]:
    """Token ids of what :func:`source_options` gave."""
    if prompt is not None:
        return prompt_tokens(graph, where, unknown, prompt)
    return text_tokens(graph, where, unknown, text)


def exactly_one(**given: object) -> None:
    """Raise a usage error unless one of the named values is given."""
    if sum(value is not None for value in given.values()) != 1:
        *first, last = given
        raise UsageError(f"give one of {', '.join(first)} or {last}")


def open_backend(name: str, **options: object) -> Backend:
    """The backend ``name``, with those of ``options`` that are given."""
    from spikegpt_neuro.running import get_backend

    chosen = {option: value for option, value in options.items() if value is not None}
    try:
        return get_backend(name, **chosen)
    except TypeError as error:
        named = ", ".join(f"--{option.replace('_', '-')}" for option in chosen)
        raise UsageError(f"backend {name} does not take all of {named}") from error
