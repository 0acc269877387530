"""How a suppression model answers, whatever its networks are and wherever they were read from: checks, tiles, seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from diffusion.networks.tiles import tiled
from diffusion.pipelines.checks import check_radiograph, check_seeds

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from diffusion.networks.site_unet import SiteUNet
    from diffusion.pipelines.suppression_model import StrengthLaw

SIZE_RANGE, TONE_RANGE = 0.17, 0.15  # natural logarithms of the most that a seed changes an image's size and gamma


class SuppressionAnswers:
    """What a SuppressionPipeline does besides being a folder of diffusers; plain torch.

    Attributes:
        config: The model's numbers by name, among them `trained_size`.
        device: Where it computes.
        output_class: Makes what a call returns, an object with `soft`, of it.
    """

    config: dict[str, Any]
    device: Any
    stochastic: ClassVar[bool] = False
    takes_lungs: ClassVar[bool] = False
    method: ClassVar[str] = "one pass"
    output_class: ClassVar[Callable[..., Any]]

    @property
    def trained_size(self) -> int | None:
        """Side in pixels of the square images that it was trained on; None where no configuration says."""
        return self.config.get("trained_size")

    @property
    def size_multiple(self) -> int:
        """What an image's height and width must be divisible by."""
        return 1

    @property
    def default_steps(self) -> int | None:
        """Steps of sampling where a call names none; None for a model without steps."""
        return self.config.get("num_inference_steps") if self.stochastic else None

    @property
    def detail_size(self) -> int | None:
        """Side in pixels of the second look; None for none."""
        return self.config.get("detail_size")

    @property
    def strength_law(self) -> StrengthLaw | None:
        """How the factor on the bone follows from an image; None: it is 1."""
        return self.config.get("strength")

    @torch.no_grad()
    def __call__(
        self,
        radiograph: Float[Tensor, "batch 1 height width"],
        *,
        tile: int | None = None,
        lungs: Bool[Tensor, "batch 1 height width"] | None = None,
        seeds: Sequence[int] | None = None,
        steps: int | None = None,
    ) -> Any:
        """Suppress the bones of a batch.

        Args:
            radiograph: (B, 1, H, W) in [-1, 1], bones bright; H and W divisible by `size_multiple`.
            tile: Side in pixels, a multiple of `size_multiple`, of the blended tiles in which a larger image is seen;
                None: it is seen whole.
            lungs: bool (B, 1, H, W), for models that take them.
            seeds: One an image. Of a model that is not stochastic, 0 (the default) is the image as it is; any other
                sees it a little larger or smaller and in another tone, so that the spread tells how sure it is.
            steps: Of a model that samples; the others have none.

        Returns:
            `.soft`, (B, 1, H, W) float32 in [-1, 1].

        Raises:
            ValueError: Another shape, size or range of values, not one seed an image, or lungs that it does not take.
        """
        check_radiograph(radiograph, self.size_multiple)
        if lungs is not None and not self.takes_lungs:
            raise ValueError(f"{type(self).__name__} has no second path in the lungs: leave `lungs` out")
        if self.stochastic:
            given = list(range(len(radiograph))) if seeds is None else list(seeds)
            check_seeds(given, radiograph)
            soft = self.soft_tissue(radiograph, tile=tile, lungs=lungs, seeds=given, steps=steps)
            return self.output_class(soft=soft.float().clamp(-1, 1))

        def predict(seen: Tensor) -> Tensor:
            return self.soft_tissue(seen, tile=tile, lungs=None, seeds=[0] * len(seen), steps=steps)

        return self.answer(radiograph, seeds, predict)

    def soft_tissue(
        self,
        radiograph: Float[Tensor, "batch 1 height width"],
        *,
        tile: int | None,
        lungs: Bool[Tensor, "batch 1 height width"] | None,
        seeds: Sequence[int],
        steps: int | None,
    ) -> Float[Tensor, "batch 1 height width"]:
        """The soft tissue of a checked batch, by default `predict`, tile by tile.

        Args:
            radiograph: (B, 1, H, W) in [-1, 1], bones bright.
            tile: As in a call.
            lungs: As in a call.
            seeds: One an image.
            steps: As in a call.

        Returns:
            (B, 1, H, W) on the radiograph's device; values beyond [-1, 1] are clipped later.
        """
        side = max(radiograph.shape[2:]) if tile is None else tile
        seen = radiograph.to(self.device)
        return tiled(self.predict, seen, side, self.size_multiple).to(radiograph.device)

    def predict(self, radiograph: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch 1 height width"]:
        """The soft tissue of images that are no larger than a tile: the model itself.

        Args:
            radiograph: (B, 1, h, w) in [-1, 1], on the model's device.

        Returns:
            (B, 1, h, w) in the radiograph's grey levels; need not be clipped.

        Raises:
            NotImplementedError: A model that defines neither this nor `soft_tissue`.
        """
        raise NotImplementedError(f"{type(self).__name__} defines neither `predict` nor `soft_tissue`")

    def second_look(
        self, radiograph: Float[Tensor, "batch 1 height width"], *, seeds: Sequence[int], steps: int | None
    ) -> Any:
        """The soft tissue of images of `detail_size`, in one pass, for edges that are finer.

        Args:
            radiograph: (B, 1, H, W) in [-1, 1].
            seeds: One an image.
            steps: Of sampling; None: the default.

        Returns:
            `.soft`, as from a call.
        """
        return self(radiograph, seeds=seeds, steps=steps)

    def bone(self, radiograph: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch 1 height width"]:
        """What is taken away from a checked batch at seed 0.

        Args:
            radiograph: (B, 1, H, W) in [-1, 1].

        Returns:
            float32 (B, 1, H, W) in its grey levels, not clipped.
        """
        seeds = [0] * len(radiograph)
        soft = self.soft_tissue(radiograph, tile=None, lungs=None, seeds=seeds, steps=self.default_steps)
        return radiograph.float() - soft.float()

    @property
    def not_adaptable(self) -> str | None:
        """Why `radiolucent adapt` cannot set a site's correction beside the model; None where it can."""
        return f"a {type(self).__name__} has no place for a site's correction"

    def adapted(self, site: SiteUNet) -> SuppressionAnswers:
        """The model with a site's correction beside it.

        Args:
            site: (radiograph, bone) -> what the bone lacks, all (B, 1, H, W).

        Returns:
            A new model; this one stays as it is.

        Raises:
            ValueError: This model has no place for one, see `not_adaptable`.
        """
        raise ValueError(f"{self.not_adaptable}")

    def answer(
        self,
        radiograph: Float[Tensor, "batch 1 height width"],
        seeds: Sequence[int] | None,
        predict: Callable[[Tensor], Tensor],
    ) -> Any:
        """The output of a model without chance: `predict` of the images, varied as their seeds say.

        Args:
            radiograph: (B, 1, H, W) in [-1, 1].
            seeds: One an image; None: 0 for all.
            predict: Images to their soft tissue, of one shape.

        Returns:
            `.soft`, clipped to [-1, 1].

        Raises:
            ValueError: Not one seed an image.
        """
        given = [0] * len(radiograph) if seeds is None else list(seeds)
        check_seeds(given, radiograph)
        if any(given):
            softs = [self._varied(image[None], seed, predict) for image, seed in zip(radiograph, given)]
            soft = torch.cat(softs)
        else:
            soft = predict(radiograph)
        return self.output_class(soft=soft.float().clamp(-1, 1))

    def _varied(self, radiograph: Tensor, seed: int, predict: Callable[[Tensor], Tensor]) -> Tensor:
        """The soft tissue (1, 1, H, W) by way of another size and tone, which depend on the seed; 0 changes nothing."""
        if seed == 0:
            return predict(radiograph)
        chance = torch.Generator().manual_seed(seed)
        most = torch.tensor([SIZE_RANGE, TONE_RANGE])
        scale, gamma = torch.rand(2, generator=chance).mul(2).sub(1).mul(most).exp().tolist()
        multiple = self.size_multiple
        shape = [max(1, round(side * scale / multiple)) * multiple for side in radiograph.shape[2:]]
        seen = F.interpolate(radiograph.float(), shape, mode="bicubic", antialias=True).clamp(-1, 1)
        tone = (seen + 1).div(2).pow(gamma)
        soft = ((predict(tone * 2 - 1).float() + 1) / 2).clamp(0, 1).pow(1 / gamma) * 2 - 1
        bone = F.interpolate(seen - soft, radiograph.shape[2:], mode="bicubic", antialias=True)
        return radiograph.float() - bone
