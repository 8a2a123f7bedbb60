"""Calibration on real activity, and the choice of every scale."""

BITS = (4, 6, 8)
"""What weights and payloads may have."""
