"""Which layer a population belongs to, by its name: ``blocks.N.`` and what it is in the block.

Populations are named like the tensors of a checkpoint, so these read either's names.
"""

from __future__ import annotations

import math

_BLOCKS = "blocks"
_BEFORE_BLOCKS = ("embedding", "ln0")


def layer_of(population: str) -> str:
    """The layer that a population belongs to: ``blocks.N``, or its own name outside blocks."""
    block = block_of(population)
    return population.split(".")[0] if block is None else f"{_BLOCKS}.{block}"


def block_of(population: str) -> int | None:
    """The number of its block; None outside blocks."""
    words = population.split(".")
    inside = words[0] == _BLOCKS and len(words) > 1 and words[1].isdecimal()
    return int(words[1]) if inside else None


def depth_of(population: str) -> float:
    """Where data meets its layer: the number of its block; before all, or behind all of them."""
    block = block_of(population)
    if block is not None:
        return block
    return -math.inf if layer_of(population) in _BEFORE_BLOCKS else math.inf


def within_block(population: str) -> str:
    """``blocks.3.att.wkv`` without its block; others as they are."""
    return population if block_of(population) is None else population.split(".", 2)[-1]
