"""The base class that does most of what a bone suppression model must (diffusion.pipelines.suppression_model).

A new model derives from SuppressionPipeline and writes `predict`, or, if it handles tiles, seeds or steps itself,
`soft_tissue`.
"""

from __future__ import annotations

from typing import Any

from diffusion.finite import refuse_broken
from diffusion.pipelines.answers import SuppressionAnswers
from diffusion.pipelines.folder import SavedPipeline
from diffusion.pipelines.suppression_model import BoneSuppressionOutput, StrengthLaw, SuppressionModel

__all__ = ["BoneSuppressionOutput", "StrengthLaw", "SuppressionModel", "SuppressionPipeline"]


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
        """Load a folder as SavedPipeline does, and refuse a diverged model.

        Args:
            pretrained_model_name_or_path: A folder, or OWNER/NAME.
            **options: As diffusers takes them.

        Returns:
            The pipeline, on the CPU.

        Raises:
            ValueError: Its weights are not finite.
        """
        pipeline = super().from_pretrained(pretrained_model_name_or_path, **options)
        refuse_broken(pipeline.components, pretrained_model_name_or_path)
        return pipeline
