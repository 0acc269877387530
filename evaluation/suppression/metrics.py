"""Bone suppression metrics on float images, one value per image.

All take tensors (B, 1, H, W) in [-1, 1], compute in float64, and take an optional mask (B, 1, H, W) of 0 and 1 (the
lungs) to which they are restricted. Published scripts subtract uint8 images, which wraps (see
evaluation.suppression.legacy); these never do. `bsr_two_sided` is this project's own: the published bone suppression
ratio is one-sided, and gives a radiograph left as it is 0.66 to 0.89 (`bsr_published`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from evaluation.suppression.ssim import masked_mean, ms_ssim, ssim_maps

if TYPE_CHECKING:
    from jaxtyping import Float

    Images: TypeAlias = Float[Tensor, "batch 1 height width"]

DATA_RANGE = 2.0  # images span [-1, 1]
FARTHEST = 3.0  # from grey; a fit may overshoot white a little
NO_ERROR = 1e-15  # mean squared errors below it leave nothing to take away, and no ratio


def _check(*images: Tensor | None) -> None:
    shapes = {tuple(image.shape) for image in images if image is not None}
    if len(shapes) != 1 or len(next(iter(shapes))) != 4:
        raise ValueError(f"expected images of one shape (B, 1, H, W), got {sorted(shapes)}")
    for image in images:
        low, high = (0.0, 0.0) if image is None or not image.numel() else (float(image.min()), float(image.max()))
        if not max(-low, high) <= FARTHEST:
            raise ValueError(f"values that run from {low:g} to {high:g}: expected finite grey levels in [-1, 1]")


def mse(prediction: Images, truth: Images, mask: Images | None = None) -> Tensor:
    """Mean squared error on the scale where black is 0 and white is 1, as papers give it.

    Args:
        prediction: (B, 1, H, W) in [-1, 1].
        truth: (B, 1, H, W) in [-1, 1].
        mask: (B, 1, H, W) of 0 and 1; None: the whole image.

    Returns:
        (B,).
    """
    _check(prediction, truth, mask)
    return masked_mean((prediction.double() - truth.double()).square(), mask) / DATA_RANGE**2


def psnr(prediction: Images, truth: Images, mask: Images | None = None) -> Tensor:
    """Peak signal-to-noise ratio.

    Args:
        prediction: (B, 1, H, W) in [-1, 1].
        truth: (B, 1, H, W) in [-1, 1].
        mask: (B, 1, H, W) of 0 and 1; None: the whole image.

    Returns:
        (B,) in dB; infinite for equal images.
    """
    return -10 * mse(prediction, truth, mask).log10()


def ssim(prediction: Images, truth: Images, mask: Images | None = None) -> Tensor:
    """Structural similarity with a Gaussian window of sigma 1.5.

    Args:
        prediction: (B, 1, H, W) in [-1, 1].
        truth: (B, 1, H, W) in [-1, 1].
        mask: (B, 1, H, W) of 0 and 1; None: the whole image.

    Returns:
        (B,), 1 for equal images.

    Reference:
        Wang et al. 2004, IEEE TIP 13(4), eq. 13.
    """
    _check(prediction, truth, mask)
    return masked_mean(ssim_maps(prediction, truth, DATA_RANGE)[0], mask)


def multiscale_ssim(prediction: Images, truth: Images, mask: Images | None = None) -> Tensor:
    """Multi-scale structural similarity.

    Args:
        prediction: (B, 1, H, W) in [-1, 1], sides of at least 176 pixels.
        truth: (B, 1, H, W) in [-1, 1].
        mask: (B, 1, H, W) of 0 and 1; None: the whole image.

    Returns:
        (B,), 1 for equal images.

    Reference:
        Wang et al. 2003, "Multiscale structural similarity for image quality assessment", eq. 7.
    """
    _check(prediction, truth, mask)
    return ms_ssim(prediction, truth, DATA_RANGE, mask)


def fit_gain_offset(prediction: Images, truth: Images, mask: Images | None = None) -> Images:
    """An image after the least-squares gain and offset onto the truth.

    Dual-energy soft-tissue images have their own tone; a fit takes it out of the comparison.

    Args:
        prediction: (B, 1, H, W) in [-1, 1].
        truth: (B, 1, H, W) in [-1, 1].
        mask: Inside which gain and offset are fitted, one each an image.

    Returns:
        (B, 1, H, W), float64. A flat image has no gain: it becomes the truth's mean.
    """
    _check(prediction, truth, mask)
    x, y = prediction.double(), truth.double()
    x_mean, y_mean = masked_mean(x, mask)[:, None, None, None], masked_mean(y, mask)[:, None, None, None]
    covariance = masked_mean((x - x_mean) * (y - y_mean), mask)[:, None, None, None]
    variance = masked_mean((x - x_mean).square(), mask)[:, None, None, None]
    gain = covariance / variance.clamp_min(1e-12)
    return gain * (x - x_mean) + y_mean


def error_ratio(prediction: Images, truth: Images, radiograph: Images, mask: Images | None = None) -> Tensor:
    """1 - ||prediction - truth||^2 / ||radiograph - truth||^2, nothing fitted.

    Args:
        prediction: (B, 1, H, W) in [-1, 1].
        truth: (B, 1, H, W) in [-1, 1].
        radiograph: (B, 1, H, W) in [-1, 1].
        mask: (B, 1, H, W) of 0 and 1; None: the whole image.

    Returns:
        (B,): 0 for doing nothing, 1 for the truth.
    """
    return _part_gone(mse(prediction, truth, mask), mse(radiograph, truth, mask))


def bsr_two_sided(prediction: Images, truth: Images, radiograph: Images, mask: Images | None = None) -> Tensor:
    """Two-sided bone suppression ratio: 1 - ||fit(prediction) - truth||^2 / ||fit(radiograph) - truth||^2.

    Args:
        prediction: (B, 1, H, W) in [-1, 1].
        truth: (B, 1, H, W) in [-1, 1].
        radiograph: (B, 1, H, W) in [-1, 1].
        mask: (B, 1, H, W) of 0 and 1.

    Returns:
        (B,): 0 for doing nothing, 1 for the truth, negative for harm; over-suppression counts as much as
        under-suppression. NaN if the radiograph is the truth.
    """
    _check(prediction, truth, radiograph, mask)
    fitted = fit_gain_offset(prediction, truth, mask)
    return error_ratio(fitted, truth, fit_gain_offset(radiograph, truth, mask), mask)


def bsr_published(prediction: Images, truth: Images, radiograph: Images, mask: Images | None = None) -> Tensor:
    """The one-sided bone suppression ratio of the BS-LDM papers, on float images.

    1 - sum max(0, truth - shifted)^2 / sum (radiograph - truth)^2, with the prediction shifted to the truth's mean.
    Bone that is left behind makes the prediction too bright, which this does not count.

    Args:
        prediction: (B, 1, H, W) in [-1, 1].
        truth: (B, 1, H, W) in [-1, 1].
        radiograph: (B, 1, H, W) in [-1, 1].
        mask: (B, 1, H, W) of 0 and 1.

    Returns:
        (B,).

    Reference:
        Sun et al. (BS-LDM), arXiv:2412.15670.
    """
    _check(prediction, truth, radiograph, mask)
    difference = truth.double() - prediction.double()
    lacking = (difference - masked_mean(difference, mask)[:, None, None, None]).clamp_min(0)
    bone = masked_mean((radiograph.double() - truth.double()).square(), mask)
    return _part_gone(masked_mean(lacking.square(), mask), bone)


def _part_gone(left: Tensor, before: Tensor) -> Tensor:
    """1 - left / before (B,); NaN where there was nothing before."""
    return torch.where(before > NO_ERROR, 1 - left / before, torch.nan)


def suppression_scores(prediction: Images, truth: Images, radiograph: Images) -> dict[str, float]:
    """Means over a batch: psnr and ssim as they are, psnr_fit after the least-squares fit, bsr_two_sided.

    Args:
        prediction: (B, 1, H, W) in [-1, 1].
        truth: (B, 1, H, W) in [-1, 1].
        radiograph: (B, 1, H, W) in [-1, 1].

    Returns:
        {name: mean}.
    """
    return {
        "psnr": psnr(prediction, truth).mean().item(),
        "psnr_fit": psnr(fit_gain_offset(prediction, truth), truth).mean().item(),
        "ssim": ssim(prediction, truth).mean().item(),
        "bsr_two_sided": bsr_two_sided(prediction, truth, radiograph).mean().item(),
    }
