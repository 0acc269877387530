"""The correction that a site's own pairs teach."""

from __future__ import annotations

import pytest
import torch

from diffusion.networks.bone_unet import BoneUNet
from diffusion.networks.site_network import band_images
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
    assert made.shape == (2, 3, 64, 64)
    torch.testing.assert_close(band_images(image, (32.0,)), made.sum(dim=1, keepdim=True), atol=1e-6, rtol=0)
    waves = torch.cos(torch.arange(64) * 2 * torch.pi / 8).expand(1, 1, 64, 64)  # of 8 pixels
    kept = torch.exp(-0.5 * (2 * torch.pi * torch.tensor([0.0, 1.0, 2.0, 4.0]) / 8) ** 2)
    for band, share in zip(band_images(waves, (8.0, 16.0, 32.0))[0], kept[:-1] - kept[1:]):
        torch.testing.assert_close(band[:, 16:48], share * waves[0, 0, :, 16:48], atol=0.01, rtol=0)
    assert not band_images(torch.full((1, 1, 32, 48), 0.3), (16.0, 32.0)).abs().gt(1e-6).any()


def test_bands_are_taken_at_full_size_and_seen_by_the_network():
    site = awake(SiteUNet((8, 16), 32, widths=(8.0, 16.0)))
    site.weights.copy_(torch.tensor([[0.5, 0.25], [-0.5, 1.0]]))
    image, bone = torch.rand(1, 1, 96, 64) - 0.5, 0.1 * torch.rand(1, 1, 96, 64)
    weights = site.weights.reshape(2, 1, 2, 1, 1)
    taken = (weights * torch.stack([band_images(one, (8.0, 16.0)) for one in (image, bone)])).sum(dim=(0, 2))[:, None]
    torch.testing.assert_close(site.weighted_bands(image, bone), taken)
    torch.testing.assert_close(site(image, bone), taken + site.learned(image, bone + taken))
    assert "weights" not in SiteUNet((8, 16), 32).state_dict()  # folders of before open


def test_a_size_that_the_levels_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="size 60: 4 levels need a multiple of 8"):
        SiteUNet((8, 8, 8, 8), 60)
