"""No integer and no figure moves unnoticed: the example, 12 x 512, both at 8 and 4 bits.

``golden/figures`` was written by version 0.1.0 (commit 31b6b26), and anew when loihi2 was fitted to
measurements: joules and times moved, integers and placements did not. The last digits of times
moved (by 4e-13 at most) when ``bound`` came to sum over events instead of messages. A change that
means to move a figure writes it anew with ``python tests/support/golden_figures.py`` and says why.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from golden_figures import MODELS, collect, differences
from places import TESTS

LARGE = [name for name in MODELS if not name.startswith("example")]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in LARGE else []) for n in MODELS]
)
def test_integers_placements_and_figures_are_those_of_before(name: str, tmp_path: Path) -> None:
    if name not in LARGE and importlib.util.find_spec("torch") is None:
        pytest.skip("torch reads the example's checkpoint")
    wanted = json.loads((TESTS / "golden" / "figures" / f"{name}.json").read_text("utf-8"))
    found = json.loads(json.dumps(collect(name, tmp_path)))
    assert list(differences(found, wanted)) == []


def test_a_difference_is_named() -> None:
    found = {"a": 1, "b": [1, {"c": 2.0}], "d": 0}
    wanted = {"a": 1, "b": [1, {"c": 2.5}], "e": 0}
    assert list(differences(found, wanted)) == [
        " / b [1] / c: 2.0, golden 2.5",
        " / d: only in found",
        " / e: only in golden",
    ]
