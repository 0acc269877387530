"""How strongly a site shows fine bands."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from diffusion.networks.site_network import band_images
from lightning_modules.data.adaptation import SitePair
from radiolucent.suppression.site_bands import WIDTHS, fit_bands

SIDE = 256


def bone_in(radiograph: np.ndarray) -> np.ndarray:
    """What some model takes away: what is bright and 2 to 6 pixels wide."""
    return (0.5 * (cv2.GaussianBlur(radiograph, (0, 0), 1.0) - cv2.GaussianBlur(radiograph, (0, 0), 3.0))).clip(0)


def pairs(weights: np.ndarray, lungs: bool) -> list[SitePair]:
    """Of a site that lacks so much of each band, and whose soft tissue has a coarse shading of its own."""
    made = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=(SIDE, SIDE)).astype(np.float32)
        radiograph = 0.05 * noise + 0.5 * cv2.GaussianBlur(noise, (0, 0), 3.0) + cv2.GaussianBlur(noise, (0, 0), 20.0)
        bone = bone_in(radiograph)
        both = torch.from_numpy(np.stack([radiograph, bone]))[:, None]
        fine = (torch.from_numpy(weights)[:, :, None, None] * band_images(both, WIDTHS)).sum(dim=(0, 1)).numpy()
        soft = radiograph - bone - fine - 0.3 * cv2.GaussianBlur(radiograph, (0, 0), 16.0) + 0.1
        mask = np.zeros((SIDE, SIDE), bool)
        mask[32:224, 32:224] = True
        made.append(SitePair(str(seed), radiograph, soft.astype(np.float32), mask if lungs else None))
    return made


@pytest.mark.parametrize("lungs", [False, True], ids=["without lungs", "with nodules"])
def test_a_sites_own_weights_are_found(lungs):
    weights = np.float32([[0.6, 0.4, 0.2, 0.1, 0.3, 0.0], [0.5, -0.3, 0.4, 0.0, 0.2, 0.3]])
    found = fit_bands(bone_in, pairs(weights, lungs), SIDE, np.random.default_rng(0))
    assert found.shape == (2, len(WIDTHS)) and found.dtype == torch.float32
    np.testing.assert_allclose(found[0], weights[0], atol=0.1)
    if not lungs:  # nodules are bone to this model, and shall stay
        np.testing.assert_allclose(found[1, :4], weights[1, :4], atol=0.1)
    nothing = fit_bands(bone_in, pairs(0 * weights, lungs), SIDE, np.random.default_rng(0))
    np.testing.assert_allclose(nothing[0], 0, atol=0.02)
    np.testing.assert_allclose(nothing[1, :4], 0, atol=0.15)  # of the bone there is little, of what is wide none
