"""What is odd about a run: signs of a wrong vocabulary, or of a model that is no SpikeGPT."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.neurons.lif import LIF
from spikegpt_neuro.running import Run

QUESTION = "wrong vocabulary, or not a trained SpikeGPT?"
TOKENS_MIN = 32
"""On fewer tokens, chance may look odd."""
STUCK = 1e-3
"""LIF neurons of which less than this share fires, or does not, are remarked on."""
SATURATIONS_PER_TOKEN = 0.1
"""Trained models have none."""
NAMES_SHOWN = 4


@dataclass
class Observed:
    """Totals over runs of ``graph``."""

    graph: SpikingGraph
    tokens: int = 0
    fired: dict[str, int] = field(default_factory=dict)
    saturated: dict[str, int] = field(default_factory=dict)

    def add(self, run: Run) -> None:
        """Count what one run shows, whatever it recorded."""
        self.tokens += len(run.tokens)
        for name, projection in _readers(self.graph).items():
            events = run.activity[projection].events if projection in run.activity else 0
            self.fired[name] = self.fired.get(name, 0) + events
        for name, counts in run.counts.items():
            self.saturated[name] = self.saturated.get(name, 0) + counts.saturations

    def findings(self, bits_per_token: float) -> tuple[str, ...]:
        """One line each."""
        if self.tokens < TOKENS_MIN:
            return ()
        found = (self._beyond_guessing(bits_per_token), self._stuck(), self._saturated())
        return tuple(f"{text}: {QUESTION}" for text in found if text)

    def _beyond_guessing(self, bits: float) -> str:
        guessing = math.log2(self.graph.shape.vocab_size)
        if not bits > guessing:
            return ""
        return f"{bits:.4g} bits per token, more than the {guessing:.4g} of guessing"

    def _stuck(self) -> str:
        sizes = {p.name: p.size for p in self.graph.populations}
        rates = {name: fired / (self.tokens * sizes[name]) for name, fired in self.fired.items()}
        never = [name for name, rate in rates.items() if rate < STUCK]
        always = [name for name, rate in rates.items() if rate > 1 - STUCK]
        parts = [
            f"{_some(names)} (almost) {how} fire{'s' * (len(names) == 1)}"
            for names, how in ((never, "never"), (always, "always"))
            if names
        ]
        return " and ".join(parts)

    def _saturated(self) -> str:
        total = sum(self.saturated.values())
        if total <= SATURATIONS_PER_TOKEN * self.tokens:
            return ""
        most = max(self.saturated, key=lambda name: self.saturated[name])
        return (
            f"{total:,} saturations in {self.tokens:,} tokens, {self.saturated[most]:,} of them "
            f"in {most}"
        )


def _readers(graph: SpikingGraph) -> Mapping[str, str]:
    """LIF population -> one projection that its spikes go into."""
    lifs = [p.name for p in graph.populations if isinstance(p.program, LIF)]
    reader = {q.source: q.name for q in graph.projections}
    return {name: reader[name] for name in lifs if name in reader}


def _some(names: list[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
