"""Hardware profiles: one TOML file per chip, every constant with unit, kind and source.

Read them with :mod:`spikegpt_neuro.hardware.profile`.
"""
