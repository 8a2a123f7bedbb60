"""Test double of Lava's Loihi extension: models for neuro cores."""


class AbstractNcProcessModel:
    """The double's run in Python, in the arithmetic of the stock fixed-point models."""
