"""What a shell offers when Tab is pressed: profiles, backends, accountings, artifacts, paths.

click asks a parameter's type. Every parameter that takes free text gets the type of what its
metavar, or its name, stands for; the verbs need not know.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    split_arg_string,
)

Offers = list[CompletionItem[str]]
Offer = Callable[[str], Offers]

PATH = "file"
"""How click tells a shell to go on with its own completion of files and folders."""


def _plain(words: Iterable[str], typed: str) -> Offers:
    return [CompletionItem(word) for word in words if word.startswith(typed)]


def paths(typed: str) -> Offers:
    """Files and folders."""
    return [CompletionItem(typed, type=PATH)]


def artifacts(typed: str) -> Offers:
    """Artifacts in the folder that is typed; any path where there is none."""
    from spikegpt_neuro.graph.artifact import is_artifact

    folder, name = os.path.split(typed)
    try:
        here = sorted(Path(folder).expanduser().iterdir())
    except OSError:
        return paths(typed)
    found = [f for f in here if f.name.startswith(name) and is_artifact(f)]
    return [CompletionItem(os.path.join(folder, f.name)) for f in found] or paths(typed)


def hardware(typed: str) -> Offers:
    """Profiles by name, or the path of one."""
    return _plain(_profiles(), typed) or paths(typed)


def backends(typed: str) -> Offers:
    """Installed backends."""
    return _plain(_backends(), typed)


def accountings(typed: str) -> Offers:
    """Accountings, and once one is named its variants."""
    from spikegpt_neuro.energy.accounting import ACCOUNTINGS

    base, colon, _ = typed.partition(":")
    if colon and base in ACCOUNTINGS:
        return _plain((f"{base}:{variant}" for variant in ACCOUNTINGS[base].variants), typed)
    return _plain(_accountings(), typed)


def comparisons(typed: str) -> Offers:
    """``NAME=VALUE`` of what profiles can be compared by."""
    from spikegpt_neuro.api.choices import PLACES, SCHEDULES, timing_names
    from spikegpt_neuro.quantization import BITS

    known: dict[str, Iterable[object]] = {
        "hw": _profiles(),
        "backend": _backends(),
        "schedule": SCHEDULES,
        "timing": timing_names(),
        "accounting": _accountings(),
        "embedding": PLACES,
        "head": PLACES,
        "bits": BITS,
    }
    pairs = (f"{name}={value}" for name, values in known.items() for value in values)
    return _plain(pairs, typed)


def _profiles() -> list[str]:
    from spikegpt_neuro.hardware.profile import profile_names

    return profile_names()


def _backends() -> list[str]:
    from spikegpt_neuro.descriptions import backend_names

    return backend_names()


def _accountings() -> list[str]:
    from spikegpt_neuro.energy.accounting import ACCOUNTINGS
    from spikegpt_neuro.energy.estimators import AS_ARRIVES

    return [AS_ARRIVES, *ACCOUNTINGS]


BY_METAVAR: dict[str, Offer] = {
    "CKPT": paths,
    "DIR": artifacts,
    "DIR_OR_CKPT": artifacts,
    "[DIR]": artifacts,
    "FILE": paths,
    "NAME=A,B...": comparisons,
    "NAME[:VARIANT]": accountings,
    "PATH": paths,
    "PLAN": paths,
    "PROFILE": hardware,
    "RECORD...": paths,
    "[PROFILE]": hardware,
    "published|DIR": paths,
}
BY_NAME: dict[str, Offer] = {
    "activity": paths,
    "backend": backends,
    "calibrate": paths,
    "output": paths,
    "text": paths,
    "verify": backends,
}
"""What a parameter is, where its metavar does not say: these come first."""


class Offered(click.types.StringParamType):
    """A text for which a shell has offers."""

    def __init__(self, offer: Offer) -> None:
        self.offer = offer

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Offers:
        return self.offer(incomplete)


def with_offers(command: click.Command) -> click.Command:
    """The command, whose free texts offer what they stand for."""
    for parameter in command.params:
        offer = BY_NAME.get(parameter.name or "") or BY_METAVAR.get(parameter.metavar or "")
        if offer is not None and parameter.type is click.STRING:
            parameter.type = Offered(offer)
    return command


class Bash(BashComplete):
    """Bash with words that have ``:`` and ``=`` within.

    There bash parts words, and wants back only what follows the last of them. So the script hands
    over the line, and words are told apart here.
    """

    source_template = BashComplete.source_template.replace(
        'COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD',
        'COMP_LINE="${COMP_LINE:0:$COMP_POINT}"',
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)[1:]
        typed = words.pop() if words and not line[-1].isspace() else ""
        self._kept = max(map(typed.rfind, ":=")) + 1
        return words, typed

    def format_completion(self, item: CompletionItem[str]) -> str:
        return f"{item.type},{item.value[self._kept :]}"


def register() -> None:
    """Let click use the above."""
    add_completion_class(Bash)
