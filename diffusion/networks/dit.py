"""A transformer on latents with the condition beside the noisy target: DiT (Peebles and Xie, arXiv 2212.09748).

The defaults are DeBoneDiT's sizes (SiT-S/2): 12 blocks, 384 channels, 6 heads, 2x2 patches. With `cross_attention_dim`
every block also attends to tokens, as in PixArt-alpha (arXiv 2310.00426), and the time embedding takes up a vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps, get_1d_sincos_pos_embed_from_grid
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import BaseOutput
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu


@dataclass
class LatentDiTOutput(BaseOutput):
    """What LatentDiT returns, as diffusers' networks do.

    Attributes:
        sample: (B, latent_channels, H, W).
    """

    sample: Tensor


class DiTBlock(nn.Module):
    """Attention and MLP, each normed, scaled, shifted and gated by the time embedding (adaLN-Zero).

    Args:
        width: Channels of a token.
        heads: Of the attention; divides `width`.
        mlp_ratio: Hidden channels of the MLP in units of `width`.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))
        self.modulation = nn.Linear(width, 6 * width)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Update the tokens.

        Args:
            x: Tokens (B, N, width).
            embedding: Of the time, (B, 1, width).

        Returns:
            Tokens (B, N, width).
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(silu(embedding)).chunk(6, dim=-1)
        qkv = self.qkv(self.norm1(x) * (1 + scale1) + shift1)
        q, k, v = rearrange(qkv, "b n (three h d) -> three b h n d", three=3, h=self.heads)
        x = x + gate1 * self.proj(rearrange(scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))
        return x + gate2 * self.mlp(self.norm2(x) * (1 + scale2) + shift2)


class CrossAttention(nn.Module):
    """From the latent's tokens to the condition's; its output starts at zero, so that training starts without it.

    Args:
        width: Channels of the latent's tokens.
        heads: Of the attention; divides `width`.
        token_width: Channels of the condition's tokens.
    """

    def __init__(self, width: int, heads: int, token_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(token_width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Add what the latent's tokens gather from the condition's.

        Args:
            x: (B, N, width).
            tokens: (B, T, token_width).
            mask: (B, T) bool, true where there is a token; None: everywhere.

        Returns:
            (B, N, width).
        """
        q = rearrange(self.q(self.norm(x)), "b n (h d) -> b h n d", h=self.heads)
        k, v = rearrange(self.kv(tokens), "b t (two h d) -> two b h t d", two=2, h=self.heads)
        allowed = None if mask is None else mask[:, None, None, :]
        attended = scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return x + self.proj(rearrange(attended, "b h n d -> b n (h d)"))


class LatentDiT(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Diffusion transformer: latents (B, latent + condition channels, H, W) and a time to (B, latent_channels, H, W).

    Args:
        latent_channels: Of the noisy target, and of the answer.
        condition_channels: Of the condition beside it.
        width: Channels of a token, divisible by 4 and by `heads`.
        depth: Number of blocks.
        heads: Of each attention.
        patch: Side of the square of latent pixels that is one token; divides H and W.
        mlp_ratio: Hidden channels of each MLP in units of `width`.
        cross_attention_dim: Width of the tokens and of the vector (class_labels) that forward takes besides; 0 for
            none.

    Raises:
        ValueError: `width` is not divisible by 4 and by `heads`.

    Reference:
        Peebles and Xie, arXiv:2212.09748; cross attention as in PixArt-alpha, arXiv:2310.00426.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 4,
        condition_channels: int = 4,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        patch: int = 2,
        mlp_ratio: float = 4.0,
        cross_attention_dim: int = 0,
    ) -> None:
        super().__init__()
        if width % 4 or width % heads:
            raise ValueError(f"width is {width}; it must be divisible by 4 and by heads, {heads}")
        self.patchify = nn.Conv2d(latent_channels + condition_channels, width, patch, stride=patch)
        self.time_frequencies = Timesteps(256, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(256, width)
        self.blocks = nn.ModuleList(DiTBlock(width, heads, mlp_ratio) for _ in range(depth))
        self.cross: nn.ModuleList | None = None
        self.vector: nn.Linear | None = None
        if cross_attention_dim:
            self.cross = nn.ModuleList(CrossAttention(width, heads, cross_attention_dim) for _ in range(depth))
            self.vector = nn.Linear(cross_attention_dim, width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.modulation = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, patch**2 * latent_channels)
        self._initialise()

    def _initialise(self) -> None:
        """As DiT: Xavier, and every block starts as the identity, the network as zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        gates = [self.modulation, self.out, *(block.modulation for block in self.blocks)]
        for linear in [*gates, *(attention.proj for attention in self.cross or ())]:
            nn.init.zeros_(linear.weight)  # type: ignore[union-attr, arg-type]

    @property
    def size_multiple(self) -> int:
        """What a latent's height and width must be divisible by."""
        return self.config.patch  # type: ignore[attr-defined]

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor | None = None,
        class_labels: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
    ) -> LatentDiTOutput:
        """Answer at one noise level; the arguments are named as UNet2DConditionModel names them.

        Args:
            sample: Noisy target and condition, (B, latent + condition channels, H, W).
            timestep: () or (B,).
            encoder_hidden_states: Tokens to attend to (B, T, D); needed if `cross_attention_dim`.
            class_labels: Vector (B, D) that is added to the time's embedding.
            encoder_attention_mask: (B, T), true where there is a token; None: everywhere.

        Returns:
            `.sample` (B, latent_channels, H, W).
        """
        x = self.patchify(sample)
        height, width = x.shape[2:]
        x = rearrange(x, "b c h w -> b (h w) c")
        x = x + position_embedding(height, width, x.shape[-1], x.device).to(x.dtype)
        frequencies = self.time_frequencies(timestep.reshape(-1).expand(len(x)))
        embedding = self.time_embedding(frequencies.to(x.dtype)).unsqueeze(1)
        if self.vector is not None and class_labels is not None:
            embedding = embedding + self.vector(class_labels.to(x.dtype)).unsqueeze(1)
        for i, block in enumerate(self.blocks):
            x = block(x, embedding)
            if self.cross is not None and encoder_hidden_states is not None:
                x = self.cross[i](x, encoder_hidden_states.to(x.dtype), encoder_attention_mask)
        shift, scale = self.modulation(silu(embedding)).chunk(2, dim=-1)
        patch = self.config.patch  # type: ignore[attr-defined]
        x = self.out(self.norm(x) * (1 + scale) + shift)
        x = rearrange(x, "b (h w) (p q c) -> b c (h p) (w q)", h=height, p=patch, q=patch)
        return LatentDiTOutput(sample=x)


def position_embedding(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """Fixed sine and cosine embedding: half of it tells the column, half the row.

    Args:
        height: Tokens along a column.
        width: Tokens along a row.
        channels: Of a token, a multiple of 4.
        device: Where to put it.

    Returns:
        (height * width, channels), row by row.
    """
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij"
    )
    halves = [get_1d_sincos_pos_embed_from_grid(channels // 2, axis, output_type="pt") for axis in (columns, rows)]
    return torch.cat(halves, dim=1).float().to(device)
