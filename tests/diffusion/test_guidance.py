"""Guidance: which answers are asked for, and what their sum is."""

from __future__ import annotations

import pytest
import torch

from diffusion.guidance import guidance_terms, weighted_sum

ORDER = ("image", "view", "report")


def test_scale_one_is_conditional_and_scale_zero_unconditional():
    assert guidance_terms(ORDER, {}) == [(1.0, ())]
    assert guidance_terms(ORDER, dict.fromkeys(ORDER, 0)) == [(1.0, ORDER)]
    assert guidance_terms((), {}) == [(1.0, ())]


def test_equal_scales_are_classifier_free_guidance():
    assert guidance_terms(ORDER, dict.fromkeys(ORDER, 3)) == [(-2.0, ORDER), (3.0, ())]


def test_separate_scales_compose_as_instruct_pix2pix():
    """Equation 3 of arXiv 2211.09800, written out: e0 + s_i (e1 - e0) + s_v (e2 - e1) + s_r (e3 - e2)."""
    answers = {ORDER: 2.0, ("view", "report"): 3.0, ("report",): 7.0, (): 19.0}
    terms = guidance_terms(ORDER, {"image": 1.5, "view": 4, "report": 7})
    total = weighted_sum([(weight, torch.tensor(answers[left_out])) for weight, left_out in terms])
    assert total == pytest.approx(2 + 1.5 * (3 - 2) + 4 * (7 - 3) + 7 * (19 - 7))


def test_an_answer_alone_comes_out_bit_for_bit():
    answer = torch.rand(5)
    assert weighted_sum([(1.0, answer)]) is answer


def test_an_unknown_condition_is_named():
    with pytest.raises(ValueError, match="guidance names text; this model's conditions are image, view, report"):
        guidance_terms(ORDER, {"text": 3})
