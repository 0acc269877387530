"""Every part of the hybrid loss against its closed form."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from vqgan import Hinge, HybridLoss, LeastSquares
from vqgan.losses import MS_SSIM_WEIGHTS, adaptive_weight, ms_ssim_loss

REAL, FAKE = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-2.0, 0.0, 3.0])


def test_hinge():
    assert Hinge().discriminator(REAL, FAKE).item() == pytest.approx(0.5 * ((0 + 0.5 + 2) / 3 + (0 + 1 + 4) / 3))
    assert Hinge().generator(FAKE).item() == pytest.approx(-1 / 3)


def test_least_squares():
    assert LeastSquares().discriminator(REAL, FAKE).item() == pytest.approx(0.5 * (5.25 / 3 + 13 / 3))
    assert LeastSquares().generator(FAKE).item() == pytest.approx((9 + 1 + 4) / 3)


def test_ms_ssim_of_constant_images():
    """Without structure only the coarsest scale's luminance differs from 1: l = (2ab + c) / (a^2 + b^2 + c)."""
    a, b, c = 0.5, -0.2, (0.01 * 2) ** 2
    luminance = (2 * a * b + c) / (a**2 + b**2 + c)
    expected = 1 - ((1 + luminance) / 2) ** 0.1333  # all five scales at 256 pixels
    loss = ms_ssim_loss(torch.full((2, 1, 256, 256), a), torch.full((2, 1, 256, 256), b))
    assert loss.item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("side", [12, 32, 64, 128, 192])
def test_ms_ssim_fits_the_image_size(side):
    torch.manual_seed(0)
    image = torch.rand(1, 1, side, side) * 2 - 1
    assert ms_ssim_loss(image, image).item() == pytest.approx(0, abs=1e-5)
    inverse = (-image).requires_grad_()
    loss = ms_ssim_loss(inverse, image)
    loss.backward()
    assert 0.2 < loss.item() <= 1 and inverse.grad.isfinite().all()


@pytest.mark.parametrize(("side", "scales"), [(24, 2), (63, 3), (128, 4), (192, 5)])
def test_ms_ssim_and_its_gradient_are_those_of_torchmetrics(side, scales):
    torch.manual_seed(0)
    image = torch.rand(2, 2, side, side) * 2 - 1
    losses, gradients = [], []
    weights = MS_SSIM_WEIGHTS[:scales]
    betas = tuple(weight / sum(weights) for weight in weights)
    for loss in (
        ms_ssim_loss,
        lambda x, y: (
            1 - multiscale_structural_similarity_index_measure(x, y, data_range=2.0, betas=betas, normalize="simple")
        ),
    ):
        noisy = (
            0.7 * image + 0.1 * torch.randn(image.shape, generator=torch.Generator().manual_seed(1))
        ).requires_grad_()
        value = loss(noisy, image)
        value.backward()
        losses.append(value.item())
        gradients.append(noisy.grad)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-3 * float(gradients[1].abs().max()))


def test_ms_ssim_refuses_tiny_images():
    with pytest.raises(ValueError, match="12 pixels a side or more, got"):
        ms_ssim_loss(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8))


class Half(nn.Module):
    """A stand-alone perceptual distance with a known value."""

    def forward(self, reconstruction, target):
        return 0.5 * (reconstruction - target).abs().mean((1, 2, 3))


def test_weighted_sum():
    torch.manual_seed(0)
    a, b = torch.rand(2, 1, 64, 64) * 2 - 1, torch.rand(2, 1, 64, 64) * 2 - 1
    logits = torch.tensor([0.3, -0.7])
    loss = HybridLoss(
        pixel=nn.MSELoss(),
        pixel_weight=2.0,
        ms_ssim_weight=0.3,
        perceptual=Half(),
        perceptual_weight=0.1,
        codebook_weight=0.7,
        adversarial=Hinge(),
        adversarial_weight=0.05,
    )
    total, parts = loss(a, b, torch.tensor(4.0), logits)
    expected = {
        "pixel": (a - b).square().mean().item(),
        "ms_ssim": ms_ssim_loss(a, b).item(),
        "perceptual": 0.5 * (a - b).abs().mean().item(),
        "adversarial": 0.2,
        "codebook": 4.0,
    }
    assert {name: value.item() for name, value in parts.items()} == pytest.approx(expected)
    weights = {"pixel": 2.0, "ms_ssim": 0.3, "perceptual": 0.1, "codebook": 0.7, "adversarial": 0.05}
    assert total.item() == pytest.approx(sum(weights[name] * value for name, value in expected.items()))


def test_parts_of_weight_zero_are_left_out():
    a, b = torch.zeros(1, 1, 16, 16), torch.full((1, 1, 16, 16), 0.25)
    total, parts = HybridLoss()(a, b, torch.tensor(0.5))
    assert set(parts) == {"pixel", "codebook"}
    assert total.item() == pytest.approx(0.75)


def test_missing_perceptual_network_is_named():
    with pytest.raises(ValueError, match="perceptual_weight is not 0 but there is no perceptual network"):
        HybridLoss(perceptual_weight=1.0)(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16), torch.tensor(0.0))


def test_warm_up_ends_at_its_update():
    loss = HybridLoss(adversarial_weight=0.01, adversarial_start=3)
    assert [loss.is_adversarial(update) for update in range(5)] == [False, False, False, True, True]
    assert not HybridLoss(adversarial_start=0).is_adversarial(7)


def test_adaptive_weight_is_the_ratio_of_gradients_at_the_last_layer():
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    reconstruction, adversarial = weight.square().sum() / 2, 2 * weight.sum()  # gradients (3, 4) and (2, 2)
    ratio = 5 / (8**0.5 + 1e-4)
    assert adaptive_weight(reconstruction, adversarial, weight).item() == pytest.approx(ratio)

    loss = HybridLoss(adversarial_weight=0.5, adversarial=Hinge(), adaptive=True)
    image = weight.sum() * torch.ones(1, 1, 4, 4)
    total, parts = loss(image, torch.zeros_like(image), torch.tensor(0.0), -image, weight)
    assert parts["adaptive_weight"].item() == pytest.approx(1, rel=1e-3)
    assert total.item() == pytest.approx(7 + 0.5 * 7, rel=1e-3)
