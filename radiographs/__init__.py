"""Radiographs in and out, pairs, splits and transforms, in one convention: float32 in [-1, 1], bones bright."""

from __future__ import annotations

from radiographs.files import atomic_path
from radiographs.io import Radiograph, read_radiograph, to_levels, to_unit, write_radiograph

__all__ = ["Radiograph", "atomic_path", "read_radiograph", "to_levels", "to_unit", "write_radiograph"]
