"""The shortcut starts as a truncated, orthonormal block DCT, and VQGAN with it as the transform alone."""

from __future__ import annotations

import pytest
import torch

from vqgan import VQGAN
from vqgan.shortcut import BlockShortcut, lowest_frequencies


def test_basis_is_orthonormal_and_ordered():
    basis = lowest_frequencies(4, 16).flatten(1)
    torch.testing.assert_close(basis @ basis.T, torch.eye(16), atol=1e-6, rtol=0)
    assert torch.allclose(basis[0], torch.full((16,), 0.25))
    wave = torch.cos(torch.pi * (torch.arange(4) + 0.5) / 4) / 2**0.5 / 2  # frequency 1 along a row
    assert torch.allclose(basis[1].reshape(4, 4), wave.repeat(4, 1), atol=1e-6)


def test_keeps_means_and_loses_nothing_with_all_frequencies():
    image = torch.rand(2, 2, 8, 12)
    whole = BlockShortcut(2, 32, block=4)
    torch.testing.assert_close(whole.decode(whole.encode(image)), image)
    means = BlockShortcut(2, 2, block=4)
    torch.testing.assert_close(means.encode(image), 4 * torch.nn.functional.avg_pool2d(image, 4))


def test_a_fresh_vqgan_is_the_block_transform():
    torch.manual_seed(0)
    model = VQGAN(
        channels=32, channel_multipliers=(1, 2), patch=2, residual_blocks=1, latent_channels=16, shortcut=True
    )
    image = torch.rand(1, 1, 16, 24) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(model.decode(model.encode(image)), image, atol=1e-5, rtol=0)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(model.decode(model.encode(image)), image, atol=1e-5, rtol=0)


def test_both_ways_are_learnt_apart_and_saved(tmp_path):
    torch.manual_seed(0)
    model = VQGAN(channels=32, channel_multipliers=(1,), patch=2, residual_blocks=1, shortcut=True).eval()
    with torch.no_grad():
        model.block_shortcut.analysis.mul_(2)
    assert torch.equal(model.block_shortcut.synthesis[:, 0], lowest_frequencies(2, 4))
    model.save_pretrained(tmp_path)
    image = torch.rand(1, 1, 8, 8)
    assert torch.equal(VQGAN.from_pretrained(tmp_path).encode(image), model.encode(image))


def test_impossible_channels_are_named():
    with pytest.raises(ValueError, match="1 image channels to 5 latent channels in blocks of 2x2"):
        BlockShortcut(1, 5, block=2)
