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

    f = patch * 2**(len(channel_multipliers) - 1) is `downsampling`.

    Args:
        in_channels: Channels of the image, 1 for radiographs.
        channels: Features at full resolution, a multiple of 32 and of norm_groups.
        channel_multipliers: Features of each level in units of `channels`, from the image inwards; each level but the
            last halves the size.
        residual_blocks: Residual blocks a level.
        latent_channels: Channels of a latent, and so numbers of a code.
        codebook_size: Number of codes.
        commitment: Factor of the loss that draws the encoder's outputs to their codes.
        usage_decay: Of the running mean of each code's share of the assignments, a training batch.
        revive_below: A code is replaced when its share falls under this over codebook_size; see VectorQuantizer.
        patch: Side in pixels of the squares that are folded into channels before the first convolution.
        attention: Self-attention in the middle block, as taming-transformers has it; its time grows as the square of
            the positions.
        attention_resolutions: Feature sizes with attention besides, for an image of `resolution` pixels after folding.
        resolution: Side in pixels, after folding, that attention_resolutions refers to; other sizes can be encoded.
        norm_groups: Groups of each GroupNorm; as many as channels loses the image's mean brightness.
        shortcut: A linear path round encoder and decoder (BlockShortcut): the model learns in minutes; not published.
        scaling_factor: Diffusion works on latents times this: 1 / their standard deviation once trained.

    Example:
        >>> model = VQGAN(channels=32, channel_multipliers=(1, 2, 4))
        >>> model.encode(torch.zeros(1, 1, 64, 64)).shape
        torch.Size([1, 4, 16, 16])

    Reference:
        Esser et al. 2021, arXiv:2012.09841.
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
        """Encode images, without quantising.

        Args:
            x: (B, in_channels, H, W) in [-1, 1]; f divides H and W.

        Returns:
            Latents z (B, latent_channels, H/f, W/f).

        Raises:
            ValueError: Another number of channels, or a size that f does not divide.
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
        """Replace each latent pixel by the nearest code.

        Args:
            z: Latents (B, C, h, w).

        Returns:
            Codes z_q (B, C, h, w), codebook loss (), indices of the codes (B, h, w).
        """
        return self.quantizer(z)

    def decode(self, z_q: Tensor) -> Tensor:
        """Decode latents, quantised or not.

        Args:
            z_q: (B, latent_channels, h, w).

        Returns:
            Images (B, in_channels, f*h, f*w), about [-1, 1] but not clipped.
        """
        x = self.decoder(self.post_quant_conv(z_q.to(self.dtype)))
        return x if self.block_shortcut is None else x + self.block_shortcut.decode(z_q)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode, quantise and decode.

        Args:
            x: Images (B, in_channels, H, W) in [-1, 1].

        Returns:
            Reconstruction of the same shape, codebook loss (), indices (B, h, w).
        """
        z_q, loss, indices = self.quantize(self.encode(x))
        return self.decode(z_q), loss, indices

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike | None, **kwargs: Any) -> VQGAN:
        """Load a model that save_pretrained wrote.

        Args:
            pretrained_model_name_or_path: Folder, or name on the hub.
            **kwargs: As diffusers' ModelMixin takes them.

        Returns:
            The model, in evaluation mode.

        Raises:
            FileNotFoundError: No model is there.
            ValueError: Another model is there, its weights are not those that its config asks for, or they are not
                finite, as a training that diverged leaves them.
        """
        source = os.fspath(pretrained_model_name_or_path or "")
        kwargs = {"low_cpu_mem_usage": False, "use_safetensors": True, **kwargs}
        try:
            config: Any = cls.load_config(source, subfolder=kwargs.get("subfolder"))
        except OSError as error:
            raise FileNotFoundError(
                f"{source} is neither a folder with a {cls.config_name} nor a model on the hub that can be reached: "
                "name a folder that VQGAN.save_pretrained wrote."
            ) from error
        if config.get("_class_name") != cls.__name__:
            raise ValueError(f"{source} holds a {config.get('_class_name')}, not a VQGAN: name the folder of a VQ-GAN.")
        loaded: Any = super().from_pretrained(source, **{**kwargs, "output_loading_info": True})
        model, info = loaded
        odd = sorted({*info["missing_keys"], *info["unexpected_keys"]})
        if odd:
            raise ValueError(
                f"{source}: {len(odd)} weights are missing, or more than its config.json asks for, such as {odd[0]}: "
                "the folder is damaged, or weights and config are not of one training; copy it again"
            )
        broken = [name for name, value in model.state_dict().items() if not value.isfinite().all()]
        if broken:
            raise ValueError(
                f"{source}: {len(broken)} of its tensors hold values that are not finite numbers, such as {broken[0]}: "
                "the VQ-GAN's training has diverged; take an earlier checkpoint"
            )
        return loaded if kwargs.get("output_loading_info") else model
