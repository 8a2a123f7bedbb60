r"""Which instructions of the processor form products of bytes.

A product of bytes takes 32 or 64 unsigned bytes u and as many signed ones s, and adds four
products to each sum of 32 bits, exactly:

.. math:: a_k \leftarrow a_k + \sum_{i=4k}^{4k+3} u_i s_i

``vpdpbusd`` is that (AVX-512 VNNI, AVX-VNNI). AVX2 alone adds two products to a sum of 16 bits
(``vpmaddubsw``), which saturates where they do not fit: it serves for weights of 4 bits, for
magnitudes of signed events, and else for every other weight at a time. ``vpmaddwd`` widens.

What counts is the processor that numba compiles for (``NUMBA_CPU_NAME``, ``NUMBA_CPU_FEATURES``),
which need not be this one; LLVM ends the process where it meets what its target lacks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from llvmlite import binding
from numba.core.registry import cpu_target

from spikegpt_neuro.descriptions import Diagnosis

EVENT_BITS = 8
"""Events of at most so many bits are met as bytes."""


@dataclass(frozen=True)
class Instructions:
    """A way to multiply bytes.

    ``vector_bytes``  bytes of a vector.
    ``product``       the compiler's name of the instruction; None: by 16-bit numbers.
    ``rows``          tokens of a tile of a text's products, whose sums fill the registers;
    ``parts``         vectors of sums of each of them.
    """

    name: str
    features: frozenset[str]
    vector_bytes: int
    product: str | None
    rows: int
    parts: int

    @property
    def lanes(self) -> int:
        """Sums of a vector."""
        return self.vector_bytes // 4

    @property
    def tile(self) -> tuple[int, int, int]:
        """Tokens and targets of a tile, and the sources that meet in one product."""
        return self.rows, self.parts * self.lanes, 4 if self.product else 2


AVX512_VNNI = Instructions(
    "AVX-512 VNNI",
    frozenset({"avx512f", "avx512vnni"}),
    64,
    "llvm.x86.avx512.vpdpbusd.512",
    rows=8,
    parts=2,
)
AVX_VNNI = Instructions(
    "AVX-VNNI",
    frozenset({"avx2", "avxvnni"}),
    32,
    "llvm.x86.avx512.vpdpbusd.256",
    rows=5,
    parts=2,
)
AVX2 = Instructions("AVX2", frozenset({"avx2"}), 32, None, rows=4, parts=2)
PLAIN = "16-bit products, as the compiler makes them"
KNOWN = (AVX512_VNNI, AVX_VNNI, AVX2)
"""The quickest first."""


@cache
def chosen() -> Instructions | None:
    """The quickest that numba may compile; None where it knows none of them.

    Asked for every product, and the processor answers slowly.
    """
    return next((known for known in KNOWN if usable(known.features)), None)


def usable(needed: frozenset[str]) -> bool:
    """True if this processor has the features ``needed``, and numba compiles for one that has."""
    present = present_features()
    return present >= needed and may_use(target_features(), present, needed)


def present_features() -> set[str]:
    """The features that this processor has, by LLVM's names."""
    return {name for name, there in binding.get_host_cpu_features().items() if there}


def target_features() -> str:
    """What numba compiles for, as LLVM is told: ``+avx2,-avx512f,...``."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return str(features)


def may_use(features: str, present: Iterable[str], needed: Iterable[str]) -> bool:
    """True if a target with ``features`` has those ``needed``; the processor's are ``present``.

    LLVM ends the process where it has not. Taking one feature away takes those along that rest on
    it, so nothing that the processor has may be missing on purpose.
    """
    words = [word.strip() for word in features.split(",")]
    last = {word[1:]: word[0] == "+" for word in words if word}
    return all(last.get(name, False) for name in needed) and all(
        last.get(name, True) for name in present
    )


def in_use() -> str:
    """Name of what forms the products of a session."""
    found = chosen()
    return PLAIN if found is None else found.name


def reason() -> str:
    """Why these and none that are quicker, in a few words."""
    best, found = KNOWN[0], chosen()
    if found is best:
        return "numba compiles for a processor that has it"
    quicker = KNOWN[: None if found is None else KNOWN.index(found)]
    return "; ".join(f"no {known.name}: {_obstacle(known)}" for known in quicker)


def diagnose() -> Diagnosis:
    """What forms products here, and why."""
    return Diagnosis({"products": in_use(), "products_because": reason()}, {})


def _obstacle(known: Instructions) -> str:
    lacking = sorted(known.features - present_features())
    if lacking:
        return f"this processor lacks {', '.join(lacking)}"
    return "numba compiles for another processor (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES)"
