"""What the verbs share that can run on Loihi: its options, the job folder, the saved record."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from spikegpt_neuro.cli.common import Output
from spikegpt_neuro.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spikegpt_neuro.backends.loihi.comparison import Row
    from spikegpt_neuro.backends.loihi.outcome import MeasuredProfile
    from spikegpt_neuro.graph.graph import SpikingGraph
    from spikegpt_neuro.running import Backend

Function = TypeVar("Function", bound=Callable[..., Any])

OPTIONS = (
    click.option("--rehearse", is_flag=True, help="loihi: the same network on the CPU."),
    click.option("--slurm", metavar="PARTITION[,BOARD]", help="loihi: by SLURM (any: it chooses)."),
    click.option("--host", metavar="ADDRESS", help="loihi: a system on the network."),
    click.option(
        "--chip-generation", metavar="GEN", help="loihi: N3B2, N3B3, N3C1 or N3D1 [default: N3B3]."
    ),
    click.option("--loihi-config", "config", metavar="FILE", help="loihi: names the system."),
    click.option("--layers", metavar="0-3", help="loihi: on the chip [default: everything]."),
    click.option(
        "--only-projection", multiple=True, metavar="NAME", help="loihi: on the chip; repeatable."
    ),
    click.option(
        "--adapter-steps",
        type=click.IntRange(min=0),
        nargs=2,
        metavar="IN OUT",
        help="loihi: time steps of the adapters to the chip and back [default: 0 0].",
    ),
)
DEFAULT_PROFILE = "loihi2"
NAMES = (
    "rehearse",
    "slurm",
    "host",
    "chip_generation",
    "config",
    "layers",
    "only_projection",
    "adapter_steps",
)


def loihi_options(function: Function) -> Function:
    """Give a verb the backend's options; it receives those that were given as ``loihi``."""

    @functools.wraps(function)
    def wrapped(*arguments: Any, **values: Any) -> Any:
        given = {name: value for name in NAMES if (value := values.pop(name))}
        return function(*arguments, loihi=given, **values)

    for option in reversed(OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def check_options(
    setting: Mapping[str, Any],
    compare: Sequence[str],
    loihi: Mapping[str, Any],
    lava_python: str | None,
    dry_run: bool,
    output: str | None,
) -> str:
    """The hardware profile of ``profile``; raises before anything starts if options do not fit.

    Raises :class:`spikegpt_neuro.errors.MissingBackend` where a measured run cannot be.
    """
    on_loihi, hw = setting["backend"] == "loihi", setting["hw"]
    if hw is None and not on_loihi:
        raise UsageError("--hw is missing: name a hardware profile")
    if not on_loihi and (dry_run or output is not None):
        raise UsageError("--dry-run and -o are for --backend loihi")
    if compare and output is not None:
        raise UsageError("-o saves one record; leave --compare")
    if dry_run and output is None:
        raise UsageError("--dry-run writes a job folder; name it with -o")
    if loihi.get("rehearse") and output is not None:
        raise UsageError("a rehearsal measures nothing; leave -o, or rehearse in the job folder")
    if on_loihi and not dry_run and not loihi.get("rehearse") and lava_python is None:
        from spikegpt_neuro.backends.loihi.access import require_extension

        require_extension()
    return hw or DEFAULT_PROFILE


def write_job_folder(
    out: Output,
    backend: Backend,
    graph: SpikingGraph,
    tokens: NDArray[np.int64],
    hw: str,
    output: str,
    force: bool,
) -> None:
    """``profile --backend loihi --dry-run -o job/``."""
    from spikegpt_neuro.backends.loihi.backend import LoihiBackend
    from spikegpt_neuro.backends.loihi.package import write_package
    from spikegpt_neuro.hardware.profile import load_profile

    assert isinstance(backend, LoihiBackend)
    figures = write_package(Path(output), backend, graph, tokens, load_profile(hw), force=force)
    out.result(figures)
    out.note("copy the folder to the Loihi host and run it there; its README.txt says how")


def save_record(out: Output, found: MeasuredProfile | None, output: str, force: bool) -> None:
    """``profile --backend loihi -o record.json``: the measured record, with its raw values."""
    from spikegpt_neuro.energy.record import to_json
    from spikegpt_neuro.files import check_output_file, write_atomically

    assert found is not None
    check_output_file(Path(output), force)
    write_atomically(Path(output), json.dumps(to_json(found.record)) + "\n")
    show_comparison(out, found.rows)


def show_comparison(out: Output, rows: Sequence[Row]) -> None:
    """Measured beside estimated, category by category, for a person."""
    from rich.console import Console
    from rich.table import Table

    if out.as_json:
        return
    table = Table("category", "quantity", "measured", "estimated", "range", "ratio")
    for column in table.columns[2:]:
        column.justify = "right"
    for row in rows:
        unit, ratio = f" {row.unit}" if row.unit else "", row.ratio
        table.add_row(
            row.category,
            row.quantity,
            f"{row.measured:.4g}{unit}",
            f"{row.estimated.value:.4g}{unit}",
            f"{row.estimated.low:.3g} .. {row.estimated.high:.3g}",
            "-" if ratio is None else f"{ratio:.3g}",
        )
    Console().print(table)
