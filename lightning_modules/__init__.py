"""Lightning wiring: modules, data modules and callbacks. No mathematics lives here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_modules.data.ct_pairs import CTPairDataModule
    from lightning_modules.data.pairs import PairDataModule
    from lightning_modules.data.reports import ReportDataModule
    from lightning_modules.enhancer_module import EnhancerModule
    from lightning_modules.latent_diffusion_module import LatentDiffusionModule
    from lightning_modules.regression_module import RegressionModule
    from lightning_modules.synthesis_module import SynthesisModule
    from lightning_modules.vqgan_module import VQGANModule

HOME = {
    "CTPairDataModule": "data.ct_pairs",
    "EnhancerModule": "enhancer_module",
    "LatentDiffusionModule": "latent_diffusion_module",
    "PairDataModule": "data.pairs",
    "RegressionModule": "regression_module",
    "ReportDataModule": "data.reports",
    "SynthesisModule": "synthesis_module",
    "VQGANModule": "vqgan_module",
}
__all__ = [
    "CTPairDataModule",
    "EnhancerModule",
    "LatentDiffusionModule",
    "PairDataModule",
    "RegressionModule",
    "ReportDataModule",
    "SynthesisModule",
    "VQGANModule",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that a command loads what it needs alone."""
    if name not in HOME:
        raise AttributeError(f"module 'lightning_modules' has no attribute '{name}'")
    return getattr(importlib.import_module(f"lightning_modules.{HOME[name]}"), name)
