"""The correction that a site's own pairs teach."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from diffusion.networks.bone_unet import BoneUNet
from diffusion.networks.site_network import FRAME, band_images, frame_images
from diffusion.networks.site_regions import REGIONS, blurred, region_maps
from diffusion.networks.site_unet import SiteUNet
from diffusion.pipelines.regression import BoneRegressionPipeline


def awake(network: torch.nn.Module) -> torch.nn.Module:
    """A network whose last layer answers something."""
    torch.manual_seed(1)
    torch.nn.init.normal_(network.last.weight, std=0.1)
    return network.eval()


def test_a_new_one_takes_nothing_and_its_answer_is_in_the_radiographs_units():
    image, bone = torch.rand(2, 1, 96, 64) - 0.5, 0.1 * torch.rand(2, 1, 96, 64)
    assert not SiteUNet((8, 16), 32).eval()(image, bone).any()
    site = awake(SiteUNet((8, 16), 32))
    answer = site(image, bone)
    assert answer.shape == image.shape and answer.std() > 1e-3
    torch.testing.assert_close(site(0.5 * image + 0.2, 0.5 * bone), 0.5 * answer, atol=1e-5, rtol=1e-4)


def test_it_is_the_same_at_another_size_of_the_image():
    site = awake(SiteUNet((8, 16), 32))
    small = torch.nn.functional.interpolate(torch.rand(1, 1, 8, 8), 64, mode="bicubic") - 0.5
    large = torch.nn.functional.interpolate(small, 128, mode="bicubic")
    answers = [site(image, torch.zeros_like(image)) for image in (small, large)]
    shrunk = torch.nn.functional.interpolate(answers[1], 64, mode="bicubic", antialias=True)
    assert (shrunk - answers[0]).abs().mean() < 0.1 * answers[0].std()


def test_the_pipeline_takes_both_away_and_a_folder_gives_it_back(tmp_path):
    network, site = awake(BoneUNet((8, 16), sigma=8.0)), awake(SiteUNet((8, 16), 32))
    image = 0.4 * torch.rand(1, 1, 64, 64) - 0.2
    plain = BoneRegressionPipeline(network, 2, 64).bone(image)
    pipeline = BoneRegressionPipeline(network, 2, 64, site=site)
    with torch.no_grad():
        torch.testing.assert_close(pipeline.bone(image), plain + site(image, plain))
        mirrored = (pipeline.bone(image) + pipeline.bone(image.flip(-1)).flip(-1)) / 2
        torch.testing.assert_close(pipeline.bone(image, flips=True), mirrored)
        pipeline.save_pretrained(tmp_path)
        assert torch.equal(BoneRegressionPipeline.from_pretrained(tmp_path).bone(image), pipeline.bone(image))


def test_bands_add_up_and_scale_with_the_image():
    torch.manual_seed(0)
    image = torch.rand(2, 1, 64, 64) - 0.5
    made = band_images(image, (8.0, 16.0, 32.0))  # of 512: 1, 2 and 4 pixels
    assert made.shape == (2, 4, 64, 64)
    torch.testing.assert_close(made.sum(dim=1, keepdim=True), image, atol=1e-6, rtol=0)
    waves = torch.cos(torch.arange(64) * 2 * torch.pi / 8).expand(1, 1, 64, 64)  # of 8 pixels
    kept = torch.exp(-0.5 * (2 * torch.pi * torch.tensor([0.0, 1.0, 2.0, 4.0]) / 8) ** 2)
    for band, share in zip(band_images(waves, (8.0, 16.0, 32.0))[0], [*(kept[:-1] - kept[1:]), kept[-1]]):
        torch.testing.assert_close(band[:, 16:48], share * waves[0, 0, :, 16:48], atol=0.01, rtol=0)
    flat = band_images(torch.full((1, 1, 32, 48), 0.3), (16.0, 32.0))
    assert not flat[:, :-1].abs().gt(1e-6).any() and torch.allclose(flat[:, -1], torch.tensor(0.3))


def test_a_wide_blur_is_that_of_the_whole_grid():
    y, x = np.mgrid[:200, :256].astype(np.float32)
    image = np.sin(x / 25) + np.cos(y / 18)
    wide = blurred(torch.from_numpy(image)[None, None], 40.0)[0, 0].numpy()  # 20 of its own pixels: on a smaller grid
    exact = cv2.GaussianBlur(image, (0, 0), 20.0, borderType=cv2.BORDER_REFLECT_101)
    inside = (slice(40, -40),) * 2
    np.testing.assert_allclose(wide[inside], exact[inside], atol=0.03 * exact.std())
    np.testing.assert_allclose(wide, exact, atol=0.15 * exact.std())


def test_bands_are_weighed_by_region_at_full_size_and_seen_by_the_network():
    site = awake(SiteUNet((8, 16), 32, widths=(8.0, 16.0)))
    torch.nn.init.normal_(site.weights)
    image, bone = torch.from_numpy(chest())[None, None], 0.1 * torch.rand(1, 1, 96, 96)
    maps = region_maps(image)[0]
    images = torch.cat([*(band_images(one, (8.0, 16.0))[0] for one in (image, bone)), torch.ones(1, 96, 96)])
    taken = sum(maps[region] * (site.weights[region][:, None, None] * images).sum(dim=0) for region in range(REGIONS))
    torch.testing.assert_close(site.weighted_bands(image, bone)[0, 0], taken)
    torch.testing.assert_close(site(image, bone)[0, 0], taken + site.learned(image, bone + taken)[0, 0])
    with torch.autocast("cpu", torch.bfloat16):  # as suppress --precision bfloat16: the bands stay exact
        torch.testing.assert_close(site.weighted_bands(image, bone)[0, 0], taken)
    assert "weights" not in SiteUNet((8, 16), 32).state_dict()


def chest(side: int = 96) -> np.ndarray:
    """Bright walls and middle, two dark lungs, black air."""
    image = np.full((side, side), 0.5, np.float32)
    image[:4] = image[:, :6] = image[:, -6:] = -0.9
    for left, right in ((16, 42), (54, 80)):
        image[14:80, left:right] = -0.5
    return cv2.GaussianBlur(image, (0, 0), 2)


def test_regions_lie_where_they_should_and_add_up():
    maps = region_maps(torch.from_numpy(np.stack([chest(), np.zeros((96, 96), np.float32)]))[:, None])
    assert maps.shape == (2, REGIONS, 96, 96) and maps.min() > -1e-5
    torch.testing.assert_close(maps.sum(dim=1), torch.ones(2, 96, 96))
    lungs, _, bright_between, black, _, bright = maps[0]
    assert lungs[46, 28] > 0.95 and lungs[46, 68] > 0.95 and bright_between[46, 48] > 0.5
    assert black[46, 1] > 0.8 and bright[90, 48] > 0.5
    assert (maps[1, 0] == 1).all()  # no lungs are found: all is treated as carefully as lungs


def test_the_frame_is_what_is_brighter_at_the_border_alone():
    image = torch.zeros(1, 1, 512, 512)
    image[..., 0], image[..., -2, :] = 0.5, 0.25  # the outermost column, the last row but one
    lines = frame_images(image)[0].view(4, FRAME, 512, 512)
    assert lines[2, 0, 100:400, 0].min() > 0.4 and lines[1, 1, 510, 100:400].min() > 0.2
    assert not lines[2, 0, :, 1:].any() and not lines[1, 1, :510].any()
    assert lines[0, :, :4, 100:400].abs().max() < 0.02 and lines[3, :, 100:400].abs().max() < 0.02
    site = SiteUNet((8, 16), 32, widths=(8.0,)).eval()
    site.frame_weights[2 * FRAME] = 1.0
    assert torch.equal(site.weighted_bands(image, image)[0, 0], lines[2, 0])


def test_a_size_that_the_levels_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="size 60: 4 levels need a multiple of 8"):
        SiteUNet((8, 8, 8, 8), 60)
