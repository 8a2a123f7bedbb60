"""Fixed-point arithmetic: rounding, multipliers, tables; every claim of their docstrings."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikegpt_neuro.arithmetic import fixed_point, tables
from spikegpt_neuro.arithmetic.fixed_point import (
    fraction_for,
    multiplier,
    rescale,
    round_shift,
    saturate,
    scalar_multiplier,
    to_fixed,
)
from spikegpt_neuro.arithmetic.jit import fingerprint
from spikegpt_neuro.errors import UnsupportedInput

accumulators = st.integers(-(2**31), 2**31 - 1)


@given(accumulators, st.integers(0, 46))
def test_round_shift_rounds_half_up(x: int, shift: int) -> None:
    exact = floor(Fraction(x, 2**shift) + Fraction(1, 2))
    assert round_shift(x, shift) == exact
    assert cast(Any, round_shift).py_func(x, shift) == exact


def test_round_shift_by_hand() -> None:
    assert [round_shift(x, 1) for x in (-3, -2, -1, 0, 1, 2, 3)] == [-1, -1, 0, 0, 1, 1, 2]
    assert round_shift(5, 0) == 5
    assert round_shift(5, -2) == 20


@given(accumulators, st.floats(1e-9, 2.0**15 - 1))
def test_a_multiplier_is_within_2_to_the_minus_15(x: int, factor: float) -> None:
    mantissa, shift = scalar_multiplier(factor)
    assert mantissa == 0 or 2**14 <= mantissa < 2**15
    assert abs(rescale(x, mantissa, shift) - x * factor) <= abs(x * factor) * 2.0**-15 + 0.5


@given(accumulators, st.floats(1e-12, 2.0**15 - 1))
def test_rescale_never_overflows_64_bits(x: int, factor: float) -> None:
    mantissa, shift = scalar_multiplier(factor)
    unbounded = floor(Fraction(x * mantissa, 2**shift) + Fraction(1, 2))
    on_numpy: Any = rescale  # as kernels call it
    assert on_numpy(np.int64(x), np.int32(mantissa), np.int32(shift)) == unbounded


@pytest.mark.parametrize("factor", [float(2**15), float("nan"), float("inf"), -1.0])
def test_a_factor_out_of_range_is_refused(factor: float) -> None:
    with pytest.raises(UnsupportedInput, match="calibration"):
        multiplier([0.5, factor])


def test_multiplier_of_zero_and_of_one() -> None:
    assert scalar_multiplier(0.0) == (0, 0) or rescale(2**23, *scalar_multiplier(0.0)) == 0
    assert [rescale(x, *scalar_multiplier(1.0)) for x in (-7, 0, 2**23)] == [-7, 0, 2**23]


@given(st.integers(-(2**40), 2**40), st.integers(1, 2**30))
def test_saturate_is_symmetric(x: int, limit: int) -> None:
    assert saturate(x, limit) == -saturate(-x, limit)
    assert abs(saturate(x, limit)) <= limit


@given(st.floats(0.001, 1000), st.integers(8, 24))
def test_fraction_for_is_the_largest_that_fits(largest: float, bits: int) -> None:
    fraction = fraction_for(largest, bits, at_most=99)
    assert largest * 2.0**fraction < 2 ** (bits - 1) <= largest * 2.0 ** (fraction + 1)
    assert fraction_for(largest, bits, at_most=3) <= 3


def test_to_fixed_rounds_and_saturates() -> None:
    assert to_fixed([0.5, -0.5, 100, -100], 0, bits=4).tolist() == [1, 0, 7, -7]


@given(st.integers(0, 20 << 16))
def test_exp2_is_within_a_unit(x: int) -> None:
    exact = 2.0 ** (15 - x / 2**16)
    assert abs(tables.exp2_negative(x) - exact) <= 1.0
    assert 0 <= tables.exp2_negative(x) <= 2**15


def test_exp2_is_exact_at_zero_and_falls() -> None:
    values = [tables.exp2_negative(x) for x in range(0, 18 << 16, 97)]
    assert values[0] == 2**15
    assert values == sorted(values, reverse=True)
    assert values[-1] == 0


@given(st.integers(-(2**23), 2**23))
def test_sigmoid_is_within_2_2_units_and_flat_outside(x: int) -> None:
    inside = min(max(x, -tables.SIGMOID_RANGE), tables.SIGMOID_RANGE)
    exact = 2.0**15 / (1 + np.exp(-inside / 2.0**12))
    assert abs(tables.sigmoid(x) - exact) <= 2.2


@given(st.integers(2**21, 2**22 - 1))
def test_reciprocal_is_within_a_unit(x: int) -> None:
    assert abs(tables.reciprocal(x) - 2.0**37 / x) <= 1.2


@given(st.integers(2**22, 2**24 - 1))
def test_reciprocal_sqrt_is_within_a_unit(x: int) -> None:
    assert abs(tables.reciprocal_sqrt(x) - 2.0**27 / np.sqrt(x)) <= 1.3


def test_one_reading_gives_what_two_give() -> None:
    """Compiled interpolation reads an entry and its step together; its equation reads two."""
    for name, bits in (("EXP2", 8), ("SIGMOID", 8), ("RECIPROCAL", 13), ("RECIPROCAL_SQRT", 15)):
        table, steps = (getattr(tables, f"{name}_{form}") for form in ("TABLE", "STEPS"))
        points = np.arange(len(table) - 1) << bits
        for x in (*points, *points + 1, *points + (1 << bits - 1), *points + (1 << bits) - 1):
            expected = tables._interpolate(table, steps, int(x), bits)
            assert tables.interpolate(table, steps, int(x), bits) == expected


@given(st.integers(1, 2**62))
def test_bit_length(x: int) -> None:
    assert tables.bit_length(x) == x.bit_length()


def test_the_limits_are_those_of_24_bits() -> None:
    assert fixed_point.ACCUMULATOR_LIMIT == 2**23 - 1


def test_compiling_is_announced_and_cached_for_these_sources_only(tmp_path: Path) -> None:
    code = (
        "import logging, sys; logging.basicConfig(level=logging.INFO)\n"
        "from spikegpt_neuro.arithmetic import jit\n"
        "sources = jit.fingerprint; jit.fingerprint = lambda where: sources(where) + sys.argv[1]\n"
        "from spikegpt_neuro.arithmetic.fixed_point import round_shift, saturate\n"
        "assert (round_shift(5, 1), saturate(7, 3)) == (3, 3)"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    said = []
    for sources in ("as they are", "as they are", "with another rescale", "with another rescale"):
        command = [sys.executable, "-c", code, sources]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        said.append(done.stderr.count("compiling kernels"))
    assert said == [1, 0, 1, 0]


def test_a_fingerprint_is_that_of_every_source(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1")
    before = fingerprint(tmp_path)
    fingerprint.cache_clear()
    (tmp_path / "b.py").write_text("")
    assert fingerprint(tmp_path) != before


def test_the_tables_are_the_same_on_every_machine() -> None:
    """They are computed with the platform's exp and sqrt: one unit elsewhere would show here."""
    expected = {
        "EXP2_TABLE": "5863dfb636590bd4",
        "SIGMOID_TABLE": "b925ab2ff29c479f",
        "RECIPROCAL_TABLE": "192c09cccf29559d",
        "RECIPROCAL_SQRT_TABLE": "e08a7989f89cd54c",
    }
    found = {
        name: hashlib.sha256(getattr(tables, name).astype("<i4").tobytes()).hexdigest()[:16]
        for name in expected
    }
    assert found == expected


def test_a_cached_kernel_is_bound_to_every_package_that_it_uses(tmp_path: Path) -> None:
    """A kernel whose helper in another package uses a constant of a third one."""
    files = {
        "spikegpt_neuro/first/a.py": "from spikegpt_neuro.second.b import half\n"
        "from spikegpt_neuro.arithmetic.jit import kernel\n"
        "from spikegpt_neuro.fourth.d import unused\n\n"
        "@kernel\ndef run(\n    x: int,\n) -> int:\n\n    return half(x)\n\n"
        "def plain():\n    return unused\n",
        "spikegpt_neuro/second/b.py": "from spikegpt_neuro.arithmetic.jit import kernel\n"
        "from spikegpt_neuro.third import c as constants\n\n"
        "@kernel\ndef half(x: int) -> int:\n    return x // constants.TWO\n",
        "spikegpt_neuro/third/c.py": "TWO = 2\n",
        "spikegpt_neuro/fourth/d.py": "unused = 0\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    code = (
        "import sys, spikegpt_neuro\n"
        "from pathlib import Path\n"
        "from spikegpt_neuro.arithmetic import jit\n"
        "spikegpt_neuro.__path__.append(sys.argv[1])\n"
        "from spikegpt_neuro.first import a\n"
        "assert a.run(9) == 9 // a.half.py_func.__globals__['constants'].TWO\n"
        "print(*sorted(p.name for p in jit.packages_of(Path(a.__file__))))"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    for two in (2, 3):  # the cached kernel does not survive a change of the constant
        (tmp_path / "spikegpt_neuro/third/c.py").write_text(f"TWO = {two}\n")
        command = [sys.executable, "-c", code, str(tmp_path / "spikegpt_neuro")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["arithmetic", "first", "second", "third"]
