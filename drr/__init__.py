"""Radiographs from CT: read, separate bone, project, and make the line integrals an image."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .deform import deform
    from .detector import detector_response
    from .geometry import ConeBeam
    from .projector import project
    from .tissue import isolate_body, separate_bone
    from .volume import Volume
    from .volume_io import read_ct, sample_ct

HOME = {
    "Volume": "volume",
    "ConeBeam": "geometry",
    "project": "projector",
    "read_ct": "volume_io",
    "sample_ct": "volume_io",
    "separate_bone": "tissue",
    "isolate_body": "tissue",
    "detector_response": "detector",
    "deform": "deform",
}
__all__ = [
    "ConeBeam",
    "Volume",
    "deform",
    "detector_response",
    "isolate_body",
    "project",
    "read_ct",
    "sample_ct",
    "separate_bone",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import drr` is light."""
    if name not in HOME:
        raise AttributeError(f"module 'drr' has no attribute {name!r}")
    return getattr(import_module(f".{HOME[name]}", __name__), name)
