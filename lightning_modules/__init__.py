"""Lightning wiring: modules, data modules and callbacks. No mathematics lives here."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "VQGANModule": "vqgan_module",
    "LatentDiffusionModule": "latent_diffusion_module",
    "PairDataModule": "data.pairs",
    "CTPairDataModule": "data.ct_pairs",
    "RegressionModule": "regression_module",
    "EnhancerModule": "enhancer_module",
    "ReportDataModule": "data.reports",
    "SynthesisModule": "synthesis_module",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lightning_modules' has no attribute '{name}'")
    return getattr(importlib.import_module(f"lightning_modules.{_HOMES[name]}"), name)
