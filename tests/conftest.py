"""Settings shared by all tests."""

from __future__ import annotations

from hypothesis import settings

# The first call of a kernel compiles it, and the machine may be busy: time is no criterion.
settings.register_profile("spikegpt-neuro", deadline=None)
settings.load_profile("spikegpt-neuro")
