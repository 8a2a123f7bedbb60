"""Errors a user can act on: one line that says what, where, the limit and what to do.

Each class carries the exit code with which the command line ends:

====  ==========================================================
code  meaning
====  ==========================================================
1     a check failed (two backends differ, a capacity is exceeded)
2     wrong usage
3     an input cannot be read or is not supported
4     a backend or an optional dependency is missing
====  ==========================================================
"""

from __future__ import annotations


class SpikeGPTError(Exception):
    """Base of every error that is the user's to solve; its text is one line."""

    exit_code = 3


class CheckFailed(SpikeGPTError):
    """A comparison or a capacity check did not hold."""

    exit_code = 1


class UsageError(SpikeGPTError):
    """The request contradicts itself or names something that does not exist."""

    exit_code = 2


class UnsupportedInput(SpikeGPTError):
    """A file or a value cannot be read, is damaged, or is outside what is supported."""

    exit_code = 3


class MissingBackend(SpikeGPTError):
    """A backend or an optional package is not installed; the text names the install line."""

    exit_code = 4
