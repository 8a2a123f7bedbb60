"""What travels between this process and a worker: a text of JSON and bytes, both ways by value.

A worker calls one function of its own installed package with them and gives a text of JSON back;
no object and no code of the user travels. Errors that are the user's to solve come back as what
they are, with the worker's name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from spikegpt_neuro.errors import (
    MissingBackend,
    SpikeGPTError,
    UnsupportedInput,
    UsageError,
    WorkerFailed,
)
from spikegpt_neuro.version import __version__

Perform = Callable[..., str]
"""A function of the package that a worker calls with JSON, bytes of the task and, where there are
any, bytes that all tasks share; see :func:`carried_out`."""
ERRORS: Mapping[str, type[SpikeGPTError]] = {
    kind.__name__: kind for kind in (MissingBackend, UnsupportedInput, UsageError)
}
"""What a worker may report by name; everything else is a :class:`WorkerFailed`."""
ONE_AT_A_TIME = Lock()
"""Of a worker that has several threads: the kernels are not made for that."""


@dataclass(frozen=True)
class Task:
    """One piece of work.

    ``argument``  what JSON can carry.
    ``payload``   bytes that go with it.
    """

    argument: Mapping[str, Any]
    payload: bytes = b""

    @property
    def text(self) -> str:
        """The argument, and the version that the worker must have."""
        return json.dumps({"version": __version__, "argument": self.argument})


def carried_out(
    text: str, payload: bytes, work: Callable[[Mapping[str, Any], bytes], object]
) -> str:
    """On a worker: do ``work`` on what :attr:`Task.text` says; its result, or its error."""
    given = json.loads(text)
    try:
        if given["version"] != __version__:
            raise UnsupportedInput(
                f"has spikegpt-neuro {__version__}, and the work is of {given['version']}; "
                "install the same version there"
            )
        with ONE_AT_A_TIME:
            return json.dumps({"result": work(given["argument"], payload)})
    except SpikeGPTError as error:
        failure = {"kind": type(error).__name__, "text": str(error), "worker": _name()}
        return json.dumps({"error": failure})


def result_of(text: str) -> Any:
    """What ``work`` gave; raises the error that it ended with, the worker named."""
    answer = json.loads(text)
    if (error := answer.get("error")) is not None:
        kind = ERRORS.get(error["kind"], WorkerFailed)
        raise kind(f"worker {error['worker']}: {error['text']}")
    return answer["result"]


def own_folder() -> Path:
    """Of the worker that runs this; it goes with the worker."""
    from distributed import get_worker

    return Path(get_worker().local_directory)


def _name() -> str:
    from distributed import get_worker

    return str(get_worker().address)
