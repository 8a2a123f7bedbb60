"""The public face: every verb as a function, results as small frozen records.

The command line is thin over these functions; whatever it prints comes from here. The names load
on first use, since most of what they need is slow to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikegpt_neuro.api.benchmarking import Benchmark, bench
    from spikegpt_neuro.api.caching import convert_cached
    from spikegpt_neuro.api.doctoring import Environment, doctor
    from spikegpt_neuro.api.evaluating import evaluate
    from spikegpt_neuro.api.exporting import Export, export
    from spikegpt_neuro.api.finetuning import FineTuned, Underway, finetune
    from spikegpt_neuro.api.fitting import Fitted, fit
    from spikegpt_neuro.api.generating import Chat, Generated, generate
    from spikegpt_neuro.api.hardware import ProfileList, ProfileTable, profiles
    from spikegpt_neuro.api.models import (
        Described,
        calibration_tokens,
        convert,
        describe,
        float_model,
        load,
        read_model,
        save,
    )
    from spikegpt_neuro.api.placing import Placed, place
    from spikegpt_neuro.api.profiling import (
        Compared,
        NotFitting,
        TokenCost,
        compare,
        profile,
        write_job,
    )
    from spikegpt_neuro.api.reporting import Report, report
    from spikegpt_neuro.api.running import Simulated, run, simulate
    from spikegpt_neuro.api.sweeping import SweepPlan, Swept, sweep, sweep_plan
    from spikegpt_neuro.api.trading import tradeoff
    from spikegpt_neuro.api.validating import Validation, validate
    from spikegpt_neuro.api.warming import Warmed, warm_up
    from spikegpt_neuro.evaluation.trade import Point, Tradeoff
    from spikegpt_neuro.sweeps.reading import SweepTable, sweep_table

HOME = {
    "Benchmark": "benchmarking",
    "Chat": "generating",
    "Compared": "profiling",
    "Described": "models",
    "Environment": "doctoring",
    "Export": "exporting",
    "FineTuned": "finetuning",
    "Fitted": "fitting",
    "Generated": "generating",
    "NotFitting": "profiling",
    "Placed": "placing",
    "Point": "trading",
    "ProfileList": "hardware",
    "ProfileTable": "hardware",
    "Report": "reporting",
    "Simulated": "running",
    "SweepPlan": "sweeping",
    "SweepTable": "sweeping",
    "Swept": "sweeping",
    "TokenCost": "profiling",
    "Tradeoff": "trading",
    "Underway": "finetuning",
    "Validation": "validating",
    "Warmed": "warming",
    "bench": "benchmarking",
    "calibration_tokens": "models",
    "compare": "profiling",
    "convert": "models",
    "convert_cached": "caching",
    "describe": "models",
    "doctor": "doctoring",
    "evaluate": "evaluating",
    "export": "exporting",
    "finetune": "finetuning",
    "fit": "fitting",
    "float_model": "models",
    "generate": "generating",
    "load": "models",
    "place": "placing",
    "profile": "profiling",
    "profiles": "hardware",
    "read_model": "models",
    "report": "reporting",
    "run": "running",
    "save": "models",
    "simulate": "running",
    "sweep": "sweeping",
    "sweep_plan": "sweeping",
    "sweep_table": "sweeping",
    "tradeoff": "trading",
    "validate": "validating",
    "warm_up": "warming",
    "write_job": "profiling",
}
"""Public name -> its module here."""

__all__ = [
    "Benchmark",
    "Chat",
    "Compared",
    "Described",
    "Environment",
    "Export",
    "FineTuned",
    "Fitted",
    "Generated",
    "NotFitting",
    "Placed",
    "Point",
    "ProfileList",
    "ProfileTable",
    "Report",
    "Simulated",
    "SweepPlan",
    "SweepTable",
    "Swept",
    "TokenCost",
    "Tradeoff",
    "Underway",
    "Validation",
    "Warmed",
    "bench",
    "calibration_tokens",
    "compare",
    "convert",
    "convert_cached",
    "describe",
    "doctor",
    "evaluate",
    "export",
    "finetune",
    "fit",
    "float_model",
    "generate",
    "load",
    "place",
    "profile",
    "profiles",
    "read_model",
    "report",
    "run",
    "save",
    "simulate",
    "sweep",
    "sweep_plan",
    "sweep_table",
    "tradeoff",
    "validate",
    "warm_up",
    "write_job",
]


def __getattr__(name: str) -> Any:
    if name not in HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{HOME[name]}"), name)
    globals()[name] = value
    return value
