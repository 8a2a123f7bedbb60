"""Trained SpikeGPT checkpoints as all-integer spiking graphs, the same on every backend.

>>> import spikegpt_neuro as sgn
>>> graph = sgn.convert("model.pth", vocab="vocab.json")  # doctest: +SKIP
>>> graph.save("model.sgn")                               # doctest: +SKIP
>>> run = sgn.run(sgn.load("model.sgn"), tokens)          # doctest: +SKIP

The names load on first use: importing the package costs no numpy, numba or torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spikegpt_neuro.version import __version__

if TYPE_CHECKING:
    from spikegpt_neuro.api import (
        Benchmark,
        Chat,
        Compared,
        Described,
        Environment,
        Export,
        FineTuned,
        Fitted,
        Generated,
        NotFitting,
        Placed,
        Point,
        ProfileList,
        ProfileTable,
        Report,
        Simulated,
        SweepPlan,
        SweepTable,
        Swept,
        TokenCost,
        Tradeoff,
        Underway,
        Validation,
        bench,
        compare,
        convert,
        convert_cached,
        describe,
        doctor,
        evaluate,
        export,
        finetune,
        fit,
        float_model,
        generate,
        load,
        place,
        profile,
        profiles,
        report,
        run,
        save,
        simulate,
        sweep,
        sweep_plan,
        sweep_table,
        tradeoff,
        validate,
        warm_up,
        write_job,
    )
    from spikegpt_neuro.errors import (
        CannotWrite,
        CheckFailed,
        DoesNotFit,
        MissingBackend,
        SpikeGPTError,
        UnsupportedInput,
        UsageError,
        WorkerFailed,
    )
    from spikegpt_neuro.evaluation import Evaluation
    from spikegpt_neuro.graph.graph import SpikingGraph
    from spikegpt_neuro.model.float_forward import FloatModel
    from spikegpt_neuro.model.spikegpt import SpikeGPT
    from spikegpt_neuro.running import Run
    from spikegpt_neuro.sampling import Sampler

_HOME = {
    "bench": "api",
    "Report": "api",
    "NotFitting": "api",
    "Export": "api",
    "Benchmark": "api",
    "CannotWrite": "errors",
    "Chat": "api",
    "CheckFailed": "errors",
    "Compared": "api",
    "Described": "api",
    "DoesNotFit": "errors",
    "Environment": "api",
    "Evaluation": "evaluation",
    "FineTuned": "api",
    "Fitted": "api",
    "FloatModel": "model.float_forward",
    "Generated": "api",
    "MissingBackend": "errors",
    "Placed": "api",
    "Point": "api",
    "ProfileList": "api",
    "ProfileTable": "api",
    "Run": "running",
    "Sampler": "sampling",
    "Simulated": "api",
    "SpikeGPT": "model.spikegpt",
    "SpikeGPTError": "errors",
    "SpikingGraph": "graph.graph",
    "SweepPlan": "api",
    "SweepTable": "api",
    "Swept": "api",
    "TokenCost": "api",
    "Tradeoff": "api",
    "Underway": "api",
    "Validation": "api",
    "UnsupportedInput": "errors",
    "UsageError": "errors",
    "WorkerFailed": "errors",
    "compare": "api",
    "convert": "api",
    "convert_cached": "api",
    "describe": "api",
    "doctor": "api",
    "evaluate": "api",
    "export": "api",
    "finetune": "api",
    "fit": "api",
    "float_model": "api",
    "generate": "api",
    "load": "api",
    "place": "api",
    "profile": "api",
    "profiles": "api",
    "report": "api",
    "run": "api",
    "save": "api",
    "simulate": "api",
    "sweep": "api",
    "sweep_plan": "api",
    "sweep_table": "api",
    "tradeoff": "api",
    "validate": "api",
    "warm_up": "api",
    "write_job": "api",
}

__all__ = [
    "Benchmark",
    "CannotWrite",
    "Chat",
    "CheckFailed",
    "Compared",
    "Described",
    "DoesNotFit",
    "Environment",
    "Evaluation",
    "Export",
    "FineTuned",
    "Fitted",
    "FloatModel",
    "Generated",
    "MissingBackend",
    "NotFitting",
    "Placed",
    "Point",
    "ProfileList",
    "ProfileTable",
    "Report",
    "Run",
    "Sampler",
    "Simulated",
    "SpikeGPT",
    "SpikeGPTError",
    "SpikingGraph",
    "SweepPlan",
    "SweepTable",
    "Swept",
    "TokenCost",
    "Tradeoff",
    "Underway",
    "UnsupportedInput",
    "UsageError",
    "Validation",
    "WorkerFailed",
    "__version__",
    "bench",
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
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
