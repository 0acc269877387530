from __future__ import annotations

import pytest
import torch

from diffusion import build_unet


def test_published_sizes():
    """BS-LDM: 128 channels times 1,1,2,2,4,4, 8 residual blocks, attention where the latent is 16, 8 and 4 wide."""
    with torch.device("meta"):
        unet = build_unet()
    assert unet.config.block_out_channels == (128, 128, 256, 256, 512, 512)
    assert (unet.config.in_channels, unet.config.out_channels, unet.config.layers_per_block) == (8, 4, 8)
    attends = [any("attentions" in name for name, _ in block.named_modules()) for block in unet.down_blocks]
    assert attends == [False, False, False, True, True, True]
    assert unet.down_blocks[5].attentions[0].heads == 8
    assert unet.mid_block.attentions[0].group_norm is not None
    assert sum(p.numel() for p in unet.parameters()) == guided_diffusion_parameters()


def guided_diffusion_parameters() -> int:
    """Counted from the architecture as Dhariwal and Nichol describe it, with four output channels."""
    temb, width, blocks = 512, [128, 128, 256, 256, 512, 512], 8

    def residual(cin: int, cout: int) -> int:
        skip = cin * cout + cout if cin != cout else 0
        return 2 * cin + 9 * cin * cout + cout + (temb + 1) * 2 * cout + 2 * cout + 9 * cout**2 + cout + skip

    def attention(c: int) -> int:
        return 2 * c + 4 * (c**2 + c)

    total = 128 * temb + temb + temb**2 + temb + 9 * 8 * 128 + 128  # time embedding, first convolution
    skips, c = [128], 128
    for level, w in enumerate(width):
        for _ in range(blocks):
            total += residual(c, w) + (attention(w) if level >= 3 else 0)
            c = w
            skips.append(c)
        if level < 5:
            total += residual(c, c)
            skips.append(c)
    total += 2 * residual(c, c) + attention(c)
    for level, w in reversed(list(enumerate(width))):
        for _ in range(blocks + 1):
            total += residual(c + skips.pop(), w) + (attention(w) if level >= 3 else 0)
            c = w
        total += residual(c, c) if level else 0
    return total + 2 * 128 + 9 * 128 * 4 + 4


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="attention_levels"):
        build_unet(multipliers=(1, 2), attention_levels=(2,))
    with pytest.raises(ValueError, match="norm_groups"):
        build_unet(base_channels=16, multipliers=(1,), attention_levels=(), norm_groups=32)
