"""The command line: one module per verb, loaded when it is asked for.

Verb modules import only what their options need; numpy and the rest are imported by the verb
itself, so that ``--help`` answers at once.

Exit codes: 0 ok; 1 a check failed; 2 usage; 3 unreadable or unsupported input; 4 a backend or
an extra is missing; 70 an error of this program; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

import click

from spikegpt_neuro.cli.session import PROGRAM, Invocation, as_typed
from spikegpt_neuro.errors import SpikeGPTError
from spikegpt_neuro.version import __version__

VERBS = {
    "convert": "Convert a checkpoint to an integer spiking graph.",
    "info": "Show what an artifact or a checkpoint holds.",
    "evaluate": "Bits per token of an artifact, beside its float model.",
    "generate": "Continue a prompt.",
    "simulate": "Run tokens on a backend, and verify every integer.",
    "map": "Place an artifact on the cores and chips of a hardware.",
    "profile": "Joules, seconds and synaptic operations per token.",
    "profiles": "List hardware profiles, or show one with its sources.",
    "fit": "A hardware profile from measured runs.",
    "tradeoff": "Bits lost against synaptic operations, point by point.",
    "report": "One HTML file: fidelity, spikes, operations, energy, comparisons.",
    "export": "Write an artifact or a checkpoint for other tools.",
    "bench": "Measure speed, memory and start-up beside torch.",
    "doctor": "Show what is installed and what is missing.",
}
"""Verb -> what it does, in a line; the verb's module need not load for that."""
USAGE_ERROR = 2
INTERNAL_ERROR = 70
INTERRUPTED = 130
BROKEN_PIPE = 141


class VerbGroup(click.Group):
    """Finds each verb as the command of its own name in ``spikegpt_neuro.cli.<verb>``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = getattr(import_module(f"{__name__}.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs, without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=PROGRAM)
def group() -> None:
    """Trained SpikeGPT checkpoints as all-integer spiking graphs.

    Every verb takes --json (one object on standard output), --quiet (no progress and no
    remarks) and --debug (a traceback with an error).
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def run(arguments: Sequence[str]) -> int:
    """Run one verb; returns the exit code. Errors are one line on standard error."""
    invocation = Invocation()
    if hasattr(sys.stdout, "reconfigure"):  # text of the model, whatever the terminal can show
        sys.stdout.reconfigure(errors="replace")
    try:
        code = group.main(list(arguments), PROGRAM, standalone_mode=False, obj=invocation)
        sys.stdout.flush()
        return int(code or 0)
    except BrokenPipeError:  # the reader of our output left, for example head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", INTERRUPTED, invocation)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE_ERROR
    except click.ClickException as error:
        return _fail(_usage(error), error.exit_code, invocation)
    except SpikeGPTError as error:
        return _fail(as_typed(str(error)), error.exit_code, invocation)
    except Exception as error:
        hint = "an error of this program; --debug shows where"
        return _fail(f"{type(error).__name__}: {error} ({hint})", INTERNAL_ERROR, invocation)


def _fail(text: str, code: int, invocation: Invocation) -> int:
    if invocation.debug:
        traceback.print_exc()
    click.echo(f"error: {' '.join(text.split())}", err=True)
    return code


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else PROGRAM
    return f"{error.format_message().rstrip('.')}; see {path} --help"
