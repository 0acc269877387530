"""BoneRegressionPipeline: one network call from radiograph to soft-tissue image, without diffusion."""

from __future__ import annotations

from typing import Any

from torch import nn

from diffusion.networks.bone_network import BoneNetwork
from diffusion.networks.site_unet import SiteUNet
from diffusion.pipelines.contract import SuppressionPipeline
from diffusion.pipelines.regression_answers import RegressionAnswers, predict_bone

__all__ = ["BoneRegressionPipeline", "predict_bone"]


class BoneRegressionPipeline(RegressionAnswers, SuppressionPipeline):
    """A network that was trained to predict the bone itself: always the same answer, in one call.

    Args:
        unet: A BoneUNet, or build_unet's with patch^2 channels in and out.
        patch: See `regression_answers.predict_bone`.
        trained_size: Side in pixels of the square images that the network is for.
        flips: Whether the answers for an image and its mirror image are averaged.
        detail_size: Side in pixels at which the network is asked once more, for what fits into no image of
            `trained_size`; None: not at all.
        strength: {"gain", "offset", "bounds"} of the factor that an image's own slope of bone asks for, see
            radiolucent.suppression.strength; None: 1.
        site: What a site's own pairs have taught, taken away besides; None: nothing.
    """

    _optional_components = ["site"]  # noqa: RUF012 (diffusers' own name, read by its save and load)

    def __init__(
        self,
        unet: nn.Module,
        patch: int = 2,
        trained_size: int = 256,
        flips: bool = False,
        detail_size: int | None = None,
        strength: dict[str, Any] | None = None,  # a StrengthLaw; diffusers checks no TypedDict
        site: SiteUNet | None = None,
    ) -> None:
        super().__init__()
        channels: Any = unet.config
        if not isinstance(unet, BoneNetwork) and {channels["in_channels"], channels["out_channels"]} != {patch**2}:
            raise ValueError(
                f"a U-Net of {channels['in_channels']} channels in and {channels['out_channels']} out: patch {patch} "
                f"needs {patch**2} of both"
            )
        self.register_modules(unet=unet.eval(), site=None if site is None else site.eval())
        self.register_to_config(
            patch=patch, trained_size=trained_size, flips=flips, detail_size=detail_size, strength=strength
        )

    @property
    def not_adaptable(self) -> str | None:
        """Why a site's correction cannot stand beside the network; None where it can."""
        if not isinstance(self.unet, BoneNetwork):
            return (
                f"its network is a {type(self.unet).__name__}; adapt works on the packaged regression's kind, BoneUNet"
            )
        if self.site is not None:
            return "it is a site's already: start from the packaged model, with all pairs together"
        return None

    def adapted(self, site: SiteUNet) -> BoneRegressionPipeline:
        """The same network with a site's correction beside it.

        Args:
            site: See diffusion.networks.site_unet.

        Returns:
            A new pipeline that shares this one's network.

        Raises:
            ValueError: See `not_adaptable`.
        """
        options: Any = self.config
        kept = {name: options[name] for name in ("patch", "trained_size", "flips", "detail_size", "strength")}
        return BoneRegressionPipeline(self.unet, site=site, **kept)
