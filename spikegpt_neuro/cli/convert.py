"""``convert``: a float checkpoint becomes an artifact directory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spikegpt_neuro.cli.common import Output, bits_options, lif_options, unknown_option, verb

if TYPE_CHECKING:
    from spikegpt_neuro.model.spikegpt import Compat
    from spikegpt_neuro.vocabulary import Unknown


@click.command()
@click.argument("checkpoint", metavar="CKPT")
@click.option("-o", "--output", required=True, metavar="DIR", help="Artifact to write.")
@click.option("--vocab", metavar="FILE", help="vocab.json or tokenizer.json of the model.")
@click.option(
    "--calibrate",
    metavar="TEXT",
    help="Text to measure ranges on [default: the running Python's documentation].",
)
@bits_options
@click.option(
    "--sparsity",
    type=float,
    metavar="S",
    help="Share of the dense synaptic operations that shall not happen (0.5: half of them).",
)
@click.option(
    "--sparsity-budget",
    type=float,
    metavar="B",
    help="Largest loss that sparsity may cost, in bits per token on held-out calibration text.",
)
@click.option("--prune", type=float, metavar="P", help="Share of the weights that go.")
@click.option(
    "--compat",
    type=click.Choice(["training", "upstream-run"]),
    default="training",
    show_default=True,
    help="Whose semantics: the training forward, or upstream's inference script.",
)
@lif_options
@unknown_option
@click.option("--force", is_flag=True, help="Replace an artifact that exists.")
@verb
def convert(
    out: Output,
    checkpoint: str,
    output: str,
    vocab: str | None,
    calibrate: str | None,
    weight_bits: int,
    activation_bits: int,
    sparsity: float | None,
    sparsity_budget: float | None,
    prune: float | None,
    compat: Compat,
    unknown: Unknown,
    force: bool,
    **lif: float | None,
) -> None:
    """Convert the checkpoint CKPT to an all-integer spiking graph.

    CKPT is an upstream .pth, a myelin .pt, a directory with config.json and
    model.safetensors, or hf:OWNER/NAME[@REVISION][/FILE] on a model hub. The LIF is
    what CKPT states inside or in a config.json beside it, else upstream's (tau 2,
    threshold 1, reset 0); the result tells which.
    """
    from spikegpt_neuro import api
    from spikegpt_neuro.api.models import LOST, conversion_figures
    from spikegpt_neuro.files import check_output_directory
    from spikegpt_neuro.graph.artifact import is_artifact
    from spikegpt_neuro.memory import peak_rss_bytes

    begin = time.perf_counter()
    check_output_directory(Path(output), force, is_artifact)
    with out.progress("converting", unit="steps") as progress:
        graph = api.convert(
            checkpoint,
            vocab=vocab,
            calibration=calibrate,
            weight_bits=weight_bits,
            activation_bits=activation_bits,
            sparsity=sparsity,
            sparsity_budget=sparsity_budget,
            prune=prune,
            compat=compat,
            **lif,
            unknown=unknown,
            progress=progress,
        )
    api.save(graph, output, force=force)
    found = conversion_figures(graph, output)
    out.result(
        {
            "artifact": output,
            **{name: value for name, value in found.items() if name not in LOST},
            "seconds": time.perf_counter() - begin,
            "peak_rss_bytes": peak_rss_bytes(),
            **{name: found[name] for name in LOST},
            "remarks": (),
        }
    )
