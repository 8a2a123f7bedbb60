"""Sampling against cases worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.sampling import Sampler, SamplerOptions, distribution, options_for
from spikegpt_neuro.vocabulary import ByteVocabulary, CharacterVocabulary

P = np.array([0.1, 0.4, 0.3, 0.2])
LOGITS = np.log(P)


def test_nucleus_keeps_the_token_that_first_exceeds_top_p() -> None:
    # sorted 0.4, 0.3, 0.2: cumulative 0.4, 0.7 > 0.5 -> cutoff 0.3
    np.testing.assert_allclose(distribution(LOGITS, top_p=0.5), [0, 4 / 7, 3 / 7, 0])


def test_tokens_equal_to_the_cutoff_stay() -> None:
    # 0.4 > 0.3 at once, and nothing else is as large; with a tie both stay.
    tie = np.log(np.array([0.25, 0.25, 0.25, 0.25]))
    np.testing.assert_allclose(distribution(LOGITS, top_p=0.3), [0, 1, 0, 0])
    np.testing.assert_allclose(distribution(tie, top_p=0.3), [0.25] * 4)


def test_temperature_acts_after_the_cutoff() -> None:
    # p^(1/2) of the nucleus {0.4, 0.3}; a temperature before the cutoff would keep a third token.
    roots = np.sqrt([0.4, 0.3])
    expected = [0, *(roots / roots.sum()), 0]
    np.testing.assert_allclose(distribution(LOGITS, top_p=0.5, temperature=2.0), expected)


def test_top_p_of_one_cuts_nothing_off() -> None:
    np.testing.assert_allclose(distribution(LOGITS, top_p=1.0), P)


def test_temperature_zero_takes_the_first_largest() -> None:
    np.testing.assert_array_equal(distribution(np.array([1.0, 3.0, 3.0]), temperature=0), [0, 1, 0])


def test_forbidden_ids_have_no_probability() -> None:
    p = distribution(LOGITS, top_p=1.0, forbid=(1,))
    np.testing.assert_allclose(p, np.array([0.1, 0, 0.3, 0.2]) / 0.6)
    assert distribution(LOGITS, temperature=0, forbid=(1,))[2] == 1


def test_the_newline_has_its_own_top_p() -> None:
    options = SamplerOptions(top_p=0.3, top_p_newline=1.0, newline=2)
    usual = {Sampler(options, seed).draw(LOGITS, previous=0) for seed in range(50)}
    after_newline = {Sampler(options, seed).draw(LOGITS, previous=2) for seed in range(50)}
    assert usual == {1}
    assert after_newline == {0, 1, 2, 3}


def test_draws_follow_the_distribution_and_the_seed() -> None:
    sampler = Sampler(SamplerOptions(top_p=1.0), seed=1)
    drawn = [sampler.draw(LOGITS) for _ in range(8000)]
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), P, atol=0.02)
    again = Sampler(SamplerOptions(top_p=1.0), seed=1)
    assert drawn[:100] == [again.draw(LOGITS) for _ in range(100)]


@given(
    st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=20),
    st.floats(1e-3, 100),
    st.floats(1e-3, 1),
)
def test_always_a_distribution_whose_mode_is_the_largest_logit(
    logits: list[float], temperature: float, top_p: float
) -> None:
    p = distribution(np.array(logits), temperature=temperature, top_p=top_p)
    assert p.sum() == pytest.approx(1)
    assert p[np.argmax(logits)] == p.max()


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1}, {"temperature": float("nan")}, {"top_p": 0}, {"top_p_newline": 1.5}],
)
def test_options_out_of_range_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        SamplerOptions(**wrong)


def test_upstream_rules_by_kind_of_vocabulary() -> None:
    assert options_for(ByteVocabulary()).newline == 10
    assert options_for(CharacterVocabulary(("a", "\n"))).newline == 1
    assert options_for(CharacterVocabulary(("a", " "))).newline is None
