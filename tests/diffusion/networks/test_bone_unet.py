"""A network that is blind to the display's tone."""

from __future__ import annotations

import pytest
import torch

from diffusion.networks.bone_unet import BoneUNet, fine_part, gaussian_blur
from diffusion.pipelines.regression import BoneRegressionPipeline


@pytest.fixture
def network() -> BoneUNet:
    torch.manual_seed(0)
    made = BoneUNet((8, 16, 16), sigma=8.0).eval()
    with torch.no_grad():
        made.last.weight.normal_(0, 0.1)
    return made


@pytest.fixture
def image() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(1, 1, 64, 96) - 0.5


def test_wide_blur_is_close_to_a_gaussian():
    impulse = torch.zeros(1, 1, 128, 128)
    impulse[0, 0, 62:66, 62:66] = 1 / 16
    blurred = gaussian_blur(impulse, 12.0)[0, 0]
    assert blurred.sum().item() == pytest.approx(1, abs=1e-3)
    place = torch.arange(128) - 63.5
    variance = (blurred.sum(0) * place.square()).sum().item()
    assert variance == pytest.approx(12**2 + 4 * 16 / 12, rel=0.05)
    assert torch.allclose(gaussian_blur(torch.full((1, 1, 50, 70), 0.3), 12.0), torch.tensor(0.3))


def test_fine_part_leaves_a_tenth_of_what_is_wide():
    wide = torch.full((1, 1, 64, 64), 2.0)
    assert torch.allclose(fine_part(wide, 8.0, 0.9), torch.tensor(0.2), atol=1e-6)
    stripes = torch.zeros(1, 1, 64, 64)
    stripes[..., ::4] = 1
    assert torch.allclose(fine_part(stripes, 8.0, 0.9) - stripes, torch.tensor(-0.9 * 0.25), atol=1e-3)


def test_bone_scales_with_the_displays_contrast_and_ignores_its_offset(network, image):
    bone = network(image)
    assert bone.shape == image.shape and bone.abs().max() > 1e-3
    torch.testing.assert_close(network(0.3 * image + 0.4), 0.3 * bone, atol=1e-5, rtol=1e-3)


def test_bone_is_measured_by_what_is_around_it(network, image):
    """A part of the picture in half the contrast shows about half the bone there, and as much as before elsewhere."""
    quiet = image.clone()
    quiet[..., :48] *= 0.5
    with torch.no_grad():
        loud, soft = network(image), network(quiet)
    assert soft[..., :24].std() < 0.65 * loud[..., :24].std()
    assert soft[..., 72:].std() > 0.8 * loud[..., 72:].std()


def test_jitter_is_for_training_alone(network, image):
    torch.testing.assert_close(network(image), network(image))
    network.train()
    assert not torch.allclose(network(image), network(image))


def test_tiles_are_standardised_as_a_whole():
    """A network of one-pixel convolutions does not see its neighbours: in tiles it answers as it does whole."""
    torch.manual_seed(0)
    made = BoneUNet((8,), sigma=8.0).eval()
    centre = torch.zeros(3, 3)
    centre[1, 1] = 1
    with torch.no_grad():
        made.last.weight.normal_(0, 0.1)
        for module in made.modules():
            if isinstance(module, torch.nn.Conv2d) and module.kernel_size == (3, 3):
                module.weight.mul_(centre)
        for module in list(made.down.modules()):
            if isinstance(module, torch.nn.Sequential):
                module[1] = module[4] = torch.nn.Identity()  # group norm looks at the whole
        image = torch.rand(1, 1, 64, 64) - 0.5
        torch.testing.assert_close(made(image, tile=32), made(image), atol=1e-5, rtol=1e-4)


def test_a_folder_gives_the_pipeline_back(network, image, tmp_path):
    law = {"gain": 0.5, "offset": 0.4, "bounds": [0.8, 1.6]}
    pipeline = BoneRegressionPipeline(network, 2, 64, flips=True, detail_size=128, strength=law)
    expected = pipeline(image).soft
    pipeline.save_pretrained(tmp_path)
    loaded = BoneRegressionPipeline.from_pretrained(tmp_path)
    assert loaded.size_multiple == 8 and loaded.trained_size == 64 and dict(loaded.config["strength"]) == law
    assert torch.equal(loaded(image).soft, expected)
    mirrored = loaded(image.flip(-1)).soft.flip(-1)
    torch.testing.assert_close(mirrored, expected, atol=1e-5, rtol=1e-4)


def test_channels_must_fit_the_norms():
    with pytest.raises(ValueError, match="divisible by groups 8"):
        BoneUNet((12, 16))
