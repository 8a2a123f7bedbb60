r"""Which instructions of the processor form products of bytes.

A product of bytes takes 32 or 64 unsigned bytes u and as many signed ones s, and adds four
products to each sum of 32 bits, exactly:

.. math:: a_k \leftarrow a_k + \sum_{i=4k}^{4k+3} u_i s_i

``vpdpbusd`` is that (AVX-512 VNNI, AVX-VNNI). AVX2 alone multiplies 16-bit numbers: odd and even
bytes are widened and multiplied by ``vpmaddwd``. Its product of bytes (``vpmaddubsw``) would not
do: it saturates where two products do not fit 16 bits.

What counts is the processor that numba compiles for (``NUMBA_CPU_NAME``, ``NUMBA_CPU_FEATURES``),
which need not be this one; LLVM ends the process where it meets what its target lacks.
"""

from __future__ import annotations

from dataclasses import dataclass

from spikegpt_neuro.backends.reference import vnni
from spikegpt_neuro.descriptions import Diagnosis


@dataclass(frozen=True)
class Instructions:
    """A way to multiply bytes.

    ``vector_bytes``  bytes of a vector.
    ``product``       the compiler's name of the instruction; None: by 16-bit numbers.
    """

    name: str
    features: frozenset[str]
    vector_bytes: int
    product: str | None

    @property
    def lanes(self) -> int:
        """Sums of a vector."""
        return self.vector_bytes // 4


AVX512_VNNI = Instructions("AVX-512 VNNI", vnni.FEATURES, vnni.VECTOR_BYTES, vnni.INSTRUCTION)
AVX_VNNI = Instructions(
    "AVX-VNNI", frozenset({"avx2", "avxvnni"}), 32, "llvm.x86.avx512.vpdpbusd.256"
)
AVX2 = Instructions("AVX2", frozenset({"avx2"}), 32, None)
PLAIN = "16-bit products, as the compiler makes them"
KNOWN = (AVX512_VNNI, AVX_VNNI, AVX2)
"""The quickest first."""


def chosen() -> Instructions | None:
    """The quickest that numba may compile; None where it knows none of them."""
    return next((known for known in KNOWN if vnni.usable(known.features)), None)


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
    lacking = sorted(known.features - vnni.present_features())
    if lacking:
        return f"this processor lacks {', '.join(lacking)}"
    return "numba compiles for another processor (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES)"
