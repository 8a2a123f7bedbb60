"""Timing models: how long a step takes, given its messages; one module each."""
