"""The parts of the multi-level hybrid loss of a VQ-GAN, and their weighted sum."""

from __future__ import annotations

import functools
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, one per scale from the finest
SSIM_WINDOW, SSIM_SIGMA, SSIM_K = 11, 1.5, (0.01, 0.03)


def ms_ssim_loss(reconstruction: Tensor, target: Tensor) -> Tensor:
    """1 - MS-SSIM (Wang et al. 2003) of images (B, C, H, W) in [-1, 1]: a scalar, 0 for equal images.

    As many of the five scales are used as the image size allows, their weights brought to sum 1. Similarities s are
    taken as (1 + s) / 2, since their fractional powers have no gradient at the negative values of early training. The
    values are torchmetrics' (a test compares them); its windows of 11 x 11 taps took two thirds of a training step.

    Raises:
        ValueError: A side of 11 pixels or fewer.
    """
    side = min(target.shape[-2:])
    fitting = [n for n in range(len(MS_SSIM_WEIGHTS), 0, -1) if side // max(1, n - 1) ** 2 > SSIM_WINDOW]
    if not fitting:
        raise ValueError(
            f"MS-SSIM needs images of {SSIM_WINDOW + 1} pixels a side or more, got {tuple(target.shape[-2:])}."
        )
    weights = MS_SSIM_WEIGHTS[: fitting[0]]
    product: Tensor | float = 1.0
    with torch.autocast(target.device.type, enabled=False):
        x, y = reconstruction.float(), target.float()
        for scale, weight in enumerate(weights):
            if scale:
                x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
            if scale < len(weights) - 1:
                part = _similarity(x, y)[1]
            else:  # of the whole image, reflected at its border as torchmetrics does it
                luminance, contrast = _similarity(*(F.pad(z, [SSIM_WINDOW // 2] * 4, mode="reflect") for z in (x, y)))
                part = luminance * contrast
            product = product * ((1 + part.mean(dim=(1, 2, 3))) / 2) ** (weight / sum(weights))
    assert isinstance(product, Tensor)
    return 1 - product.mean()


def _similarity(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM's luminance and contrast-structure terms (Wang et al. 2003, eq. 1-3) of images in [-1, 1], each a map."""
    c1, c2 = (2 * SSIM_K[0]) ** 2, (2 * SSIM_K[1]) ** 2
    mean_x, mean_y, xx, yy, xy = _window(torch.cat([x, y, x * x, y * y, x * y])).chunk(5)
    product, squares = mean_x * mean_y, mean_x.square() + mean_y.square()
    variances = (xx + yy - squares).clamp(min=0)
    return (2 * product + c1) / (squares + c1), (2 * (xy - product) + c2) / (variances + c2)


def _window(images: Tensor) -> Tensor:
    """Means under SSIM's Gaussian window where it lies inside: (B, C, H, W) -> (B, C, H - 10, W - 10).

    Sums of shifted images are 14 times as fast on a CPU, with their gradient, as convolutions of one channel.
    """
    offsets = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    taps = torch.exp(-offsets.square() / (2 * SSIM_SIGMA**2))
    height, width = (size - SSIM_WINDOW + 1 for size in images.shape[-2:])
    for axis, size in ((3, width), (2, height)):
        shifted = [tap * images.narrow(axis, i, size) for i, tap in enumerate((taps / taps.sum()).tolist())]
        images = functools.reduce(torch.add, shifted)
    return images


class Adversarial(Protocol):
    """A pair of losses on discriminator logits."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor: ...

    def generator(self, fake: Tensor) -> Tensor: ...


class Hinge:
    """Hinge loss (Lim and Ye 2017, arXiv:1705.02894), halved as in taming-transformers."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())

    def generator(self, fake: Tensor) -> Tensor:
        return -fake.mean()


class LeastSquares:
    """LSGAN (Mao et al. 2017, arXiv:1611.04076, eq. 9): targets 1 for real, 0 for fake, 1 for the generator."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * ((real - 1).square().mean() + fake.square().mean())

    def generator(self, fake: Tensor) -> Tensor:
        return (fake - 1).square().mean()


def adaptive_weight(reconstruction_loss: Tensor, adversarial_loss: Tensor, last_layer: Tensor) -> Tensor:
    """||grad L_rec|| / (||grad L_adv|| + 1e-4) at the last layer (Esser et al. 2021, eq. 7), at most 1e4."""
    norms = [
        torch.autograd.grad(loss, last_layer, retain_graph=True)[0].norm()
        for loss in (reconstruction_loss, adversarial_loss)
    ]
    return (norms[0] / (norms[1] + 1e-4)).clamp(max=1e4).detach()


class HybridLoss(nn.Module):
    """Pixel + MS-SSIM + perceptual + codebook + adversarial loss, weighted.

    pixel: L1 by default; torch.nn.MSELoss for L2.
    perceptual: network (reconstruction, target) -> loss; needed where perceptual_weight is not 0, and may be set later.
    adversarial: LeastSquares by default, or Hinge; its weight is 0 for the first `adversarial_start` updates.
    adaptive: multiply adversarial_weight by `adaptive_weight`.
    """

    def __init__(
        self,
        pixel: nn.Module | None = None,
        pixel_weight: float = 1.0,
        ms_ssim_weight: float = 0.0,
        perceptual: nn.Module | None = None,
        perceptual_weight: float = 0.0,
        codebook_weight: float = 1.0,
        adversarial: Adversarial | None = None,
        adversarial_weight: float = 0.0,
        adversarial_start: int = 0,
        adaptive: bool = False,
    ) -> None:
        super().__init__()
        self.pixel = pixel or nn.L1Loss()
        self.pixel_weight = pixel_weight
        self.ms_ssim_weight = ms_ssim_weight
        self.perceptual = perceptual
        self.perceptual_weight = perceptual_weight
        self.codebook_weight = codebook_weight
        self.adversarial = adversarial or LeastSquares()
        self.adversarial_weight = adversarial_weight
        self.adversarial_start = adversarial_start
        self.adaptive = adaptive

    def is_adversarial(self, update: int) -> bool:
        """Whether the discriminator takes part in the `update`-th update, counted from 0."""
        return self.adversarial_weight > 0 and update >= self.adversarial_start

    def forward(
        self,
        reconstruction: Tensor,
        target: Tensor,
        codebook_loss: Tensor,
        fake_logits: Tensor | None = None,
        last_layer: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss () and its unweighted parts by name; parts of weight 0 are left out.

        reconstruction, target: (B, C, H, W) in [-1, 1]. fake_logits: the discriminator's on the reconstruction, None
        before the warm-up has ended. last_layer: the decoder's, needed when adaptive.
        """
        reconstruction, target = reconstruction.float(), target.float()
        parts = {"pixel": self.pixel(reconstruction, target)}
        total = self.pixel_weight * parts["pixel"]
        if self.ms_ssim_weight:
            parts["ms_ssim"] = ms_ssim_loss(reconstruction, target)
            total = total + self.ms_ssim_weight * parts["ms_ssim"]
        if self.perceptual_weight:
            if self.perceptual is None:
                raise ValueError(
                    "perceptual_weight is not 0 but there is no perceptual network: give its weights or set 0."
                )
            parts["perceptual"] = self.perceptual(reconstruction, target).mean()
            total = total + self.perceptual_weight * parts["perceptual"]
        if fake_logits is not None:
            parts["adversarial"] = self.adversarial.generator(fake_logits.float())
            weight: Tensor | float = self.adversarial_weight
            if self.adaptive:
                if last_layer is None:
                    raise ValueError("The adaptive adversarial weight needs the decoder's last layer: pass last_layer.")
                parts["adaptive_weight"] = adaptive_weight(total, parts["adversarial"], last_layer)
                weight = weight * parts["adaptive_weight"]
            total = total + weight * parts["adversarial"]
        parts["codebook"] = codebook_loss
        return total + self.codebook_weight * codebook_loss, parts
