"""One network call from radiograph to soft tissue."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from diffusion import build_unet
from diffusion.pipelines.regression import BoneRegressionPipeline, predict_bone


def small_unet(channels: int = 4):
    torch.manual_seed(0)
    return build_unet(
        channels, 0, 8, (1, 2), 1, (), mid_attention=False, residual_resampling=False, scale_shift=False, norm_groups=4
    )


class Half(nn.Module):
    """Half of what it sees, so that the arithmetic around a network can be told."""

    def forward(self, seen, timesteps, return_dict):
        return (seen / 2,)


def test_bone_is_in_the_radiographs_own_units():
    image = torch.rand(2, 1, 16, 16)
    expected = (image - image.mean(dim=(2, 3), keepdim=True)) / 2
    assert torch.allclose(predict_bone(Half(), image, 2), expected, atol=1e-6)


def test_gain_and_offset_of_the_radiograph_do_not_matter():
    pipeline = BoneRegressionPipeline(small_unet(), trained_size=32)
    image = torch.rand(1, 1, 32, 32) * 0.4 - 0.2
    bone, scaled = ((x - pipeline(x).soft) for x in (image, 0.5 * image + 0.1))
    assert bone.abs().max() > 0.01
    assert torch.allclose(scaled, 0.5 * bone, atol=1e-4)


def test_steps_change_nothing_and_a_folder_gives_it_back(tmp_path):
    pipeline = BoneRegressionPipeline(small_unet(), trained_size=32)
    image = torch.rand(1, 1, 32, 32)
    expected = pipeline(image).soft
    pipeline.save_pretrained(tmp_path)
    loaded = BoneRegressionPipeline.from_pretrained(tmp_path)
    assert loaded.trained_size == 32 and loaded.size_multiple == 4
    assert torch.equal(loaded(image, num_inference_steps=50, seeds=[0]).soft, expected)


def test_seeds_vary_size_and_tone_a_little_and_depend_on_nothing_else():
    pipeline = BoneRegressionPipeline(small_unet(), trained_size=32)
    torch.manual_seed(2)
    image = torch.nn.functional.interpolate(torch.rand(1, 1, 6, 6) - 0.5, 64, mode="bicubic").clamp(-1, 1)
    plain, one, two = (pipeline(image, seeds=[seed]).soft for seed in (0, 1, 2))
    bone = (image - plain).std()
    for varied in (one, two):
        assert 0 < (varied - plain).abs().mean() < 1.5 * bone
    both = pipeline(torch.cat([image, image]), seeds=[1, 2]).soft
    torch.testing.assert_close(both, torch.cat([one, two]), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="1 seeds for 2"):
        pipeline(torch.cat([image, image]), seeds=[1])


def test_wrong_shapes_are_told():
    pipeline = BoneRegressionPipeline(small_unet())
    with pytest.raises(ValueError, match="multiples of 4"):
        pipeline(torch.zeros(1, 1, 30, 32))
    with pytest.raises(ValueError, match=r"\(B, 1, H, W\)"):
        pipeline(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="patch 2"):
        BoneRegressionPipeline(small_unet(1))


def test_a_folder_keeps_the_law_of_its_strength(tmp_path):
    law = {"gain": 1.5, "offset": -0.2, "bounds": [0.5, 1.1]}
    BoneRegressionPipeline(small_unet(), trained_size=32, strength=law).save_pretrained(tmp_path)
    assert BoneRegressionPipeline.from_pretrained(tmp_path).strength_law == law
