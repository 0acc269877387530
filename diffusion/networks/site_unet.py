"""SiteUNet: what one site's own soft-tissue images lack beside the bone that the packaged model finds."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from diffusion.networks.site_network import SiteNetwork


class SiteUNet(SiteNetwork, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A correction of a packaged model's answer, learned from a few dual-energy pairs of one site.

    A vendor's soft-tissue image differs from the radiograph by more than bones' edges: by the wide shading of the
    spine, shoulders and chest wall, and by its own tone. That is coarse, so a small network on a small grid finds it,
    fast; and since it sees which bone the packaged model has found, two or three pairs teach it. It is smoother, too:
    what is finer than the grid is weighed by band, a number each for radiograph and bone (`fine`), which least squares
    find. The packaged network stays as it is, and with it what it does to nodules.

    Args:
        channels: Of each level, from full to smallest; each is divisible by `groups`.
        size: Longer side in pixels of the grid on which it works.
        groups: Of the group norms.
        tone_jitter: In training, standard deviation of random gain and offset of the standardised radiograph.
        widths: Of the fine bands, see diffusion.networks.site_network.fine_bands; none: nothing fine is changed.
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
