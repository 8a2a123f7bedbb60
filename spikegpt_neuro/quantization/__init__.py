"""Calibration on real activity, and the choice of every scale."""
