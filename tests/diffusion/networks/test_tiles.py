"""Blending of tiles: nothing changes where tiles agree, no seam shows where they differ."""

from __future__ import annotations

import itertools

import pytest
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import nn

from diffusion import BoneSuppressionPipeline, PixelSpace, ThresholdedDDIMScheduler, ThresholdedDDPMScheduler
from diffusion.networks.tiles import tile_starts, tiled, window


@pytest.fixture
def image():
    return torch.randn(2, 3, 44, 76, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("length, tile, unit", [(48, 32, 4), (64, 32, 4), (1000, 200, 8), (36, 32, 4), (12, 4, 4)])
def test_tiles_cover_a_side_evenly_and_share_a_quarter(length, tile, unit):
    starts = tile_starts(length, tile, unit)
    assert starts[0] == 0 and starts[-1] == length - tile and all(start % unit == 0 for start in starts)
    gaps = [b - a for a, b in itertools.pairwise(starts)]
    assert max(gaps) <= max(0.75 * tile + unit / 2, unit) and max(gaps) - min(gaps) <= unit
    assert tile_starts(tile, tile, unit) == [0]


def test_tiles_of_twice_the_size_lie_half_a_tile_apart_where_windows_sum_to_one():
    assert tile_starts(64, 32, 4) == [0, 16, 32]
    across = window(31, 32)[15]  # the middle row, of weight 1
    torch.testing.assert_close(across[16:] + across[:16], torch.ones(16))


def test_blending_weights_sum_to_one(image):
    torch.testing.assert_close(tiled(lambda part: part, image, 16, 4), image)
    assert torch.equal(tiled(torch.ones_like, image, 16, 4), torch.ones_like(image))


def test_a_pixelwise_network_gives_the_same_tiled_and_whole(image):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.SiLU(), nn.Conv2d(8, 2, 1))
    with torch.no_grad():
        torch.testing.assert_close(tiled(network, image, 24, 4), network(image))


def test_a_shift_equivariant_network_differs_only_where_tiles_end(image):
    torch.manual_seed(0)
    network = nn.Conv2d(3, 2, 3, padding=1)  # at a tile's edge it sees zeros for neighbours
    with torch.no_grad():
        whole, blended = network(image), tiled(network, image, 32, 4)
    error = (blended - whole).abs()
    assert error.max() < 0.05 * whole.std()  # there the weight is next to nothing
    inner = error[:, :, 1:11, 1:11]  # one tile alone
    assert inner.max() < 1e-6


def test_scales_of_encoders_and_decoders(image):
    down = tiled(lambda part: nn.functional.pixel_unshuffle(part, 4), image, 24, 4)
    torch.testing.assert_close(down, nn.functional.pixel_unshuffle(image, 4))
    up = tiled(lambda part: nn.functional.pixel_shuffle(part, 4), down, 6, 1)
    torch.testing.assert_close(up, image)


def test_tiles_that_differ_meet_without_a_seam():
    seen = []

    def number(part):
        seen.append(part.shape)
        return torch.full_like(part, float(len(seen)))

    blended = tiled(number, torch.zeros(1, 1, 32, 80), 32, 4)[0, 0, 0]
    assert len(seen) == 3 and blended[0] == 1 and blended[-1] == 3
    steps = blended.diff()
    assert (steps >= -1e-5).all() and steps.max() < 0.25  # a rise of 2 spread over the overlaps


def test_no_call_sees_more_than_a_tile(image):
    sizes = []

    def watch(part):
        sizes.append(part.shape[2:])
        return part

    tiled(watch, image, 16, 4)
    assert set(sizes) == {(16, 16)}
    with pytest.raises(ValueError, match="tile is 18; it must be a multiple of 4"):
        tiled(watch, image, 18, 4)


class Pixelwise(ModelMixin, ConfigMixin):
    """A shift-equivariant denoiser in a U-Net's place."""

    size_multiple = 4

    @register_to_config
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Conv2d(2, 8, 1), nn.SiLU(), nn.Conv2d(8, 1, 1))
        self.seen: set = set()

    def forward(self, inputs, timestep):
        self.seen.add(tuple(inputs.shape[2:]))
        return UNet2DOutput(sample=self.layers(inputs))


@pytest.mark.parametrize("scheduler", [ThresholdedDDIMScheduler, ThresholdedDDPMScheduler])
def test_sampling_in_tiles_with_a_shift_equivariant_network(scheduler):
    network = Pixelwise()
    pipeline = BoneSuppressionPipeline(PixelSpace(), network, scheduler())
    pipeline.set_progress_bar_config(disable=True)
    radiograph = torch.rand(1, 1, 40, 56, generator=torch.Generator().manual_seed(3)) * 2 - 1
    whole = pipeline(radiograph, num_inference_steps=4, seeds=[5]).soft
    network.seen.clear()
    blended = pipeline(radiograph, num_inference_steps=4, seeds=[5], tile=24).soft
    assert network.seen == {(24, 24)}
    torch.testing.assert_close(blended, whole, atol=1e-5, rtol=0)
    assert torch.equal(pipeline(radiograph, num_inference_steps=4, seeds=[5], tile=24).soft, blended)


def test_an_image_that_one_tile_covers_goes_through_in_one_pass(pipeline):
    radiograph = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(3)) * 2 - 1
    whole = pipeline(radiograph, num_inference_steps=3).soft
    assert torch.equal(pipeline(radiograph, num_inference_steps=3, tile=16).soft, whole)
    tiles = pipeline(radiograph, num_inference_steps=3, tile=8).soft
    assert tiles.isfinite().all() and (tiles - whole).abs().max() > 1e-3  # this network looks about
    with pytest.raises(ValueError, match="tile is 6; it must be a multiple of 4"):
        pipeline(radiograph, tile=6)
