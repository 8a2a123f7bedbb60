"""Does it pay to stay silent? Generation at several shares of the dense operations.

    python benchmarks/silence.py [--shape LxDxV] [--operations 0.7,0.5,0.35,0.2,0.1] [--output FILE]

A random model's populations get dead zones that let through the share of events which gives the
operations asked for, the same threshold for all neurons of a population. All graphs then write the
same tokens in turns on one thread of the reference engine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spikegpt_neuro.benchmark.machine import description, thread_environment

RESULTS = Path(__file__).resolve().parent / "results" / "silence.json"
CALIBRATION_TOKENS = 512
MEASURED_TOKENS = 64


@dataclass(frozen=True)
class Basis:
    """A model, the formats it is lowered in, and the payloads (T, n) of what feeds its matrices."""

    model: Any
    formats: Any
    payloads: dict[str, Any]

    def silenced(self, share: float) -> Any:
        """A graph with dead zones that leave ``share`` of all payloads, the largest ones.

        As ``convert --sparsity`` does, it is lowered knowing how many events are left.
        """
        import numpy as np

        from spikegpt_neuro.converters.lowering import lower_calibrated

        zones, densities = {}, {}
        for name, payloads in self.payloads.items():
            level = int(np.quantile(np.abs(payloads), max(0.0, 1 - share)))
            zones[name] = np.full(payloads.shape[1], level, np.int32)
            densities[name] = float(np.mean(np.abs(payloads) > level))
        graph = lower_calibrated(self.model, replace(self.formats, densities=densities)).graph
        return graph.with_dead_zones(zones)


def operations_of(graph: Any, tokens: Any) -> float:
    """Synaptic operations over dense that ``tokens`` cause."""
    import spikegpt_neuro as sgn
    from spikegpt_neuro.running import synops_over_dense

    return synops_over_dense(graph, sgn.run(graph, tokens, record="logits").activity)


def with_operations(basis: Basis, tokens: Any, wanted: float) -> Any:
    """The graph whose operations over dense are ``wanted``, to a hundredth."""
    low, high = 0.0, 1.0
    for _ in range(12):
        share = (low + high) / 2
        found = basis.silenced(share)
        operations = operations_of(found, tokens)
        if abs(operations - wanted) < 0.01:
            break
        low, high = (share, high) if operations < wanted else (low, share)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="12x512x256")
    parser.add_argument("--operations", default="0.7,0.5,0.35,0.2,0.1")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--output", default=str(RESULTS))
    given = parser.parse_args(arguments)

    import numpy as np

    import spikegpt_neuro as sgn
    from spikegpt_neuro.benchmark.rounds import take_turns
    from spikegpt_neuro.benchmark.speed import sessions
    from spikegpt_neuro.converters.lowering import calibrated, lower_calibrated
    from spikegpt_neuro.model.synthetic import random_model, random_tokens

    model = random_model(*map(int, given.shape.split("x")))
    formats = calibrated(model, random_tokens(model, CALIBRATION_TOKENS), 8, 8)
    plain = lower_calibrated(model, formats)
    graph, formats = plain.graph, replace(formats, units=plain.units)
    tokens = np.asarray(random_tokens(model, MEASURED_TOKENS, seed=2))
    feeding = {q.source for q in graph.projections if q.is_dense}
    recorded = sgn.run(graph, tokens, record="events").events
    graded = [name for name in feeding if not graph.by_name[name].events.is_binary]
    basis = Basis(model, formats, {name: recorded[name] for name in graded})
    graphs = {
        wanted: with_operations(basis, tokens, wanted)
        for wanted in map(float, given.operations.split(","))
    }
    with sessions({str(wanted): each for wanted, each in graphs.items()}, tokens, 1) as sides:
        rates = take_turns(sides, rounds=given.rounds, seconds=given.seconds)
    first = rates[str(max(graphs))].best
    results = []
    for wanted, each in graphs.items():
        rate = rates[str(wanted)]
        measured = operations_of(each, tokens)
        results.append(
            {
                "synops_over_dense": measured,
                "tokens_per_second": rate.best,
                "rounds": list(rate.rounds),
                "ratio": rate.best / first,
            }
        )
        print(f"{measured:.3f} of dense: {rate.best:,.0f} tokens/s, {rate.best / first:.2f}x")
    content = {"machine": description(), "shape": given.shape, "results": results}
    Path(given.output).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if "OMP_NUM_THREADS" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | thread_environment(1))
    main()
