r"""A supply other than the one that a profile's constants are for.

.. math:: t = t_0 \, (V / V_0)^{-a}, \qquad E_{dynamic} = E_0 \, (V / V_0)^b

with V ``voltage.supply``, V0 ``voltage.nominal`` and the two exponents of the profile. Intel's
figures for Loihi 2, 47 % faster and 1.9 times the dynamic energy from 0.6 to 0.8 V, are a = 1.34
and b = 2.23. Static power is another matter: it belongs to a board, and is not scaled.
"""

from __future__ import annotations

from typing import NamedTuple

from spikegpt_neuro.hardware.profile import Profile

SUPPLY = "voltage.supply"
NOMINAL = "voltage.nominal"


class Scales(NamedTuple):
    """Factors on every latency (and on one over every rate of a chip), and on dynamic energy."""

    time: float = 1.0
    energy: float = 1.0


def scales_of(profile: Profile) -> Scales:
    """The factors of a profile; 1 where it names no supply.

    Raises :class:`UnsupportedInput` where it names a supply and not what its constants are for.
    """
    if SUPPLY not in profile:
        return Scales()
    higher = profile[SUPPLY].base / profile[NOMINAL].base
    return Scales(
        time=float(higher ** -profile["voltage.time_exponent"].base),
        energy=float(higher ** profile["voltage.energy_exponent"].base),
    )
