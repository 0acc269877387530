"""From radiograph to soft-tissue image by one network call, without diffusion: the answers, in plain torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffusion.networks.bone_network import BoneNetwork
from diffusion.networks.tiles import TiledNetwork
from diffusion.pipelines.answers import SuppressionAnswers
from diffusion.pipelines.checks import check_radiograph

if TYPE_CHECKING:
    from jaxtyping import Float

    from diffusion.networks.site_network import SiteNetwork


def predict_bone(unet: nn.Module, radiograph: Tensor, patch: int, tile: int | None = None) -> Tensor:
    """The bone to take away from a radiograph, as one call of a network.

    A BoneUNet does all of it. Diffusers' U-Net, as folders of version 0.1 hold it, sees the image standardised (mean 0,
    standard deviation 1 each), as patch x patch pixels side by side in its channels (pixel unshuffle; Shi et al.,
    arXiv:1609.05158), at timestep 0; its output is scaled back.

    Args:
        unet: A BoneUNet, or build_unet's with patch^2 channels in and out.
        radiograph: (B, 1, H, W) in [-1, 1], bones bright.
        patch: Side of the squares of pixels laid side by side, for diffusers' U-Net.
        tile: Side in pixels of the blended tiles in which a larger image is seen, standardised as a whole (see
            diffusion.networks.tiles); None: it is seen whole.

    Returns:
        (B, 1, H, W) in the radiograph's grey levels.
    """
    if isinstance(unet, BoneNetwork):
        return unet(radiograph, tile)
    network: Any = unet
    if tile is not None:
        from diffusion.networks.unet import size_multiple

        network = TiledNetwork(network, tile // patch, size_multiple(unet))
    mean = radiograph.mean(dim=(2, 3), keepdim=True)
    deviation = radiograph.std(dim=(2, 3), keepdim=True).clamp(min=1e-3)
    seen = F.pixel_unshuffle((radiograph - mean) / deviation, patch)
    timesteps = torch.zeros(len(seen), dtype=torch.long, device=seen.device)
    return F.pixel_shuffle(network(seen, timesteps, return_dict=False)[0], patch) * deviation


class RegressionAnswers(SuppressionAnswers):
    """What a BoneRegressionPipeline (which see) answers, of its networks and its numbers.

    Attributes:
        unet: A BoneNetwork, or build_unet's with patch^2 channels in and out.
        site: What a site's own pairs have taught, taken away besides; None: nothing.
    """

    method: ClassVar[str] = "regression"
    unet: Any
    site: SiteNetwork | None

    @property
    def size_multiple(self) -> int:
        """What an image's height and width must be divisible by."""
        if isinstance(self.unet, BoneNetwork):
            return self.unet.size_multiple
        from diffusion.networks.unet import size_multiple

        return self.config["patch"] * size_multiple(self.unet)

    @torch.no_grad()
    def __call__(
        self,
        radiograph: Float[Tensor, "batch 1 height width"],
        num_inference_steps: int = 1,
        seeds: Sequence[int] | None = None,
        tile: int | None = None,
        flips: bool | None = None,
        *,
        lungs: Tensor | None = None,
        steps: int | None = None,
    ) -> Any:
        """Suppress the bones of a batch.

        Args:
            radiograph: (B, 1, H, W) in [-1, 1], bones bright.
            num_inference_steps: Diffusers' name for `steps`.
            seeds: One an image. 0, the default, is the image as it is; any other sees it a little larger or smaller and
                in another tone, so that the spread over seeds tells how sure the answer is.
            tile: Side in pixels, a multiple of `size_multiple`, of tiles for larger images; None: they are seen whole.
            flips: Whether the mirror image is asked too; None: as the pipeline records.
            lungs: None: there is no second path here.
            steps: Of models that sample; nothing here depends on them.

        Returns:
            `.soft`, (B, 1, H, W) float32 in [-1, 1].

        Raises:
            ValueError: Another shape or range, a size that is not a multiple of `size_multiple`, or lungs.
        """
        if flips is None:
            return super().__call__(radiograph, tile=tile, lungs=lungs, seeds=seeds, steps=steps)
        check_radiograph(radiograph, self.size_multiple)
        return self.answer(radiograph, seeds, lambda seen: seen.float() - self.bone(seen, tile, flips))

    def soft_tissue(
        self,
        radiograph: Float[Tensor, "batch 1 height width"],
        *,
        tile: int | None,
        lungs: Tensor | None,
        seeds: Sequence[int],
        steps: int | None,
    ) -> Float[Tensor, "batch 1 height width"]:
        """The radiographs less their bone; tiles are standardised as the whole image is.

        Args:
            radiograph: (B, 1, H, W) in [-1, 1].
            tile: As in a call.
            lungs: None.
            seeds: Without effect.
            steps: Without effect.

        Returns:
            (B, 1, H, W), not clipped.
        """
        return radiograph.float() - self.bone(radiograph, tile)

    def second_look(
        self, radiograph: Float[Tensor, "batch 1 height width"], *, seeds: Sequence[int], steps: int | None
    ) -> Any:
        """As a call, without the mirror image: what is read off it are edges, at four times the pixels.

        Args:
            radiograph: (B, 1, H, W) in [-1, 1].
            seeds: One an image.
            steps: Without effect.

        Returns:
            `.soft`, as from a call.
        """
        return self(radiograph, seeds=seeds, flips=False)

    def bone(self, radiograph: Tensor, tile: int | None = None, flips: bool | None = None) -> Tensor:
        """What is taken away from radiographs.

        Args:
            radiograph: (B, 1, H, W) in [-1, 1].
            tile: As in a call.
            flips: As in a call.

        Returns:
            float32 (B, 1, H, W), in their grey levels, not clipped.
        """
        views = (
            [radiograph, radiograph.flip(-1)] if (self.config["flips"] if flips is None else flips) else [radiograph]
        )
        bones = [self._taken(view, tile) for view in views]
        return bones[0] if len(bones) == 1 else (bones[0] + bones[1].flip(-1)) / 2

    def _taken(self, radiograph: Tensor, tile: int | None) -> Tensor:
        dtype = self.unet.first.weight.dtype if isinstance(self.unet, BoneNetwork) else self.unet.dtype
        bone = predict_bone(self.unet, radiograph.to(dtype), self.config["patch"], tile).float()
        return bone if self.site is None else bone + self.site(radiograph, bone)
