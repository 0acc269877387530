"""What a bone suppression model is to whoever uses one: a Protocol, and a base class that does most of it.

A new model derives from SuppressionPipeline and writes `predict`, or, if it handles tiles, seeds or steps itself,
`soft_tissue`. The commands ask a model for nothing but what stands in SuppressionModel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from diffusers.utils import BaseOutput
from torch import Tensor

from diffusion.finite import refuse_broken
from diffusion.pipelines.answers import SuppressionAnswers
from diffusion.pipelines.folder import SavedPipeline

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


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
        not_adaptable: Why `radiolucent adapt` cannot set a site's correction beside the model; None: it can.
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
    def method(self) -> str: ...
    @property
    def not_adaptable(self) -> str | None: ...
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

    def bone(self, radiograph: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch 1 height width"]:
        """What is taken away, not clipped."""
        ...

    def adapted(self, site: Any) -> SuppressionModel:
        """The model with a site's correction beside it."""
        ...


class SuppressionPipeline(SuppressionAnswers, SavedPipeline):
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

    output_class = BoneSuppressionOutput

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **options: Any) -> Any:
        """As SavedPipeline's; ValueError for weights that are not finite."""
        pipeline = super().from_pretrained(pretrained_model_name_or_path, **options)
        refuse_broken(pipeline.components, pretrained_model_name_or_path)
        return pipeline
