"""What the verbs share: common options, those of the backends, output and progress."""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, cast

import click

from spikegpt_neuro.api.choices import (
    DEFAULT_BACKEND,
    PLACES,
    SCHEDULES,
    Option,
    Use,
    options_for,
    timing_names,
)
from spikegpt_neuro.cli.progress import ProgressLines
from spikegpt_neuro.cli.session import Invocation, as_typed
from spikegpt_neuro.cli.streams import say
from spikegpt_neuro.errors import CannotWrite, UsageError
from spikegpt_neuro.quantization import BITS
from spikegpt_neuro.remarks import REMARKS
from spikegpt_neuro.units import digits, scaled

if TYPE_CHECKING:
    from spikegpt_neuro.running import Progress

CORPORA = ("python-docs",)

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Output:
    """Data goes to standard output, everything else to standard error."""

    as_json: bool
    quiet: bool
    invocation: Invocation = field(default_factory=Invocation)
    told: list[str] = field(default_factory=list)

    def result(self, values: Mapping[str, object]) -> None:
        """Print a verb's figures: one JSON object, or one line per figure.

        Remarks told so far are ``remarks`` of the object; a person has read them already.
        """
        given, values = values, dict(values)
        own = cast(Iterable[str], values.pop("remarks", None) or ())
        remarks = list(dict.fromkeys([*map(as_typed, own), *self.told]))
        told = {"remarks": remarks} if remarks or "remarks" in given else {}
        self.document(values | told)
        if self.as_json:
            return
        shown = {in_words(name): with_unit(name, value) for name, value in values.items()}
        width = max(map(len, shown))
        for words, value in shown.items():
            say(f"{words.ljust(width)}  {value}")

    def document(self, content: object) -> None:
        """What the verb found; --json prints it at the end, with the error that it may end with."""
        self.invocation.document = content

    def note(self, text: str) -> None:
        """A remark for a person."""
        if not self.quiet:
            say(text, err=True)

    @contextmanager
    def progress(self, label: str, unit: str = "tokens") -> Iterator[Progress | None]:
        """Progress on standard error: a bar, or lines now and then off a terminal.

        None with --quiet.
        """
        if self.quiet:
            yield None
            return
        if not sys.stderr.isatty():
            yield ProgressLines(label, unit, lambda line: say(line, err=True))
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

    @property
    def stages(self) -> ShownStages:
        """Progress of work in several parts, each under its label."""
        return ShownStages(self)


@dataclass(frozen=True)
class ShownStages:
    """A bar for each part of a long work."""

    out: Output

    def stage(self, label: str, unit: str = "tokens") -> AbstractContextManager[Progress | None]:
        """Begin a part."""
        return self.out.progress(label, unit)


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


NAME = re.compile(r"[a-z0-9]+(_[a-z0-9]+)+")
WORDS = {
    "lif": "LIF",
    "rss": "memory",
    "synops": "synaptic operations",
    "vocab": "vocabulary",
}
"""Words of names in JSON that a person reads otherwise."""
UNITS = {
    "bytes": "B",
    "memory_used": "B",
    "seconds": "s",
    "seconds_per_token": "s",
    "joules_per_token": "J",
}
"""What a figure's name ends with -> its unit."""
SHARES = ("spike_mismatch", "utilization", "weight_density")
"""Figures from 0 to 1 that are read in percent."""


def in_words(name: str) -> str:
    """A figure's name as a person reads it: ``peak_rss_bytes`` is ``peak memory``."""
    if NAME.fullmatch(name) is None:
        return name
    words = name.removesuffix("_bytes").split("_")
    return " ".join(WORDS.get(word, word) for word in words)


def with_unit(name: str, value: object) -> str:
    """A figure's value as a person reads it, in the unit that its name ends with.

    Of several that have names of their own, each: those of one unit, or each in its own.
    """
    if isinstance(value, Mapping):
        has_unit = any(name.endswith(ending) for ending in UNITS)
        parts = (f"{in_words(k)} {with_unit(name if has_unit else k, v)}" for k, v in value.items())
        return ", ".join(parts) or "-"
    if name in SHARES and isinstance(value, (int, float)):
        return f"{digits(100 * value)} %"
    for ending, unit in UNITS.items():
        of_it = name == ending or name.endswith(f"_{ending}")
        if of_it and isinstance(value, (int, float)) and not isinstance(value, bool):
            return scaled(value, unit)
    if name.endswith("tokens_per_second") and isinstance(value, (int, float)):
        return f"{digits(value)} tokens/s"
    return _shown(value)


def verb(function: Function) -> Function:
    """Give a verb --json, --quiet and --debug; it receives an :class:`Output` first."""

    @click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
    @click.option("-q", "--quiet", is_flag=True, help="No progress and no remarks.")
    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(function)
    def wrapped(as_json: bool, quiet: bool, debug: bool, **options: Any) -> None:
        invocation = click.get_current_context().find_object(Invocation) or Invocation()
        invocation.as_json, invocation.debug = as_json, debug
        _check_apart(options)
        out = Output(as_json, quiet, invocation)
        with _remarks(out):
            function(out, **options)

    return wrapped  # type: ignore[return-value]


OUTPUTS = ("output", "svg", "trace")
"""Options that name what a verb writes."""


def _check_apart(options: Mapping[str, Any]) -> None:
    """Raise if what a verb writes is what it reads, or two of its outputs are one."""
    given = {**options, **options.get("options", {})}
    named = {k: v for k, v in given.items() if isinstance(v, str) and v}
    named |= {
        f"{k} {i}": v
        for k, vs in given.items()
        if isinstance(vs, tuple)
        for i, v in enumerate(vs)
        if isinstance(v, str) and v
    }
    for output in named.keys() & set(OUTPUTS):
        for other in named.keys() - {output}:
            if _is_one_place(named[output], named[other], other in OUTPUTS):
                what = "written twice" if other in OUTPUTS else "read by this command, too"
                raise CannotWrite(f"{named[output]} is {what}; choose another output")


def _is_one_place(output: str, other: str, is_output: bool) -> bool:
    try:
        if is_output and os.path.realpath(output) == os.path.realpath(other):
            return True
        return os.path.samefile(output, other)
    except (OSError, ValueError):  # not there, or no name at all
        return False


class Log(logging.StreamHandler[TextIO]):
    """Shows on standard error what the library logs, and keeps its remarks."""

    def __init__(self, out: Output) -> None:
        super().__init__(sys.stderr)
        self.out = out

    def emit(self, record: logging.LogRecord) -> None:
        is_remark = record.name == REMARKS.name
        if is_remark:
            self.out.told.append(self.format(record))
        if not (is_remark and self.out.quiet):
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        return as_typed(super().format(record))


@contextmanager
def _remarks(out: Output) -> Iterator[None]:
    """Show what the library logs on standard error, for as long as a verb runs."""
    log = logging.getLogger("spikegpt_neuro")
    handler, level = Log(out), log.level
    log.setLevel(logging.WARNING if out.quiet else logging.INFO)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)  # the library may be used on in this process


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
    "--backend",
    default=DEFAULT_BACKEND,
    show_default=True,
    help="Which backend runs the graph.",
)
timing_choice = click.Choice(timing_names())
schedule_choice = click.Choice(SCHEDULES)
where_choice = click.Choice(PLACES)


def backend_options(use: Use) -> Callable[[Function], Function]:
    """--backend and every backend's own options for ``use``; given ones arrive as ``options``."""
    declared = options_for(use)

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def wrapped(*arguments: Any, **values: Any) -> Any:
            given = {o.name: values.pop(o.name) for o in declared}
            chosen = {
                name: value for name, value in given.items() if value not in (None, False, ())
            }
            return function(*arguments, options=chosen, **values)

        return _with(wrapped, backend_option, *map(_click_option, declared))  # type: ignore[return-value]

    return decorate


def _click_option(option: Option) -> Callable[[Function], Function]:
    """An option of a backend as click has it."""
    flag = f"--{option.flag or option.name.replace('_', '-')}"
    kinds: dict[str, dict[str, Any]] = {
        "text": {},
        "path": {},
        "whole": {"type": click.IntRange(min=1)},
        "positive": {"type": click.FloatRange(min=0, min_open=True)},
        "pair": {"type": click.IntRange(min=0), "nargs": 2},
        "flag": {"is_flag": True},
        "several": {"multiple": True},
    }
    settings = kinds[option.kind] | {"help": option.help}
    if option.choices:
        settings["type"] = click.Choice(option.choices)
    elif option.metavar is not None:
        settings["metavar"] = option.metavar
    return click.option(flag, option.name, **settings)


def source_options(function: Function) -> Function:
    """--text, --prompt and --corpus: what a verb runs."""
    return _with(
        function,
        click.option("--text", metavar="FILE", help="A UTF-8 text (- for standard input)."),
        click.option("--prompt", metavar="TEXT", help="The text itself."),
        corpus_option,
    )


def lif_options(function: Function) -> Function:
    """--lif-tau, --lif-threshold, --lif-reset: what a checkpoint does not say of its LIF."""
    unsaid = "Where CKPT does not state it"
    return _with(
        function,
        click.option(
            "--lif-tau",
            type=float,
            metavar="T",
            help=f"{unsaid}: the LIF's time constant, in tokens.",
        ),
        click.option(
            "--lif-threshold",
            type=float,
            metavar="V",
            help=f"{unsaid}: the membrane at which it fires.",
        ),
        click.option(
            "--lif-reset",
            type=float,
            metavar="V",
            help=f"{unsaid}: the membrane after a spike.",
        ),
    )


def place_of_work(function: Function) -> Function:
    """--workers, --scheduler and --cluster: who shares the work."""
    return _with(
        function,
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            metavar="N",
            help="Divide the work among N processes here (extra cluster).",
        ),
        click.option(
            "--scheduler",
            metavar="ADDRESS",
            help="Divide it among the workers of a Dask scheduler, tcp://HOST:PORT.",
        ),
        click.option(
            "--cluster",
            metavar="FILE",
            help="Divide it among jobs of SLURM or another queue, which FILE describes (YAML); "
            "--workers: how many.",
        ),
    )


piece_option = click.option(
    "--piece",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    metavar="W",
    help="Windows that a worker gets at a time; no figure depends on it.",
)


upload_option = click.option(
    "--upload", is_flag=True, help="Send DIR to workers that do not see its folder."
)


def bits_options(function: Function) -> Function:
    """--weight-bits and --activation-bits, which arrive as numbers."""
    return _with(function, *(_bits_option(f"--{what}-bits") for what in ("weight", "activation")))


def _bits_option(flag: str) -> Callable[[Function], Function]:
    return click.option(
        flag,
        type=click.Choice([str(bits) for bits in BITS]),
        default="8",
        show_default=True,
        callback=lambda _, __, chosen: int(chosen),
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


def source_of(text: str | None, prompt: str | None = None) -> str | Path | None:
    """What :func:`source_options` gave, as functions take it; None: the built-in text."""
    return prompt if text is None else Path(text)


def exactly_one(**given: object) -> None:
    """Raise a usage error unless one of the named values is given."""
    if sum(value is not None for value in given.values()) != 1:
        *first, last = given
        raise UsageError(f"give one of {', '.join(first)} or {last}")
