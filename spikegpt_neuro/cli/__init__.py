"""The command line: one module per verb, loaded when it is asked for.

Verb modules import only what their options need; numpy and the rest are imported by the verb
itself, so that ``--help`` answers at once.

Exit codes: 0 ok; 1 a check failed; 2 usage; 3 unreadable or unsupported input; 4 a backend or
an extra is missing; 70 an error of this program; 130 interrupted; 141 whoever read the output left;
143 terminated (SIGTERM, which keeps what is done as Ctrl-C does).
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

import click

from spikegpt_neuro.cli import streams
from spikegpt_neuro.cli.session import PROGRAM, Failure, Invocation, as_typed
from spikegpt_neuro.errors import CannotWrite, SpikeGPTError
from spikegpt_neuro.signals import Ended, ending_as_interrupted
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
    "validate": "Published Loihi 2 runs predicted, beside what was measured.",
    "fit": "A hardware profile from measured runs.",
    "finetune": "Train a checkpoint on, to be sparse (needs torch).",
    "tradeoff": "Bits lost against synaptic operations, point by point.",
    "sweep": "A grid of all that, as one table; shared steps once.",
    "report": "One HTML file: fidelity, spikes, operations, energy, comparisons.",
    "export": "Write an artifact or a checkpoint for other tools.",
    "bench": "Measure speed, memory and start-up beside torch.",
    "doctor": "Show what is installed and what is missing.",
}
"""Verb -> what it does, in a line; the verb's module need not load for that."""
USAGE_ERROR = 2
INTERNAL_ERROR = 70
BROKEN_PIPE = 141
COMPLETING = "_SPIKEGPT_NEURO_COMPLETE"
"""The environment variable by which a shell asks click for its script, or for what to offer."""


class VerbGroup(click.Group):
    """Finds each verb as the command of its own name in ``spikegpt_neuro.cli.<verb>``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = getattr(import_module(f"{__name__}.{cmd_name}"), cmd_name)
        if COMPLETING in os.environ:
            from spikegpt_neuro.cli.completion import with_offers

            return with_offers(command)
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
    streams.take_over()
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def run(arguments: Sequence[str], invocation: Invocation | None = None) -> int:
    """Run one verb; returns the exit code. Errors are one line on standard error.

    ``invocation``, if it is given, keeps what the verb found.
    """
    invocation = invocation or Invocation()
    invocation.as_json = "--json" in arguments
    if hasattr(sys.stdout, "reconfigure"):  # text of the model, whatever the terminal can show
        sys.stdout.reconfigure(errors=streams.REPLACED)
    try:
        with ending_as_interrupted() as ended:
            failure = _carry_out(arguments, invocation, ended)
        if invocation.as_json:
            _print_document(failure, invocation)
        sys.stdout.flush()
    except (streams.ReaderLeft, BrokenPipeError):  # for example head, which has enough
        return BROKEN_PIPE
    except CannotWrite as error:
        failure = _failed(type(error).__name__, str(error), error.exit_code, invocation)
    return 0 if failure is None else failure.exit_code


def _carry_out(arguments: Sequence[str], invocation: Invocation, ended: Ended) -> Failure | None:
    """Run the verb; an error is shown and returned."""
    if COMPLETING in os.environ:
        from spikegpt_neuro.cli.completion import register

        register()
    try:
        group.main(
            list(arguments),
            PROGRAM,
            complete_var=COMPLETING,
            standalone_mode=False,
            obj=invocation,
        )
    except (streams.ReaderLeft, BrokenPipeError):
        raise
    except (KeyboardInterrupt, click.Abort) as error:
        if isinstance(error.__cause__, EOFError):  # click takes a library's for the end of input
            return _internal(error.__cause__, invocation)
        return _failed("Interrupted", ended.word, ended.exit_code, invocation)
    except click.exceptions.NoArgsIsHelpError as error:
        streams.say(error.format_message(), err=True)
        return Failure("UsageError", "no verb was given", USAGE_ERROR)
    except click.ClickException as error:
        return _failed("UsageError", _usage(error), error.exit_code, invocation)
    except SpikeGPTError as error:
        return _failed(type(error).__name__, as_typed(str(error)), error.exit_code, invocation)
    except Exception as error:
        return _internal(error, invocation)
    return None


def _print_document(failure: Failure | None, invocation: Invocation) -> None:
    """Print what the verb found, what went wrong, or both in one document."""
    document = invocation.document
    if failure is not None:
        document = failure.beside(document)
    if document is not None:
        streams.say(streams.json_text(document))


def _failed(kind: str, text: str, code: int, invocation: Invocation) -> Failure:
    """Show an error."""
    if invocation.debug:
        traceback.print_exc()
    failure = Failure(kind, " ".join(text.split()), code)
    streams.say(f"error: {failure.message}", err=True)
    return failure


def _internal(error: BaseException, invocation: Invocation) -> Failure:
    hint = "an error of this program; --debug shows where"
    text = f"{type(error).__name__}: {error} ({hint})"
    return _failed("InternalError", text, INTERNAL_ERROR, invocation)


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else PROGRAM
    return f"{error.format_message().rstrip('.')}; see {path} --help"
