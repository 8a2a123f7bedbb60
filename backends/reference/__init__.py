"""The reference backend: it defines what the integer graph means."""

from spikegpt_neuro.backends.reference.backend import ReferenceBackend
from spikegpt_neuro.backends.reference.executor import Executor

__all__ = ["Executor", "ReferenceBackend"]
