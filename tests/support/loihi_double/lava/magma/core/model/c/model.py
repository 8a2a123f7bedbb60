"""Test double of Lava's Loihi extension: models for embedded processors."""


class CLoihiProcessModel:
    """There are none."""
