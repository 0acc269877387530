"""Programs from before BoneSuppressionPipeline moved name it by this path."""

from diffusion.pipelines.contract import BoneSuppressionOutput
from diffusion.pipelines.suppression import BoneSuppressionPipeline

__all__ = ["BoneSuppressionOutput", "BoneSuppressionPipeline"]
