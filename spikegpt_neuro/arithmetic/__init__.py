"""Fixed-point arithmetic: rounding, saturation, multipliers and function tables."""
