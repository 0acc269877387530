"""Each metric against a case with a known answer, and against torchmetrics where it computes the same."""

from __future__ import annotations

import math

import pytest
import torch
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from evaluation import bsr_two_sided, fit_gain_offset, psnr, ssim, suppression_scores
from evaluation.suppression.metrics import bsr_published, error_ratio, mse, multiscale_ssim
from evaluation.suppression.ssim import _smooth, smooth_by_torch


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


def test_mse_is_on_the_scale_of_0_to_1():
    black, white = torch.full((1, 1, 16, 16), -1.0), torch.ones(1, 1, 16, 16)
    assert mse(black, white).item() == pytest.approx(1)


def test_ssim_is_one_for_equal_images_and_less_otherwise(pair):
    truth, radiograph = pair
    assert torch.allclose(ssim(truth, truth), torch.ones(2, dtype=torch.float64))
    assert (ssim(radiograph, truth) < 0.95).all()


def test_ssim_and_ms_ssim_are_those_of_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 1, 200, 190, generator=generator).double() - 0.5
    other = truth + 0.2 * torch.randn(truth.shape, generator=generator)
    expected = structural_similarity_index_measure(other, truth, data_range=2.0, reduction="none")
    assert torch.allclose(ssim(other, truth), expected, rtol=1e-9)
    values = [
        multiscale_structural_similarity_index_measure(o[None], t[None], data_range=2.0) for o, t in zip(other, truth)
    ]
    assert torch.allclose(multiscale_ssim(other, truth), torch.stack(values), rtol=1e-6)
    everywhere = torch.ones_like(truth)
    assert torch.allclose(multiscale_ssim(other, truth, everywhere), multiscale_ssim(other, truth))


def test_the_window_is_the_same_on_every_device():
    images = torch.rand(2, 1, 40, 33, generator=torch.Generator().manual_seed(1)).double()
    assert torch.allclose(_smooth(images), smooth_by_torch(images), rtol=1e-12)


def test_ms_ssim_of_small_images_is_refused(pair):
    with pytest.raises(ValueError, match="176 pixels"):
        multiscale_ssim(*pair)


def test_a_mask_hides_what_is_outside(pair):
    truth, radiograph = pair
    mask = torch.zeros_like(truth)
    mask[..., 10:14, :] = 1
    assert torch.allclose(psnr(radiograph, truth, mask), torch.full((2,), 20 * math.log10(2 / 0.4)).double())
    assert torch.isinf(psnr(radiograph, truth, 1 - mask)).all()
    shifted = torch.where(mask > 0, 0.5 * truth + 0.1, truth * 0)
    assert torch.allclose(fit_gain_offset(shifted, truth, mask)[mask > 0], truth[mask > 0].double(), atol=1e-6)
    far = torch.zeros_like(truth)
    far[..., 24:, :] = 1  # beyond the window around the bone
    assert torch.allclose(ssim(radiograph, truth, far), torch.ones(2).double())


def test_fit_undoes_gain_and_offset(pair):
    truth, _ = pair
    assert torch.allclose(fit_gain_offset(0.3 * truth - 0.2, truth), truth.double(), atol=1e-6)
    flat = torch.zeros_like(truth)
    assert torch.allclose(
        fit_gain_offset(flat, truth), truth.double().mean(dim=(1, 2, 3), keepdim=True).expand_as(truth)
    )


def test_two_sided_bsr_is_0_for_doing_nothing_1_for_the_truth_negative_for_harm(pair):
    truth, radiograph = pair
    zeros, ones = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    assert torch.allclose(bsr_two_sided(radiograph, truth, radiograph), zeros, atol=1e-9)
    assert torch.allclose(bsr_two_sided(truth, truth, radiograph), ones)
    over_suppressed = truth - 2 * (radiograph - truth)
    assert (bsr_two_sided(over_suppressed, truth, radiograph) < 0).all()


def test_published_bsr_rewards_doing_nothing(pair):
    truth, radiograph = pair
    assert torch.allclose(bsr_published(truth, truth, radiograph), torch.ones(2).double())
    # bone 0.4 on 1/8 of the pixels: after the shift by its mean, 7/8 of the pixels lack 0.05 each
    expected = 1 - (7 / 8 * 0.05**2) / (1 / 8 * 0.4**2)
    assert torch.allclose(bsr_published(radiograph, truth, radiograph), torch.full((2,), expected).double(), atol=1e-6)


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


def test_another_grey_range_is_refused_not_measured(pair):
    truth, radiograph = pair
    with pytest.raises(ValueError, match=r"values that run from .* expected finite grey levels in \[-1, 1\]"):
        psnr(127.5 * (truth + 1), radiograph)
    with pytest.raises(ValueError, match="from nan to nan"):
        bsr_two_sided(truth * torch.nan, truth, radiograph)


def test_no_ratio_where_there_was_nothing_to_take_away(pair):
    truth, radiograph = pair
    both = torch.stack([truth[0], radiograph[1]])
    for ratio in (bsr_two_sided, bsr_published, error_ratio):
        found = ratio(0.9 * truth, truth, both)
        assert found[0].isnan() and found[1].isfinite()
