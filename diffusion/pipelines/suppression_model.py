"""What a bone suppression model is to whoever uses one: the commands ask a model for nothing but what stands here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypedDict, runtime_checkable

import torch
from diffusers.utils import BaseOutput
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from diffusion.networks.site_unet import SiteUNet


class StrengthLaw(TypedDict):
    """How the factor on the bone follows from an image's own slope of bone (radiolucent.suppression.strength).

    Attributes:
        gain: What the factor grows by with the slope.
        offset: The factor at slope 0.
        bounds: The least and the greatest factor.
    """

    gain: float
    offset: float
    bounds: tuple[float, float]


@dataclass
class BoneSuppressionOutput(BaseOutput):
    """What a suppression model returns.

    Attributes:
        soft: (B, 1, H, W) float32 on the radiograph's device, in [-1, 1], bones gone.
    """

    soft: Tensor


@runtime_checkable
class SuppressionModel(Protocol):
    """A model that `suppress`, `evaluate`, `adapt` and `Suppressor` can use, whatever its kind."""

    @property
    def trained_size(self) -> int | None:
        """Side in pixels of the square images that it was trained on; None if not known."""

    @property
    def size_multiple(self) -> int:
        """What the height and the width of an image must be divisible by."""

    @property
    def stochastic(self) -> bool:
        """Whether its answers are drawn by chance, from a seed each.

        Any other model answers seeds above 0 as it would an image in slightly another size and tone.
        """

    @property
    def takes_lungs(self) -> bool:
        """Whether it has a second path within the lungs, so that `lungs` may be given."""

    @property
    def default_steps(self) -> int | None:
        """Steps of sampling if a call gives none; None for a model without steps."""

    @property
    def detail_size(self) -> int | None:
        """Side in pixels at which `second_look` finds finer edges; None for a model without."""

    @property
    def strength_law(self) -> StrengthLaw | None:
        """How the factor on the bone follows from an image's own slope of bone; None: it is 1."""

    @property
    def method(self) -> str:
        """One or two words on how it answers, for the note in a file."""

    @property
    def not_adaptable(self) -> str | None:
        """Why `radiolucent adapt` cannot set a site's correction beside the model; None: it can."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

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
        """The soft tissue of images of `detail_size`, in one pass.

        Args:
            radiograph: (B, 1, H, W) in [-1, 1], H = W = `detail_size`.
            seeds: One an image.
            steps: Of sampling; None for the model's own number.

        Returns:
            `soft` (B, 1, H, W) in [-1, 1], of which only what is finer than the first look shows is used.
        """
        ...

    def bone(self, radiograph: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch 1 height width"]:
        """What is taken away.

        Args:
            radiograph: (B, 1, H, W) in [-1, 1].

        Returns:
            (B, 1, H, W) in the radiograph's grey levels, not clipped.
        """
        ...

    def adapted(self, site: SiteUNet) -> SuppressionModel:
        """The model with a site's correction beside it.

        Args:
            site: What the site's pairs have taught.

        Returns:
            A new model; this one stays as it is.

        Raises:
            ValueError: It takes none, as `not_adaptable` says.
        """
        ...
