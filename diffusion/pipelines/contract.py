"""What a bone suppression model is to whoever uses one: a Protocol, and a base class that does most of it.

A new model derives from SuppressionPipeline and writes `predict`, or, if it handles tiles, seeds or steps itself,
`soft_tissue`. The commands ask a model for nothing but what stands in SuppressionModel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import torch
from diffusers.utils import BaseOutput
from torch import Tensor
from torch.nn import functional as F

from diffusion.finite import refuse_broken
from diffusion.networks.tiles import tiled
from diffusion.pipelines.folder import SavedPipeline

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from diffusion.networks.site_unet import SiteUNet

SIZE_RANGE, TONE_RANGE = 0.17, 0.15  # natural logarithms of the most that a seed changes an image's size and gamma


@dataclass
class BoneSuppressionOutput(BaseOutput):
    """What a suppression model returns.

    Attributes:
        soft: (B, 1, H, W) float32 on the radiograph's device, in [-1, 1], bones gone.
    """

    soft: Tensor


@runtime_checkable
class SuppressionModel(Protocol):
    """A model that `suppress`, `evaluate`, `adapt` and `Suppressor` can use, whatever its kind.

    Attributes:
        trained_size: Side in pixels of the square images that it was trained on; None where nobody knows.
        size_multiple: What the height and the width of an image must be divisible by.
        stochastic: Whether its answers are drawn by chance, from a seed each. The answers of any other model to seeds
            above 0 are those to an image in slightly another size and tone.
        takes_lungs: Whether it has a second path within the lungs, so that `lungs` may be given.
        default_steps: Steps of sampling if a call gives none; None for a model without steps.
        detail_size: Side in pixels at which `second_look` finds finer edges; None for a model without.
        strength_law: {"gain", "offset", "bounds"} of the factor that an image's own slope of bone asks for (see
            radiolucent.suppression.strength); None: 1.
        adaptable: Whether `adapted` can be called.
        method: One or two words on how it answers, for the note in a file.
        device: Where it computes.
    """

    @property
    def trained_size(self) -> int | None: ...
    @property
    def size_multiple(self) -> int: ...
    @property
    def stochastic(self) -> bool: ...
    @property
    def takes_lungs(self) -> bool: ...
    @property
    def default_steps(self) -> int | None: ...
    @property
    def detail_size(self) -> int | None: ...
    @property
    def strength_law(self) -> dict[str, Any] | None: ...
    @property
    def adaptable(self) -> bool: ...
    @property
    def method(self) -> str: ...
    @property
    def device(self) -> torch.device: ...

    def __call__(
        self,
        radiograph: Float[Tensor, "batch 1 height width"],
        *,
        tile: int | None = None,
        lungs: Bool[Tensor, "batch 1 height width"] | None = None,
        seeds: Sequence[int] | None = None,
        steps: int | None = None,
    ) -> BoneSuppressionOutput:
        """The soft tissue of a batch; see SuppressionPipeline."""
        ...

    def second_look(
        self, radiograph: Float[Tensor, "batch 1 height width"], *, seeds: Sequence[int], steps: int | None
    ) -> BoneSuppressionOutput:
        """The soft tissue of images of `detail_size`, in one pass."""
        ...

    def adapted(self, site: SiteUNet) -> SuppressionModel:
        """The model with what a site's pairs have taught beside it, see `radiolucent adapt`."""
        ...


class SuppressionPipeline(SavedPipeline):
    """Base class of suppression models: checks, tiles, seeds, and a folder that diffusers opens.

    A subclass's __init__ registers its networks (`register_modules`) and its numbers (`register_to_config`), among
    them `trained_size` where it is known; what it leaves out of the contract is as written here.

    Example:
        >>> class Subtraction(SuppressionPipeline):
        ...     def __init__(self, unet, trained_size=512):
        ...         super().__init__()
        ...         self.register_modules(unet=unet.eval())
        ...         self.register_to_config(trained_size=trained_size)
        ...
        ...     def predict(self, radiograph):
        ...         return radiograph - self.unet(radiograph)
    """

    stochastic: ClassVar[bool] = False
    takes_lungs: ClassVar[bool] = False
    method: ClassVar[str] = "one pass"

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
    def strength_law(self) -> dict[str, Any] | None:
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
    ) -> BoneSuppressionOutput:
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
            return BoneSuppressionOutput(soft=soft.float().clamp(-1, 1))

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
            radiograph, tile, lungs, seeds, steps: As in a call; `seeds` are one an image.

        Returns:
            (B, 1, H, W) on the radiograph's device; values beyond [-1, 1] are clipped later.
        """
        side = max(radiograph.shape[2:]) if tile is None else tile
        seen = radiograph.to(self.device)
        return tiled(self.predict, seen, side, self.size_multiple).to(radiograph.device)

    def predict(self, radiograph: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch 1 height width"]:
        """The soft tissue of images that are no larger than a tile, on the model's device: the model itself."""
        raise NotImplementedError(f"{type(self).__name__} defines neither `predict` nor `soft_tissue`")

    def second_look(
        self, radiograph: Float[Tensor, "batch 1 height width"], *, seeds: Sequence[int], steps: int | None
    ) -> BoneSuppressionOutput:
        """The soft tissue of images (B, 1, H, W) of `detail_size`, in one pass, for edges that are finer."""
        return self(radiograph, seeds=seeds, steps=steps)

    @property
    def adaptable(self) -> bool:
        """Whether `radiolucent adapt` can put a site's correction beside it."""
        return False

    def adapted(self, site: SiteUNet) -> SuppressionPipeline:
        """The model with a site's correction beside it."""
        raise NotImplementedError(f"{type(self).__name__} cannot be adapted")

    def answer(
        self,
        radiograph: Float[Tensor, "batch 1 height width"],
        seeds: Sequence[int] | None,
        predict: Callable[[Tensor], Tensor],
    ) -> BoneSuppressionOutput:
        """The output of a model without chance: `predict` of the images, varied as their seeds say."""
        given = [0] * len(radiograph) if seeds is None else list(seeds)
        check_seeds(given, radiograph)
        if any(given):
            softs = [self._varied(image[None], seed, predict) for image, seed in zip(radiograph, given)]
            soft = torch.cat(softs)
        else:
            soft = predict(radiograph)
        return BoneSuppressionOutput(soft=soft.float().clamp(-1, 1))

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

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **options: Any) -> Any:
        """As SavedPipeline's; ValueError for weights that are not finite."""
        pipeline = super().from_pretrained(pretrained_model_name_or_path, **options)
        refuse_broken(pipeline.components, pretrained_model_name_or_path)
        return pipeline


def check_radiograph(radiograph: Any, multiple: int) -> None:
    """Refuse what is no batch of radiographs.

    Args:
        radiograph: Expected: (B, 1, H, W) in [-1, 1], H and W divisible by `multiple`.

    Raises:
        ValueError: It is something else; says what arrived.
    """
    if not torch.is_tensor(radiograph) or radiograph.ndim != 4 or radiograph.shape[1] != 1:
        what = tuple(radiograph.shape) if torch.is_tensor(radiograph) else type(radiograph).__name__
        raise ValueError(f"the radiograph is {what}; expected a tensor (B, 1, H, W) with one grey channel")
    height, width = radiograph.shape[2:]
    if height % multiple or width % multiple:
        raise ValueError(
            f"the radiograph is {height} x {width} pixels; this model needs both divisible by {multiple}: pad it first "
            f"to multiples of {multiple}"
        )
    low, high = radiograph.aminmax()
    if not (low >= -1.001 and high <= 1.001):  # false for NaN as well
        raise ValueError(
            f"the radiograph's values run from {low:g} to {high:g}; expected finite values in [-1, 1], bones bright"
        )


def check_seeds(seeds: Sequence[int], radiograph: Tensor) -> None:
    """ValueError unless there is one seed an image."""
    if len(seeds) != len(radiograph):
        raise ValueError(f"{len(seeds)} seeds for {len(radiograph)} radiographs: give one for each")
