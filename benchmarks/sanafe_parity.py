"""The same LIF networks in SANA-FE and in our cycle-level simulator: equal results, and both times.

    python benchmarks/sanafe_parity.py [--seed 0] [--sizes 256,128,64 2048,2048] [--steps 10]
        [--cores N] [--placement fill|round-robin|random] [--recurrent]
        [--timing simple detailed cycle] [--cycle-steps 1] [--repeats 3] [--json] [-o FILE]

Layers of the given sizes with random weights, thresholds and biases run under the hardware profile
``loihi1-sanafe`` here and in SANA-FE 2.2.9 (``pip install sanafe==2.2.9``), which a process of its
own runs with one thread. Printed are relative differences of energy and time, counts of events,
and the wall times of both sides with their ratio: the quickest run of each, from rest, network
built. The limits: energy and ``simple`` time 1e-9, ``detailed`` time 1e-3, equal counts; and, from
a million synapses on, ``detailed`` at least 20 and ``cycle`` at least 100 times as fast. The two
``cycle`` models are different models: their times are shown and not held to anything. Exit code 1
if a limit is missed, 4 without SANA-FE.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from sanafe_peer import PLACEMENTS, Outcome, PlacedNetwork, ours, random_network, theirs

SIZES = ("256,128,64", "2048,2048")
TIMINGS = ("simple", "detailed", "cycle")
CORE_NEURONS, MORE_CORES = 1024, 8
DIFFERENCES = {"energy": 1e-9, "simple": 1e-9, "detailed": 1e-3}
SPEED = {"detailed": 20.0, "cycle": 100.0}
SPEED_FROM = 1_000_000  # synapses


def compare(placed: PlacedNetwork, options: argparse.Namespace) -> dict[str, Any]:
    """Run a network on both sides under every timing model asked for."""
    there, here = {}, {}
    for timing in options.timing:
        slow = timing == "cycle"  # SANA-FE takes minutes for a step of a million synapses
        steps = min(options.steps, options.cycle_steps) if slow else options.steps
        repeats = 1 if slow else options.repeats
        there |= theirs(placed, steps, [timing], repeats=repeats)
        here[timing] = _quickest(placed, timing, steps, repeats * there[timing].wall_seconds)
    first = options.timing[0]
    differences = {"energy": _relative(here[first].joules, there[first].joules)}
    differences |= {t: _relative(here[t].seconds, there[t].seconds) for t in options.timing}
    return {
        "cores": len(placed.cores),
        "neurons": placed.network.size,
        "synapses": sum(p.weights.size for p in placed.network.projections),
        "relative_difference": differences,
        "counts": {"ours": here[first].counts, "sanafe": there[first].counts},
        "joules": {"ours": here[first].joules, "sanafe": there[first].joules},
        "timing": {t: _both(here[t], there[t]) for t in options.timing},
    }


def _quickest(placed: PlacedNetwork, timing: str, steps: int, wall_seconds: float) -> Outcome:
    """The quickest of the runs that fit into the other side's wall time, at most a second."""
    ours(placed, 1, timing)  # compiles, or loads what was compiled
    best = ours(placed, steps, timing)
    end = time.perf_counter() + min(wall_seconds, 1.0)
    while time.perf_counter() < end:
        best = min(best, ours(placed, steps, timing), key=lambda run: run.wall_seconds)
    return best


def _both(here: Outcome, there: Outcome) -> dict[str, Any]:
    return {
        "steps": len(here.steps),
        "seconds": {"ours": here.seconds, "sanafe": there.seconds},
        "wall_seconds": {"ours": here.wall_seconds, "sanafe": there.wall_seconds},
        "times_as_fast": there.wall_seconds / here.wall_seconds,
    }


def _relative(here: float, there: float) -> float:
    return abs(here - there) / there if there else float(here != there)


def missed(figures: dict[str, Any]) -> list[str]:
    """The limits that these figures do not keep."""
    found = [
        name
        for name, limit in DIFFERENCES.items()
        if figures["relative_difference"].get(name, 0.0) > limit
    ]
    if figures["counts"]["ours"] != figures["counts"]["sanafe"]:
        found.append("counts")
    if figures["synapses"] >= SPEED_FROM:
        timing = figures["timing"]
        found += [
            f"{name} speed"
            for name, limit in SPEED.items()
            if name in timing and timing[name]["times_as_fast"] < limit
        ]
    return found


def show(figures: dict[str, Any]) -> str:
    """The figures of one network, for people."""
    lines = [
        f"{'-'.join(map(str, figures['sizes']))} on {figures['cores']} cores, "
        f"{figures['synapses']:,} synapses, {figures['steps']} steps",
        f"  energy    differs by {figures['relative_difference']['energy']:.1e}, "
        f"counts {'equal' if 'counts' not in figures['missed'] else 'DIFFER'}: "
        + ", ".join(f"{name} {n:,}" for name, n in figures["counts"]["ours"].items()),
    ]
    for name, found in figures["timing"].items():
        wall = found["wall_seconds"]
        lines.append(
            f"  {name:9} differs by {figures['relative_difference'][name]:.1e}; {found['steps']} "
            f"steps take {wall['ours'] * 1e3:.1f} ms, SANA-FE {wall['sanafe'] * 1e3:.1f} ms: "
            f"{found['times_as_fast']:.0f} times as fast"
        )
    return "\n".join([*lines, f"  missed: {', '.join(figures['missed']) or 'nothing'}"])


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="A,B,C", help="layer widths")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--cores", type=int, help=f"default: what is needed, and {MORE_CORES} more")
    parser.add_argument("--placement", choices=PLACEMENTS, default="fill")
    parser.add_argument("--recurrent", action="store_true", help="the last layer feeds back")
    parser.add_argument("--timing", nargs="+", choices=TIMINGS, default=TIMINGS[:2])
    parser.add_argument("--cycle-steps", type=int, default=1, help="steps under cycle, at most")
    parser.add_argument("--repeats", type=int, default=3, help="of SANA-FE; the quickest counts")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("-o", "--output", metavar="FILE")
    return parser.parse_args()


def main() -> int:
    """Compare every network and print what was found."""
    options = read_options()
    if importlib.util.find_spec("sanafe") is None:
        print("error: SANA-FE is not installed; pip install sanafe==2.2.9", file=sys.stderr)
        return 4
    results = []
    for text in options.sizes:
        sizes = [int(width) for width in text.split(",")]
        needed = -(-sum(sizes) // CORE_NEURONS)
        placed = random_network(
            options.seed,
            sizes,
            cores=options.cores or min(128, needed + MORE_CORES),
            placement=options.placement,
            recurrent=options.recurrent,
        )
        setting = {"sizes": sizes, "steps": options.steps, "placement": options.placement}
        figures = setting | compare(placed, options)
        results.append(figures | {"missed": missed(figures)})
        if not options.json:
            print(show(results[-1]), flush=True)
    report = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "seed": options.seed,
        "results": results,
    }
    text = json.dumps(report, indent=1)
    if options.json:
        print(text)
    if options.output:
        Path(options.output).write_text(text + "\n", encoding="utf-8")
    return int(any(figures["missed"] for figures in results))


if __name__ == "__main__":
    sys.exit(main())
