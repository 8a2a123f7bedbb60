"""Lava Processes and their models.

Lava's compiler executes every module of this package when it looks for models: nothing here
may do anything at import.
"""
