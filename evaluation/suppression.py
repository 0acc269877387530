"""Bone suppression metrics on float images, one value per image.

All take tensors (B, 1, H, W) in [-1, 1] and compute in float64. Published scripts subtract uint8 images, which wraps;
these never do. `bsr_two_sided` is this project's own: the published bone suppression ratio is one-sided, and gives a
radiograph left as it is 0.66 to 0.89 (BS-LDM's metric, see its `BSR`).
"""

from __future__ import annotations

from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

DATA_RANGE = 2.0  # images span [-1, 1]


def _check(*images: Tensor) -> None:
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) != 1 or images[0].ndim != 4:
        raise ValueError(f"expected images of one shape (B, 1, H, W), got {sorted(shapes)}")


def psnr(prediction: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (B,) in dB; infinite for equal images."""
    _check(prediction, truth)
    error = (prediction.double() - truth.double()).square().mean(dim=(1, 2, 3))
    return 10 * (DATA_RANGE**2 / error).log10()


def ssim(prediction: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity (B,), Gaussian window of sigma 1.5 (Wang et al. 2004)."""
    _check(prediction, truth)
    values = structural_similarity_index_measure(
        prediction.double(), truth.double(), data_range=DATA_RANGE, reduction="none"
    )
    return values.reshape(-1)  # type: ignore[union-attr]


def fit_gain_offset(prediction: Tensor, truth: Tensor) -> Tensor:
    """`prediction` after the least-squares gain and offset onto `truth`, per image.

    Dual-energy soft-tissue images have their own tone; a fit takes it out of the comparison. A flat image has no gain:
    it becomes the truth's mean.
    """
    _check(prediction, truth)
    x, y = prediction.double(), truth.double()
    x_mean, y_mean = x.mean(dim=(1, 2, 3), keepdim=True), y.mean(dim=(1, 2, 3), keepdim=True)
    covariance = ((x - x_mean) * (y - y_mean)).mean(dim=(1, 2, 3), keepdim=True)
    variance = (x - x_mean).square().mean(dim=(1, 2, 3), keepdim=True)
    gain = covariance / variance.clamp_min(1e-12)
    return gain * (x - x_mean) + y_mean


def bsr_two_sided(prediction: Tensor, truth: Tensor, radiograph: Tensor) -> Tensor:
    """Two-sided bone suppression ratio (B,): 1 - ||fit(prediction) - truth||^2 / ||fit(radiograph) - truth||^2.

    0 for doing nothing, 1 for the truth, negative for harm; over-suppression counts as much as under-suppression.
    """
    _check(prediction, truth, radiograph)
    left = (fit_gain_offset(prediction, truth) - truth.double()).square().sum(dim=(1, 2, 3))
    before = (fit_gain_offset(radiograph, truth) - truth.double()).square().sum(dim=(1, 2, 3))
    return 1 - left / before.clamp_min(1e-12)


def suppression_scores(prediction: Tensor, truth: Tensor, radiograph: Tensor) -> dict[str, float]:
    """Means over the batch: psnr and ssim as they are, psnr_fit after the least-squares fit, bsr_two_sided."""
    return {
        "psnr": psnr(prediction, truth).mean().item(),
        "psnr_fit": psnr(fit_gain_offset(prediction, truth), truth).mean().item(),
        "ssim": ssim(prediction, truth).mean().item(),
        "bsr_two_sided": bsr_two_sided(prediction, truth, radiograph).mean().item(),
    }
