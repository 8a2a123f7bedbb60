"""Settings shared by all tests."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# The first call of a kernel compiles it, and the machine may be busy: time is no criterion.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", patient)
# Continuous integration decides about a change: it runs the same examples every time.
settings.register_profile("repeatable", patient, derandomize=True)
settings.load_profile("repeatable" if os.environ.get("CI") else "explore")
