"""How well an integer graph speaks, alone and beside its float original."""

from spikegpt_neuro.evaluation.evaluate import WINDOW, Evaluation, evaluate

__all__ = ["WINDOW", "Evaluation", "evaluate"]
