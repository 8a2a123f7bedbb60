"""The clocked timing model: cores, routers and links cycle by cycle, with finite buffers."""

from spikegpt_neuro.backends.cycle.timing.clocked.timing import ClockedTiming, MessageTrace

__all__ = ["ClockedTiming", "MessageTrace"]
