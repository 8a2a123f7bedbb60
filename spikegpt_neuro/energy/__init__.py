"""Synaptic operations and joules: activity times constants, every assumption on the table."""
