"""SiteUNet: what one site's own soft-tissue images lack beside the bone that the packaged model finds."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from diffusion.networks.site_network import SiteNetwork


class SiteUNet(SiteNetwork, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A correction of a packaged model's answer, learned from a few dual-energy pairs of one site.

    A vendor's soft-tissue image differs from the radiograph by more than bones: it is smoother, has a tone of its own,
    and lacks the wide shading of the spine, shoulders and chest wall. First, the bands of radiograph and bone are
    weighed with a number each (`weights`), which least squares over the site's pairs find. What that leaves is coarse,
    so a small network on a small grid learns it fast; and since it sees which bone has been found, two or three pairs
    teach it. The packaged network stays as it is.

    Args:
        channels: Of each level, from full to smallest; each is divisible by `groups`.
        size: Longer side in pixels of the grid on which it works.
        groups: Of the group norms.
        tone_jitter: In training, standard deviation of random gain and offset of the standardised radiograph.
        widths: Of the bands that are weighed, see diffusion.networks.site_network.band_images; none: no band is.
    """

    @register_to_config
    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64, 96, 128),
        size: int = 128,
        groups: int = 8,
        tone_jitter: float = 0.05,
        widths: Sequence[float] = (),
    ) -> None:
        super().__init__(channels, size, groups, tone_jitter, widths)
