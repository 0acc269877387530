"""The module structure of guided-diffusion's UNetModel (as BS-LDM, GL-LCM and CompVis have it), for tests."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F


class TimestepEmbedSequential(nn.Sequential):
    def forward(self, x, emb):
        for layer in self:
            x = layer(x, emb) if isinstance(layer, ResBlock) else layer(x)
        return x


class Upsample(nn.Module):
    def __init__(self, channels, use_conv):
        super().__init__()
        self.use_conv = use_conv
        if use_conv:
            self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return self.conv(x) if self.use_conv else x


class Downsample(nn.Module):
    def __init__(self, channels, use_conv):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1) if use_conv else nn.AvgPool2d(2)

    def forward(self, x):
        return self.op(x)


class ResBlock(nn.Module):
    def __init__(self, channels, emb_channels, out_channels, use_scale_shift_norm, up=False, down=False):
        super().__init__()
        self.use_scale_shift_norm = use_scale_shift_norm
        self.in_layers = nn.Sequential(
            nn.GroupNorm(32, channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.updown = up or down
        resample = Upsample if up else Downsample
        self.h_upd = resample(channels, False) if self.updown else nn.Identity()
        self.x_upd = resample(channels, False) if self.updown else nn.Identity()
        factor = 2 if use_scale_shift_norm else 1
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, factor * out_channels))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, out_channels),
            nn.SiLU(),
            nn.Dropout(0.0),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        same = channels == out_channels
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x, emb):
        h = self.in_layers[2](self.h_upd(self.in_layers[:2](x)))
        x = self.x_upd(x)
        emb = self.emb_layers(emb)[..., None, None]
        if self.use_scale_shift_norm:
            scale, shift = emb.chunk(2, dim=1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + emb)
        return self.skip_connection(x) + h


def attend(q, k, v):
    """Each (B * heads, channels of a head, positions)."""
    weight = torch.einsum("bct,bcs->bts", q, k) / math.sqrt(q.shape[1])
    return torch.einsum("bts,bcs->bct", weight.softmax(-1), v)


class QKVAttentionLegacy(nn.Module):
    """Splits the heads first, then q, k and v."""

    def __init__(self, n_heads):
        super().__init__()
        self.n_heads = n_heads

    def forward(self, qkv):
        batch, width, length = qkv.shape
        channels = width // (3 * self.n_heads)
        q, k, v = qkv.reshape(batch * self.n_heads, 3 * channels, length).split(channels, dim=1)
        return attend(q, k, v).reshape(batch, -1, length)


class QKVAttention(nn.Module):
    """Splits q, k and v first, then the heads."""

    def __init__(self, n_heads):
        super().__init__()
        self.n_heads = n_heads

    def forward(self, qkv):
        batch, width, length = qkv.shape
        shape = (batch * self.n_heads, width // (3 * self.n_heads), length)
        q, k, v = (part.reshape(shape) for part in qkv.chunk(3, dim=1))
        return attend(q, k, v).reshape(batch, -1, length)


class AttentionBlock(nn.Module):
    def __init__(self, channels, num_heads, use_new_attention_order):
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.GroupNorm(32, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.attention = (QKVAttention if use_new_attention_order else QKVAttentionLegacy)(num_heads)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x):
        flat = x.flatten(2)
        return (flat + self.proj_out(self.attention(self.qkv(self.norm(flat))))).reshape(x.shape)


class UNetModel(nn.Module):
    """attention_resolutions: downsampling factors, in which guided-diffusion counts."""

    def __init__(
        self,
        image_size,
        in_channels,
        model_channels,
        out_channels,
        num_res_blocks,
        attention_resolutions,
        channel_mult,
        num_heads,
        use_scale_shift_norm=False,
        resblock_updown=False,
        use_new_attention_order=False,
    ):
        super().__init__()
        self.image_size = image_size
        self.model_channels = model_channels
        self.channel_mult = channel_mult
        emb = 4 * model_channels
        self.time_embed = nn.Sequential(nn.Linear(model_channels, emb), nn.SiLU(), nn.Linear(emb, emb))

        def resnet(channels, out, **updown):
            return ResBlock(channels, emb, out, use_scale_shift_norm, **updown)

        def attention(channels):
            return AttentionBlock(channels, num_heads, use_new_attention_order)

        width = int(channel_mult[0] * model_channels)
        self.input_blocks = nn.ModuleList([TimestepEmbedSequential(nn.Conv2d(in_channels, width, 3, padding=1))])
        skips, factor = [width], 1
        for level, multiplier in enumerate(channel_mult):
            for _ in range(num_res_blocks):
                layers = [resnet(width, int(multiplier * model_channels))]
                width = int(multiplier * model_channels)
                if factor in attention_resolutions:
                    layers.append(attention(width))
                self.input_blocks.append(TimestepEmbedSequential(*layers))
                skips.append(width)
            if level < len(channel_mult) - 1:
                down = resnet(width, width, down=True) if resblock_updown else Downsample(width, True)
                self.input_blocks.append(TimestepEmbedSequential(down))
                skips.append(width)
                factor *= 2
        self.middle_block = TimestepEmbedSequential(resnet(width, width), attention(width), resnet(width, width))
        self.output_blocks = nn.ModuleList()
        for level, multiplier in reversed(list(enumerate(channel_mult))):
            for i in range(num_res_blocks + 1):
                layers = [resnet(width + skips.pop(), int(multiplier * model_channels))]
                width = int(multiplier * model_channels)
                if factor in attention_resolutions:
                    layers.append(attention(width))
                if level and i == num_res_blocks:
                    layers.append(resnet(width, width, up=True) if resblock_updown else Upsample(width, True))
                    factor //= 2
                self.output_blocks.append(TimestepEmbedSequential(*layers))
        self.out = nn.Sequential(nn.GroupNorm(32, width), nn.SiLU(), nn.Conv2d(width, out_channels, 3, padding=1))

    def forward(self, x, timesteps):
        half = self.model_channels // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half) / half)
        angles = timesteps[:, None].float() * frequencies[None]
        emb = self.time_embed(torch.cat([angles.cos(), angles.sin()], dim=-1))
        skips = []
        for block in self.input_blocks:
            x = block(x, emb)
            skips.append(x)
        x = self.middle_block(x, emb)
        for block in self.output_blocks:
            x = block(torch.cat([x, skips.pop()], dim=1), emb)
        return self.out(x)
