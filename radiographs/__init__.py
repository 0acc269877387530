"""Radiographs in and out, pairs, splits and transforms, in one convention: float32 in [-1, 1], bones bright.

What is named here is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from radiographs.files import atomic_path
    from radiographs.io import Radiograph, read_radiograph, read_together, to_levels, to_unit, write_radiograph
    from radiographs.kinds import FORMATS
    from radiographs.letterbox import Fit, fit, resize, unfit
    from radiographs.pairs import Pair, find_pairs
    from radiographs.splits import refuse_overlap, split_by_patient

HOME = {
    "FORMATS": "radiographs.kinds",
    "Fit": "radiographs.letterbox",
    "Pair": "radiographs.pairs",
    "Radiograph": "radiographs.io",
    "atomic_path": "radiographs.files",
    "find_pairs": "radiographs.pairs",
    "fit": "radiographs.letterbox",
    "read_radiograph": "radiographs.io",
    "read_together": "radiographs.io",
    "refuse_overlap": "radiographs.splits",
    "resize": "radiographs.letterbox",
    "split_by_patient": "radiographs.splits",
    "to_levels": "radiographs.io",
    "to_unit": "radiographs.io",
    "unfit": "radiographs.letterbox",
    "write_radiograph": "radiographs.io",
}
__all__ = [
    "FORMATS",
    "Fit",
    "Pair",
    "Radiograph",
    "atomic_path",
    "find_pairs",
    "fit",
    "read_radiograph",
    "read_together",
    "refuse_overlap",
    "resize",
    "split_by_patient",
    "to_levels",
    "to_unit",
    "unfit",
    "write_radiograph",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import radiographs` is light."""
    if name not in HOME:
        raise AttributeError(f"module 'radiographs' has no attribute {name!r}")
    return getattr(import_module(HOME[name]), name)
