"""Sweeps: a plan of points, its folder of results, and the one table that they become."""
