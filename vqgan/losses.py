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
    """1 - MS-SSIM, with as many of the five scales as the image size allows.

    The weights of the scales used are normalised to sum 1. Similarities s are taken as (1 + s) / 2, since their
    fractional powers have no gradient at the negative values of early training. The values are torchmetrics', whose
    windows of 11 x 11 taps took two thirds of a training step.

    Args:
        reconstruction: Images (B, C, H, W) in [-1, 1].
        target: Images of the same shape and range.

    Returns:
        A scalar, 0 for equal images.

    Raises:
        ValueError: A side has 11 pixels or fewer.

    Reference:
        Wang et al. 2003, "Multiscale structural similarity for image quality assessment", eq. 7.
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

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of the discriminator.

        Args:
            real: Its logits (B, 1, h, w) on real images.
            fake: Its logits (B, 1, h, w) on reconstructions.

        Returns:
            Loss ().
        """

    def generator(self, fake: Tensor) -> Tensor:
        """Loss of the generator.

        Args:
            fake: The discriminator's logits (B, 1, h, w) on reconstructions.

        Returns:
            Loss ().
        """


class Hinge:
    """Hinge loss, halved as in taming-transformers.

    Reference:
        Lim and Ye 2017, arXiv:1705.02894.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Half of mean(max(0, 1 - real)) + mean(max(0, 1 + fake)).

        Args:
            real: Logits of any shape.
            fake: Logits of any shape.

        Returns:
            Loss ().
        """
        return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())

    def generator(self, fake: Tensor) -> Tensor:
        """-mean(fake).

        Args:
            fake: Logits of any shape.

        Returns:
            Loss ().
        """
        return -fake.mean()


class LeastSquares:
    """Least-squares loss: targets 1 for real, 0 for fake, 1 for the generator.

    Reference:
        Mao et al. 2017, arXiv:1611.04076, eq. 9.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Half of mean((real - 1)^2) + mean(fake^2).

        Args:
            real: Logits of any shape.
            fake: Logits of any shape.

        Returns:
            Loss ().
        """
        return 0.5 * ((real - 1).square().mean() + fake.square().mean())

    def generator(self, fake: Tensor) -> Tensor:
        """mean((fake - 1)^2).

        Args:
            fake: Logits of any shape.

        Returns:
            Loss ().
        """
        return (fake - 1).square().mean()


def adaptive_weight(reconstruction_loss: Tensor, adversarial_loss: Tensor, last_layer: Tensor) -> Tensor:
    """Weight that balances the adversarial gradient against the reconstruction's at the decoder's last layer.

    Args:
        reconstruction_loss: Scalar with a graph back to `last_layer`.
        adversarial_loss: Scalar with a graph back to `last_layer`.
        last_layer: Weight of the decoder's last convolution.

    Returns:
        ||grad L_rec|| / (||grad L_adv|| + 1e-4), a scalar without gradient, at most 1e4.

    Reference:
        Esser et al. 2021, arXiv:2012.09841, eq. 7.
    """
    norms = [
        torch.autograd.grad(loss, last_layer, retain_graph=True)[0].norm()
        for loss in (reconstruction_loss, adversarial_loss)
    ]
    return (norms[0] / (norms[1] + 1e-4)).clamp(max=1e4).detach()


class HybridLoss(nn.Module):
    """Weighted sum of pixel, MS-SSIM, perceptual, codebook and adversarial losses.

    Args:
        pixel: Module (reconstruction, target) -> loss (); L1 by default, torch.nn.MSELoss for L2.
        pixel_weight: Factor of the pixel loss.
        ms_ssim_weight: Factor of 1 - MS-SSIM; 0 leaves it out.
        perceptual: Network (reconstruction, target) -> loss; needed where perceptual_weight is not 0, and may be set
            later.
        perceptual_weight: Factor of the perceptual loss; 0 leaves it out.
        codebook_weight: Factor of the quantiser's loss.
        adversarial: LeastSquares by default, or Hinge.
        adversarial_weight: Factor of the generator's adversarial loss; 0 trains without a discriminator.
        adversarial_start: First update, counted from 0, in which the discriminator takes part.
        adaptive: Multiply adversarial_weight by `adaptive_weight`.
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
        """Whether the discriminator takes part in an update.

        Args:
            update: Its number, counted from 0.

        Returns:
            From `adversarial_start` on, if the weight is not 0.
        """
        return self.adversarial_weight > 0 and update >= self.adversarial_start

    def forward(
        self,
        reconstruction: Tensor,
        target: Tensor,
        codebook_loss: Tensor,
        fake_logits: Tensor | None = None,
        last_layer: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss of a batch and its parts.

        Args:
            reconstruction: (B, C, H, W) in [-1, 1].
            target: (B, C, H, W) in [-1, 1].
            codebook_loss: The quantiser's, ().
            fake_logits: The discriminator's on the reconstruction; None before the warm-up has ended.
            last_layer: Weight of the decoder's last convolution, needed when adaptive.

        Returns:
            The total () and the unweighted parts by name; parts of weight 0 are left out.

        Raises:
            ValueError: A perceptual weight without a network, or an adaptive weight without `last_layer`.
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
