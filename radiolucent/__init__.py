"""Radiolucent removes bones from chest radiographs, makes synthetic ones, and renders radiographs from CT.

Research use only. What is most often needed can be imported from here; it is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drr import ConeBeam, Volume, project, read_ct, sample_ct, separate_bone
    from radiographs import read_radiograph
    from radiolucent.suppression.suppressor import Suppressor

__version__ = "0.1.0"

HOME = {
    "ConeBeam": "drr",
    "Suppressor": "radiolucent.suppression.suppressor",
    "Volume": "drr",
    "project": "drr",
    "read_ct": "drr",
    "read_radiograph": "radiographs",
    "sample_ct": "drr",
    "separate_bone": "drr",
}
__all__ = [
    "ConeBeam",
    "Suppressor",
    "Volume",
    "project",
    "read_ct",
    "read_radiograph",
    "sample_ct",
    "separate_bone",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import radiolucent` is light."""
    if name not in HOME:
        raise AttributeError(f"module 'radiolucent' has no attribute {name!r}")
    return getattr(import_module(HOME[name]), name)
