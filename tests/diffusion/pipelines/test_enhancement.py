"""The second stage: BS-Diff's sizes, its mean and its draws, and its place in the pipeline and its folder."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from diffusion import BoneSuppressionPipeline, PixelSpace, ThresholdedDDIMScheduler, build_unet
from diffusion.pipelines.enhancement import build_enhancer, enhance, enhancer_multiple

SMALL = {"channels": (8, 16, 16), "residual_blocks": 1, "latent_channels": 2, "norm_groups": 4}


@pytest.fixture
def enhancer():
    torch.manual_seed(1)
    return build_enhancer(**SMALL, attention_levels=(2,))


@pytest.fixture
def stages(enhancer):
    """The first stage alone and with the second, on pixels."""
    torch.manual_seed(0)
    unet = build_unet(1, 1, 8, (1, 2), 1, (), scale_shift=False, norm_groups=4, mid_attention=False, sample_size=16)
    scheduler = ThresholdedDDIMScheduler(prediction_type="sample")
    pipelines = [BoneSuppressionPipeline(PixelSpace(), unet, scheduler, enhancer=e) for e in (None, enhancer)]
    for pipeline in pipelines:
        pipeline.set_progress_bar_config(disable=True)
    return pipelines


def test_the_defaults_are_bs_diffs_sizes():
    with torch.device("meta"):
        network = build_enhancer()
    assert sum(parameter.numel() for parameter in network.parameters()) == 39_466_857
    assert network.encoder.conv_out.out_channels == 2 * 8 and enhancer_multiple(network) == 4
    encoder = [len(getattr(block, "attentions", [])) for block in network.encoder.down_blocks]
    decoder = [len(getattr(block, "attentions", [])) for block in network.decoder.up_blocks]
    assert encoder == [0, 2, 2] and decoder == [3, 3, 0]
    assert [len(block.resnets) for block in network.encoder.down_blocks] == [2, 2, 2]


def test_wrong_sizes_are_told():
    with pytest.raises(ValueError, match=r"attention_levels \[3\] must lie in 0 to 2"):
        build_enhancer(attention_levels=(3,))
    with pytest.raises(ValueError, match="divisible by norm_groups 32"):
        build_enhancer(channels=(16, 32, 64))


def test_the_mean_is_taken_unless_a_generator_draws(enhancer):
    image = torch.rand(2, 1, 16, 16) * 2 - 1
    with torch.no_grad():
        posterior = enhancer.encode(image).latent_dist
        torch.testing.assert_close(enhance(enhancer, image), enhancer.decode(posterior.mean).sample)
        noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(3))
        drawn = enhance(enhancer, image, torch.Generator().manual_seed(3))
        torch.testing.assert_close(drawn, enhancer.decode(posterior.mean + posterior.std * noise).sample)


def test_the_pipeline_enhances_what_the_first_stage_drew(stages, enhancer):
    first, both = stages
    radiograph = torch.rand(2, 1, 16, 24) * 2 - 1
    drawn = first(radiograph, 2, seeds=[5, 6]).soft
    with torch.no_grad():
        expected = enhance(enhancer, drawn).clamp(-1, 1)
    assert (expected - drawn).abs().max() > 0.1
    torch.testing.assert_close(both(radiograph, 2, seeds=[5, 6]).soft, expected)
    tiled = both(radiograph, 2, seeds=[5, 6], tile=16).soft  # tiles meet blended, so only one tile's image is equal
    assert tiled.shape == expected.shape and (tiled - expected).abs().max() > 1e-4
    torch.testing.assert_close(both(radiograph, 2, seeds=[5, 6], tile=24).soft, expected)
    assert (first.size_multiple, both.size_multiple) == (2, 4)
    with pytest.raises(ValueError, match="divisible by 4"):
        both(radiograph[..., :22], 2)


def test_the_folder_holds_both_stages_or_one(stages, enhancer, tmp_path):
    first, both = stages
    radiograph = torch.rand(1, 1, 16, 16) * 2 - 1
    for name, pipeline in (("first", first), ("both", both)):
        pipeline.save_pretrained(tmp_path / name)
        back = BoneSuppressionPipeline.from_pretrained(tmp_path / name)
        back.set_progress_bar_config(disable=True)
        torch.testing.assert_close(back(radiograph, 2).soft, pipeline(radiograph, 2).soft, atol=1e-4, rtol=0)
    index = json.loads((tmp_path / "first/model_index.json").read_text())
    del index["enhancer"]  # a folder from before there were second stages
    (tmp_path / "first/model_index.json").write_text(json.dumps(index))
    assert BoneSuppressionPipeline.from_pretrained(tmp_path / "first").enhancer is None
    joined = BoneSuppressionPipeline.from_pretrained(tmp_path / "first", enhancer=enhancer)
    joined.set_progress_bar_config(disable=True)
    torch.testing.assert_close(joined(radiograph, 2).soft, both(radiograph, 2).soft, atol=1e-4, rtol=0)
    shutil.rmtree(tmp_path / "both/enhancer")
    with pytest.raises(FileNotFoundError, match="lacks enhancer"):
        BoneSuppressionPipeline.from_pretrained(tmp_path / "both")
