"""The built-in corpus: deterministic, plain, and the one the example was trained on."""

from __future__ import annotations

import sys

import pytest

from spikegpt_neuro.evaluation.corpus import held_out, python_documentation, training_part


def test_is_plain_text_of_the_running_python() -> None:
    text = python_documentation()
    assert len(text) > 1_000_000
    assert set(text) <= {"\n", *map(chr, range(32, 127))}
    assert text.startswith('The "assert" statement\n**')


@pytest.mark.skipif(sys.version_info[:3] != (3, 11, 7), reason="the recipe's figure is for 3.11.7")
def test_has_the_length_of_the_recipe() -> None:
    assert len(python_documentation()) == 1_830_811


def test_the_last_tenth_is_held_out() -> None:
    text = "abcdefghijklmnopqrstuvwxyz"
    assert held_out(text) == "xyz"
    assert training_part(text) + held_out(text) == text
