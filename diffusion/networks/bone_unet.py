"""BoneUNet: a U-Net from a radiograph to its bones, blind to the display's tone."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from diffusion.networks.bone_network import BoneNetwork, fine_part, gaussian_blur

__all__ = ["BoneUNet", "fine_part", "gaussian_blur"]


class BoneUNet(BoneNetwork, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Predicts the bone's part of a radiograph, without its coarse part, in one call.

    The network sees two images: the radiograph without its local mean and in units of its local deviation, which is
    the same whatever window, gamma or dynamic range compression the vendor chose, and the whole's grey levels, in
    units of their own deviation, to find its way. It answers in units of the local deviation, so that bone is taken
    away as strongly as the display shows it.

    Args:
        channels: Of each level, from full to smallest; each is divisible by `groups`.
        patch: Side of the squares of pixels that are laid side by side in the channels (pixel unshuffle).
        sigma: Width in pixels of what is local, and of what is coarse and left in the image.
        coarse_share: Part of the bone's blur that stays in the image.
        groups: Of the group norms.
        tone_jitter: In training, standard deviation of random gain and offset of the second image, so that the network
            does not lean on it.
    """

    @register_to_config
    def __init__(
        self,
        channels: Sequence[int] = (24, 48, 96, 160, 256, 256),
        patch: int = 2,
        sigma: float = 16.0,
        coarse_share: float = 0.9,
        groups: int = 8,
        tone_jitter: float = 0.25,
    ) -> None:
        super().__init__(channels, patch, sigma, coarse_share, groups, tone_jitter)
