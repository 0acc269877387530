"""Radiographs from CT: read, separate bone, project, and make the line integrals an image."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drr.anatomy.deformation import deform
    from drr.anatomy.structures import project_structures
    from drr.anatomy.tissue import isolate_body, separate_bone
    from drr.appearance.detector import detector_response
    from drr.appearance.look import Look, render_pair
    from drr.appearance.physics import Physics, expose
    from drr.findings.report import Finding, truth
    from drr.geometry import ConeBeam
    from drr.io.read import read_ct, sample_ct
    from drr.projection.projector import Projector, project
    from drr.volume import Volume

HOME = {
    "ConeBeam": "geometry",
    "Finding": "findings.report",
    "Look": "appearance.look",
    "Physics": "appearance.physics",
    "Projector": "projection.projector",
    "Volume": "volume",
    "deform": "anatomy.deformation",
    "detector_response": "appearance.detector",
    "expose": "appearance.physics",
    "isolate_body": "anatomy.tissue",
    "project": "projection.projector",
    "project_structures": "anatomy.structures",
    "read_ct": "io.read",
    "render_pair": "appearance.look",
    "sample_ct": "io.read",
    "separate_bone": "anatomy.tissue",
    "truth": "findings.report",
}
__all__ = [
    "ConeBeam",
    "Finding",
    "Look",
    "Physics",
    "Projector",
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
