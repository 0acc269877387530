"""Radiographs in and out, pairs, splits and transforms, in one convention: float32 in [-1, 1], bones bright.

`radiographs.transforms` is imported by its own name, since albumentations takes seconds to load.
"""

from __future__ import annotations

from radiographs.files import atomic_path
from radiographs.io import Radiograph, read_radiograph, read_together, to_levels, to_unit, write_radiograph
from radiographs.kinds import FORMATS
from radiographs.letterbox import Fit, fit, resize, unfit
from radiographs.pairs import Pair, find_pairs
from radiographs.splits import refuse_overlap, split_by_patient

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
