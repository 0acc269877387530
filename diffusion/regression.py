"""Programs from before BoneRegressionPipeline moved name it by this path."""

from diffusion.pipelines.regression import BoneRegressionPipeline

__all__ = ["BoneRegressionPipeline"]
