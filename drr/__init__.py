"""Radiographs from CT: read, separate bone, project, and make the line integrals an image."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .anatomy import project_structures
    from .deformation import deform
    from .detector import detector_response
    from .findings import Finding, truth
    from .geometry import ConeBeam
    from .look import Look, render_pair
    from .physics import Physics, expose
    from .projector import project
    from .tissue import isolate_body, separate_bone
    from .volume import Volume
    from .volume_io import read_ct, sample_ct

HOME = {
    "ConeBeam": "geometry",
    "Finding": "findings",
    "Look": "look",
    "Physics": "physics",
    "Volume": "volume",
    "deform": "deformation",
    "detector_response": "detector",
    "expose": "physics",
    "isolate_body": "tissue",
    "project": "projector",
    "project_structures": "anatomy",
    "read_ct": "volume_io",
    "render_pair": "look",
    "sample_ct": "volume_io",
    "separate_bone": "tissue",
    "truth": "findings",
}
__all__ = [
    "ConeBeam",
    "Finding",
    "Look",
    "Physics",
    "Volume",
    "deform",
    "detector_response",
    "expose",
    "isolate_body",
    "project",
    "project_structures",
    "read_ct",
    "render_pair",
    "sample_ct",
    "separate_bone",
    "truth",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import drr` is light."""
    if name not in HOME:
        raise AttributeError(f"module 'drr' has no attribute {name!r}")
    return getattr(import_module(f".{HOME[name]}", __name__), name)
