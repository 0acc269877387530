"""Each metric against a case with a known answer."""

from __future__ import annotations

import math

import pytest
import torch

from evaluation import bsr_two_sided, fit_gain_offset, psnr, ssim, suppression_scores


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 1, 32, 32, generator=generator) - 0.5
    bone = torch.zeros_like(truth)
    bone[..., 10:14, :] = 0.4
    return truth, truth + bone


def test_psnr_of_a_constant_shift_does_not_wrap():
    truth = torch.full((1, 1, 16, 16), -0.8)
    shift = 2 * 200 / 255  # 200 grey levels of 8 bits, where uint8 arithmetic wraps
    assert psnr(truth + shift, truth).item() == pytest.approx(20 * math.log10(255 / 200), abs=1e-5)


def test_ssim_is_one_for_equal_images_and_less_otherwise(pair):
    truth, radiograph = pair
    assert torch.allclose(ssim(truth, truth), torch.ones(2, dtype=torch.float64))
    assert (ssim(radiograph, truth) < 0.95).all()


def test_fit_undoes_gain_and_offset(pair):
    truth, _ = pair
    assert torch.allclose(fit_gain_offset(0.3 * truth - 0.2, truth), truth.double(), atol=1e-6)
    flat = torch.zeros_like(truth)
    assert torch.allclose(fit_gain_offset(flat, truth), truth.double().mean(dim=(1, 2, 3), keepdim=True).expand_as(truth))


def test_two_sided_bsr_is_0_for_doing_nothing_1_for_the_truth_negative_for_harm(pair):
    truth, radiograph = pair
    zeros, ones = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    assert torch.allclose(bsr_two_sided(radiograph, truth, radiograph), zeros, atol=1e-9)
    assert torch.allclose(bsr_two_sided(truth, truth, radiograph), ones)
    over_suppressed = truth - 2 * (radiograph - truth)
    assert (bsr_two_sided(over_suppressed, truth, radiograph) < 0).all()


def test_scores_are_batch_means(pair):
    truth, radiograph = pair
    scores = suppression_scores(radiograph, truth, radiograph)
    assert scores["psnr"] == pytest.approx(psnr(radiograph, truth).mean().item())
    assert scores["psnr_fit"] > scores["psnr"]
    assert scores["bsr_two_sided"] == pytest.approx(0, abs=1e-9)


def test_unequal_shapes_are_refused(pair):
    truth, radiograph = pair
    with pytest.raises(ValueError, match="one shape"):
        psnr(truth[..., :16], radiograph)
