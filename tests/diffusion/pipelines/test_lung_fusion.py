"""GL-LCM's lung path: Poisson fusion against OpenCV and its own equation, guidance against its formula, the whole."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DOutput

from diffusion import BoneSuppressionPipeline, PixelSpace, ThresholdedDDIMScheduler, ThresholdedLCMScheduler, build_unet
from diffusion.pipelines.lung_fusion import LocalGuidance, fuse, lungs_only, poisson_fusion, without_specks


def smooth(seed: int, shape: tuple[int, int] = (60, 70), sigma: float = 4) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), sigma)
    return (0.3 * blurred / blurred.std()).clip(-0.9, 0.9)


def ellipse(shape: tuple[int, int] = (60, 70)) -> np.ndarray:
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    return ((y - 30) / 18) ** 2 + ((x - 34) / 22) ** 2 < 1


def test_a_patch_that_differs_by_a_constant_changes_nothing():
    background = smooth(0)
    np.testing.assert_allclose(poisson_fusion(background, background + 0.4, ellipse()), background, atol=1e-5)
    np.testing.assert_array_equal(poisson_fusion(background, smooth(1), np.zeros((60, 70), bool)), background)


def test_detail_of_the_patch_comes_over_and_its_level_does_not():
    y, x = np.mgrid[0:60, 0:70]
    detail = 0.3 * np.exp(-((y - 30) ** 2 + (x - 34) ** 2) / 8).astype(np.float32)  # nothing at the mask's edge
    background = smooth(0)
    fused = poisson_fusion(background, background + detail - 0.5, ellipse())
    np.testing.assert_allclose(fused, background + detail, atol=1e-4)


def test_the_fused_image_solves_poissons_equation():
    background, patch, mask = smooth(0), smooth(1), ellipse()
    fused = poisson_fusion(background, patch, mask)
    inner = cv2.erode(mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0  # all neighbours inside
    laplace = [cv2.Laplacian(image.astype(np.float64), cv2.CV_64F, ksize=1) for image in (fused, patch)]
    np.testing.assert_allclose(laplace[0][inner], laplace[1][inner], atol=1e-5)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    outside = np.ones_like(mask)
    outside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = False
    np.testing.assert_array_equal(fused[outside], background[outside])


def test_it_agrees_with_opencvs_seamless_clone():
    background, patch = (np.round((smooth(seed) + 1) * 127.5) for seed in (0, 1))
    mask = ellipse().astype(np.uint8)
    left, top, width, height = cv2.boundingRect(mask)
    three = [cv2.cvtColor(image.astype(np.uint8), cv2.COLOR_GRAY2BGR) for image in (patch, background)]
    centre = (left + width // 2, top + height // 2)
    theirs = cv2.seamlessClone(*three, mask * 255, centre, cv2.MONOCHROME_TRANSFER)[..., 0].astype(np.float32)
    ours = poisson_fusion(background, patch, mask > 0)
    assert np.abs(background - theirs)[mask > 0].mean() > 10  # something was cloned
    assert np.abs(ours - theirs)[mask > 0].mean() < 0.6  # they round to whole levels


def test_specks_of_the_mask_are_left_out():
    mask = np.zeros((200, 200), bool)
    mask[50:100, 50:90] = True
    mask[150, 150] = True  # 1 pixel of 40,000; 4 is the least
    mask[10:12, 10:12] = True
    kept = without_specks(mask)
    assert kept.sum() == 50 * 40 + 4 and not kept[150, 150]


def test_local_guidance_is_its_formula_and_depends_on_the_seed_alone():
    answer = torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1

    class Constant:
        dtype = torch.float32

        def __call__(self, inputs, timestep):
            return UNet2DOutput(sample=inputs)

    def guided(scale, seeds, rows=slice(None)):
        return LocalGuidance(Constant(), scale, seeds)(answer[rows], torch.tensor(0)).sample

    torch.testing.assert_close(guided(1.0, [3, 4]), answer)
    noise = (3 * answer - guided(3.0, [3, 4])) / 2 * answer.std(dim=(1, 2, 3), keepdim=True)
    assert noise.mean().abs() < 0.05 and abs(noise.std() - 1) < 0.03
    torch.testing.assert_close(guided(3.0, [4], slice(1, 2)), guided(3.0, [3, 4])[1:])
    assert (guided(3.0, [5, 4])[0] - guided(3.0, [3, 4])[0]).abs().max() > 0.5
    start = torch.randn(4, 32, 32, generator=torch.Generator().manual_seed(3))
    assert np.corrcoef(noise[0].flatten(), start.flatten())[0, 1] < 0.1  # not the noise that sampling starts from


@pytest.fixture
def lcm_pipeline():
    torch.manual_seed(0)
    unet = build_unet(1, 1, 16, (1, 2), 1, (), norm_groups=8, mid_attention=False)
    pipeline = BoneSuppressionPipeline(PixelSpace(), unet, ThresholdedLCMScheduler())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def lungs():
    mask = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    mask[:, :, 8:24, 4:14] = True
    mask[:, :, 8:24, 18:28] = True
    return mask


def test_the_lung_path_is_what_it_says(lcm_pipeline, lungs):
    radiograph = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    whole = lcm_pipeline(radiograph, 4, seeds=[1, 2]).soft
    fused = lcm_pipeline(radiograph, 4, seeds=[1, 2], lungs=lungs, local_guidance=1, local_threshold=2.0).soft
    local = lcm_pipeline(lungs_only(radiograph, lungs), 4, seeds=[1, 2]).soft  # the same noise, the lungs alone
    torch.testing.assert_close(fused, fuse(whole, local, lungs).clamp(-1, 1), atol=1e-5, rtol=0)
    outside = torch.ones(2, 1, 32, 32, dtype=torch.bool)
    outside[:, :, 8:24, 4:28] = False
    assert torch.equal(fused[outside], whole[outside])
    assert (fused - whole)[lungs].abs().mean() > 0.01
    wider = lcm_pipeline(radiograph, 4, seeds=[1, 2], lungs=lungs, local_guidance=1).soft
    guided = lcm_pipeline(radiograph, 4, seeds=[1, 2], lungs=lungs).soft
    assert (wider - fused).abs().max() > 1e-4 and (guided - wider).abs().max() > 1e-4
    alone = lcm_pipeline(radiograph[1:], 4, seeds=[2], lungs=lungs[1:]).soft
    torch.testing.assert_close(alone, guided[1:], atol=1e-4, rtol=0)
    assert lcm_pipeline.scheduler.config.threshold_start == 2.0


def test_masks_and_guidance_that_do_not_fit_are_refused(lcm_pipeline, lungs):
    radiograph = torch.zeros(2, 1, 32, 32)
    with pytest.raises(ValueError, match=r"\(2, 1, 16, 32\) torch.bool; expected a bool tensor \(2, 1, 32, 32\)"):
        lcm_pipeline(radiograph, 2, lungs=lungs[:, :, :16])
    with pytest.raises(ValueError, match=r"torch.float32; expected a bool tensor"):
        lcm_pipeline(radiograph, 2, lungs=lungs.float())
    lungs[1] = False
    with pytest.raises(ValueError, match="a lung mask is empty"):
        lcm_pipeline(radiograph, 2, lungs=lungs)
    lcm_pipeline.scheduler = ThresholdedDDIMScheduler(prediction_type="sample")
    lungs[1] = True
    with pytest.raises(ValueError, match="local_guidance is 3, but this network predicts sample"):
        lcm_pipeline(radiograph, 2, lungs=lungs, local_guidance=3.0)
    assert lcm_pipeline(radiograph, 2, lungs=lungs).soft.isfinite().all()
