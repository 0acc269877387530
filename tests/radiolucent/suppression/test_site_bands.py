"""How strongly a site shows the bands of radiograph and bone, found from its pairs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from diffusion.networks.site_unet import SiteUNet
from lightning_modules.data.adaptation import SitePair, nodules_for
from radiographs.lungs import lung_mask
from radiolucent.suppression import site_bands
from radiolucent.suppression.site_bands import WIDTHS, fit_bands

SIDE = 256


def bone_in(radiograph: np.ndarray) -> np.ndarray:
    """What some model takes away: what is bright and 2 to 6 pixels wide."""
    return (0.5 * (cv2.GaussianBlur(radiograph, (0, 0), 1.0) - cv2.GaussianBlur(radiograph, (0, 0), 3.0))).clip(0)


def true_site() -> SiteUNet:
    """A site whose soft tissue is smoother, most of all outside of the lungs, and darker in the abdomen."""
    site = SiteUNet((8, 16), 32, widths=WIDTHS).eval()
    bands = len(WIDTHS) + 1
    site.weights[0, 1:4] = 0.3
    site.weights[1:, 0:4] = 0.6
    site.weights[0, bands + 1 : bands + 4] = 0.5
    site.weights[5, -1] = 0.1
    return site


def chest(seed: int) -> np.ndarray:
    """Bright walls and middle, two dark lungs, black air, and texture."""
    rng = np.random.default_rng(seed)
    image = np.full((SIDE, SIDE), 0.4, np.float32)
    image[:10] = image[:, :16] = image[:, -16:] = -0.8
    for left, right in ((42, 112), (144, 214)):
        image[40:210, left:right] = -0.45
    noise = rng.normal(size=image.shape).astype(np.float32)
    texture = sum(
        weight * cv2.GaussianBlur(noise, (0, 0), sigma) for weight, sigma in ((0.02, 0.5), (0.15, 2.0), (0.4, 8.0))
    )
    return (cv2.GaussianBlur(image, (0, 0), 4) + texture).clip(-1, 1)


def taken(site: SiteUNet, radiograph: np.ndarray) -> np.ndarray:
    """What a site's bands take from a radiograph besides the model's bone."""
    images = (torch.from_numpy(image)[None, None] for image in (radiograph, bone_in(radiograph)))
    return site.weighted_bands(*images)[0, 0].numpy()


@pytest.fixture(autouse=True)
def few_nodules(monkeypatch):
    monkeypatch.setattr(site_bands, "VARIANTS", 8)


def fitted(survival_weight: float, lungs: bool = True) -> SiteUNet:
    """A correction whose bands are found from two pairs of the true site."""
    pairs = []
    for seed in range(2):
        radiograph = chest(seed)
        soft = radiograph - bone_in(radiograph) - taken(true_site(), radiograph)
        pairs.append(SitePair(str(seed), radiograph, soft, lung_mask(radiograph) if lungs else None))
    site = SiteUNet((8, 16), 32, widths=WIDTHS).eval()
    found = fit_bands(bone_in, pairs, SIDE, survival_weight, np.random.default_rng(0))
    for buffer, values in zip((site.weights, site.frame_weights), found):
        assert values.dtype == torch.float32
        buffer.copy_(values)
    return site


def kept(site: SiteUNet, seed: int = 7) -> float:
    """The part of nodules' signal that model and bands leave in another radiograph."""
    plain = chest(seed)
    pair = SitePair("other", plain, plain, lung_mask(plain))
    radiograph = plain + nodules_for(pair, np.random.default_rng(1))
    added = radiograph - plain
    left = added - (bone_in(radiograph) - bone_in(plain)) - (taken(site, radiograph) - taken(site, plain))
    return float((left * added).sum() / (added**2).sum())


@pytest.mark.parametrize("lungs", [False, True], ids=["without lungs", "with lungs"])
def test_what_a_site_takes_is_found_from_two_of_its_pairs(lungs):
    other = chest(7)
    expected, found = taken(true_site(), other), taken(fitted(0.0, lungs), other)
    assert np.abs(found - expected)[4:-4, 4:-4].mean() < 0.05 * np.abs(expected).mean()


def test_nodules_that_would_be_lost_are_kept():
    without, protected = fitted(0.0), fitted(1.0)
    assert kept(without) < 0.8 and kept(protected) > kept(without) + 0.1
    other = chest(7)
    expected = taken(true_site(), other)
    outside = ~lung_mask(other)
    for site in (without, protected):  # what is far from the lungs is taken as before
        assert np.abs(taken(site, other) - expected)[outside].mean() < 0.35 * np.abs(expected)[outside].mean()


def test_what_a_site_leaves_alone_is_left_alone():
    radiograph = chest(0)
    pairs = [SitePair("0", radiograph, radiograph - bone_in(radiograph), lung_mask(radiograph))]
    weights, frame = fit_bands(bone_in, pairs, SIDE, 0.0, np.random.default_rng(0))
    assert weights.abs().max() < 1e-6 and frame.abs().max() < 1e-6
