"""VQ-GAN as a diffusers model: save_pretrained and from_pretrained with a folder of config and safetensors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from diffusers.configuration_utils import ConfigMixin, register_to_config

# DiffusionPipeline looks for ModelMixin in the namespace of a component's module.
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from vqgan.encoder_decoder import Architecture, Decoder, Encoder
from vqgan.quantizer import VectorQuantizer
from vqgan.shortcut import BlockShortcut


class VQGAN(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Compresses radiographs (B, in_channels, H, W) in [-1, 1] to latents (B, latent_channels, H/f, W/f) and back.

    in_channels: 1 for radiographs. codebook_size: number of codes, each of latent_channels numbers.
    commitment, usage_decay, revive_below: see VectorQuantizer. All others but the last: see Architecture.
    shortcut: a linear path round encoder and decoder, see BlockShortcut: a model that learns in minutes; not published.
    scaling_factor: diffusion works on latents times this; 1 / their standard deviation once trained.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 1,
        channels: int = 128,
        channel_multipliers: Sequence[int] = (1, 2, 4),
        residual_blocks: int = 2,
        latent_channels: int = 4,
        codebook_size: int = 256,
        commitment: float = 0.25,
        usage_decay: float = 0.99,
        revive_below: float = 0.05,
        patch: int = 1,
        attention: bool = False,
        attention_resolutions: Sequence[int] = (),
        resolution: int = 256,
        norm_groups: int = 32,
        shortcut: bool = False,
        scaling_factor: float = 1.0,
    ) -> None:
        super().__init__()
        architecture = Architecture(
            image_channels=in_channels,
            channels=channels,
            channel_multipliers=channel_multipliers,
            residual_blocks=residual_blocks,
            latent_channels=latent_channels,
            patch=patch,
            attention=attention,
            attention_resolutions=attention_resolutions,
            resolution=resolution,
            norm_groups=norm_groups,
        )
        self.encoder = Encoder(architecture)
        self.decoder = Decoder(architecture)
        self.quantizer = VectorQuantizer(codebook_size, latent_channels, commitment, usage_decay, revive_below)
        self.quant_conv = nn.Conv2d(latent_channels, latent_channels, 1)
        self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1)
        self.block_shortcut = BlockShortcut(in_channels, latent_channels, self.downsampling) if shortcut else None
        if shortcut:  # start as the block transform alone
            for parameter in (*self.quant_conv.parameters(), *self.decoder.conv_out.parameters()):
                nn.init.zeros_(parameter)

    @property
    def downsampling(self) -> int:
        """f: image pixels per latent pixel along a side."""
        return self.config["patch"] * 2 ** (len(self.config["channel_multipliers"]) - 1)

    def encode(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) in [-1, 1] -> z (B, latent_channels, H/f, W/f), not quantised.

        Raises ValueError for another number of channels or a size that f does not divide.
        """
        channels, f = self.config["in_channels"], self.downsampling
        if x.ndim != 4 or x.shape[1] != channels:
            raise ValueError(f"VQGAN got an image of shape {tuple(x.shape)}, expected (B, {channels}, H, W).")
        if x.shape[2] % f or x.shape[3] % f:
            raise ValueError(
                f"VQGAN got an image of {x.shape[2]}x{x.shape[3]} pixels, but both sides must be multiples of {f}: "
                "pad or resize the image."
            )
        z = self.quant_conv(self.encoder(x))
        return z if self.block_shortcut is None else z + self.block_shortcut.encode(x)

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z (B, C, h, w) -> nearest codes z_q (B, C, h, w), codebook loss (), code indices (B, h, w)."""
        return self.quantizer(z)

    def decode(self, z_q: Tensor) -> Tensor:
        """(B, latent_channels, h, w) -> image (B, in_channels, f*h, f*w)."""
        x = self.decoder(self.post_quant_conv(z_q.to(self.dtype)))
        return x if self.block_shortcut is None else x + self.block_shortcut.decode(z_q)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image (B, in_channels, H, W) -> reconstruction of the same shape, codebook loss (), indices (B, h, w)."""
        z_q, loss, indices = self.quantize(self.encode(x))
        return self.decode(z_q), loss, indices

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike | None, **kwargs: Any) -> VQGAN:
        """Load a folder (or hub name) that save_pretrained wrote; the options are those of diffusers' ModelMixin.

        Raises FileNotFoundError where there is no model, ValueError where there is another one or where its weights are
        not finite, as a training that diverged leaves them.
        """
        source = os.fspath(pretrained_model_name_or_path or "")
        kwargs.setdefault("low_cpu_mem_usage", False)
        try:
            config: Any = cls.load_config(source, subfolder=kwargs.get("subfolder"))
        except OSError as error:
            raise FileNotFoundError(
                f"{source} is neither a folder with a {cls.config_name} nor a model on the hub that can be reached: "
                "name a folder that VQGAN.save_pretrained wrote."
            ) from error
        if config.get("_class_name") != cls.__name__:
            raise ValueError(f"{source} holds a {config.get('_class_name')}, not a VQGAN: name the folder of a VQ-GAN.")
        found = super().from_pretrained(source, **kwargs)
        model = found[0] if isinstance(found, tuple) else found  # with output_loading_info
        broken = [name for name, value in model.state_dict().items() if not value.isfinite().all()]
        if broken:
            raise ValueError(
                f"{source}: {len(broken)} of its tensors hold values that are not finite numbers, such as {broken[0]}: "
                "the VQ-GAN's training has diverged; take an earlier checkpoint"
            )
        return found
