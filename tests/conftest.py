"""Settings shared by all tests."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

# The first call of a kernel compiles it, and the machine may be busy: time is no criterion.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", patient)
# Continuous integration decides about a change: it runs the same examples every time.
settings.register_profile("repeatable", patient, derandomize=True)
settings.load_profile("repeatable" if os.environ.get("CI") else "explore")

# A shell starts background jobs with interrupts ignored, and every child inherits that: tests of
# Ctrl-C would wait for ever.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
