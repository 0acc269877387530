"""GL-LCM's lung path: the lungs alone are sampled beside the whole image and set into it (arXiv 2508.03357).

As its batch_lcm_eval.py does: the radiograph with all but the lungs blackened goes the same way from the same noise,
its network's answer strengthened by local-enhanced guidance; the result is set in by Poisson fusion (Perez et al., ACM
TOG 2003, eq. 3), so that its detail stays and no edge shows. (The code brings both to one mean in the lungs before,
which the fusion does not see.) The network must have been trained on such blackened pairs besides whole ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from diffusers.models.unets.unet_2d import UNet2DOutput
from scipy.fft import dstn, idstn
from torch import Tensor

from diffusion.contracts import Denoiser
from diffusion.noise import seeded_generators, seeded_noise

BLACK = -1.0
SPECK = 1e-4  # share of the image below which a part of the mask is left out: GL-LCM's 100 pixels of 1024 x 1024
EDGE = 3  # pixels, as OpenCV takes off: there the local image still knows of the black outside
GUIDANCE_SEEDS = 2**31  # keeps the guidance's noise apart from the sampler's; torch takes a seed modulo 2**32


@dataclass(frozen=True)
class LocalGuidance:
    """A denoising network under local-enhanced guidance: scale e + (1 - scale) n / std(e), e its answer, n white noise.

    So GL-LCM's code guides, away from noise instead of from an unconditional answer. For epsilon prediction.

    Attributes:
        network: Called as network(inputs, timestep), and answers with `.sample`.
        scale: 1 changes nothing; GL-LCM takes 3.
        seeds: One an image; the noise of image i comes from seeds[i].
        generators: Made of the seeds.
    """

    network: Denoiser
    scale: float
    seeds: Sequence[int]
    generators: list[torch.Generator] = field(init=False)

    def __post_init__(self) -> None:
        generators = seeded_generators([seed + GUIDANCE_SEEDS for seed in self.seeds])
        object.__setattr__(self, "generators", generators)

    @property
    def dtype(self) -> torch.dtype:
        """The network's precision."""
        return self.network.dtype

    def __call__(self, inputs: Tensor, timestep: Tensor) -> UNet2DOutput:
        """The guided answer `.sample` (B, C, h, w) to inputs (B, C + Cc, h, w) at a timestep."""
        answer = self.network(inputs, timestep).sample.float()
        noise = seeded_noise(self.generators, answer.shape[1:], answer.device)
        spread = answer.std(dim=(1, 2, 3), keepdim=True)
        return UNet2DOutput(sample=self.scale * answer + (1 - self.scale) * noise / spread)


def lungs_only(radiograph: Tensor, lungs: Tensor) -> Tensor:
    """A radiograph that is black outside the lungs.

    Args:
        radiograph: (B, 1, H, W) in [-1, 1].
        lungs: (B, 1, H, W), bool.

    Returns:
        (B, 1, H, W), -1 where `lungs` is false.
    """
    return torch.where(lungs, radiograph, BLACK)


def check_lungs(lungs: Tensor, radiograph: Tensor) -> None:
    """Check a mask of the lungs.

    Args:
        lungs: Expected: bool, of the radiograph's shape, with something inside each mask.
        radiograph: (B, 1, H, W).

    Raises:
        ValueError: It is something else.
    """
    if not torch.is_tensor(lungs) or lungs.dtype != torch.bool or lungs.shape != radiograph.shape:
        what = f"{tuple(lungs.shape)} {lungs.dtype}" if torch.is_tensor(lungs) else type(lungs).__name__
        raise ValueError(f"the lung mask is {what}; expected a bool tensor {tuple(radiograph.shape)}")
    if not lungs.flatten(1).any(1).all():
        raise ValueError("a lung mask is empty; give one with the lungs inside, or none")


def fuse(whole: Tensor, local: Tensor, lungs: Tensor) -> Tensor:
    """Set one image into the lungs of another, without an edge.

    Args:
        whole: Soft-tissue images (B, 1, H, W).
        local: What is set into the lungs, of that shape.
        lungs: Where, bool, of that shape.

    Returns:
        (B, 1, H, W).
    """
    images = []
    for background, patch, mask in zip(whole[:, 0], local[:, 0], lungs[:, 0]):
        inside = without_specks(mask.cpu().numpy())
        images.append(poisson_fusion(background.cpu().numpy(), patch.cpu().numpy(), inside))
    return torch.from_numpy(np.stack(images))[:, None].to(whole)


def without_specks(mask: np.ndarray) -> np.ndarray:
    """Drop what is too small to be a lung.

    Args:
        mask: (H, W), bool.

    Returns:
        The mask without parts of less than SPECK of the image.
    """
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    kept = statistics[:, cv2.CC_STAT_AREA] >= SPECK * mask.size
    kept[0] = False  # the background
    return kept[labels]


def poisson_fusion(background: np.ndarray, patch: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image whose gradients are the patch's inside the mask, the background's elsewhere.

    As OpenCV's seamlessClone, without its rounding to 8 bits: EDGE pixels come off the mask first, and what is solved
    for is the change u of the background, laplace(u) = div(m grad(patch - background)), u = 0 on the border of the
    mask's bounding box, by the sine transform. A constant added to the patch has no effect.

    Args:
        background: (H, W).
        patch: (H, W).
        mask: (H, W), bool.

    Returns:
        (H, W), float32.

    Reference:
        Perez et al., ACM TOG 2003, eq. 3.
    """
    fused = background.astype(np.float32)  # a copy
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    if min(width, height) <= 2 * EDGE:
        return fused
    box = slice(top, top + height), slice(left, left + width)
    inside = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=EDGE)[box]
    change = patch[box].astype(np.float64) - background[box]
    down = np.diff(change, axis=0) * inside[:-1]
    right = np.diff(change, axis=1) * inside[:, :-1]
    divergence = np.diff(down, axis=0)[:, 1:-1] + np.diff(right, axis=1)[1:-1]
    waves = [2 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1)) - 2 for n in divergence.shape]
    solved = idstn(dstn(divergence, type=1) / (waves[0][:, None] + waves[1]), type=1)
    fused[top + 1 : top + height - 1, left + 1 : left + width - 1] += solved
    return fused
