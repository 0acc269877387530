"""A batch's CT, cast from every side without a second copy of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from drr.geometry import ConeBeam
from drr.projection.projector import MATERIALS, project
from drr.projection.ray import index_geometry
from drr.projection.streaming.slices import EMPTY_HU, find_column_spans, keep_spans
from drr.volume import Volume

if TYPE_CHECKING:
    from jaxtyping import Float32


def project_once(
    volume: Volume, beams: Sequence[ConeBeam], materials: Sequence[str] = MATERIALS, backend: str = "auto"
) -> Float32[torch.Tensor, "views materials height width"]:
    """As `project`, for a volume that is not needed afterwards: its voxels may be lost.

    Beams along the rows of voxels (laterals) are cast last, from the CT turned in its own memory, where `project` keeps
    a turned copy beside it.

    Args:
        volume: The CT, not to be used afterwards.
        beams: As for `project`.
        materials: As for `project`.
        backend: As for `project`.

    Returns:
        As `project`.
    """
    if not isinstance(volume.hu, np.ndarray) or not volume.hu.flags.c_contiguous:
        return project(volume, beams, materials, backend)
    along = [_runs_along_rows(volume, beam) for beam in beams]
    lines: dict[int, torch.Tensor] = {}
    for turned in (False, True):
        chosen = [n for n, value in enumerate(along) if value == turned]
        if chosen:
            volume = turn(volume) if turned else volume
            lines |= dict(zip(chosen, project(volume, [beams[n] for n in chosen], materials, backend)))
    return torch.stack([lines[n] for n in range(len(beams))])


def turn(volume: Volume) -> Volume:
    """The same CT with index x for y and y for x, in the memory of the volume, whose voxels are lost.

    Args:
        volume: Its hu is a contiguous array (D, H, W).

    Returns:
        (D, W, H), without a label map.
    """
    exchange = np.eye(4)[[1, 0, 2, 3]]
    depth, _, width = volume.hu.shape
    spans = np.zeros((4, depth, width), np.int32)
    hu = _turned(volume.hu, EMPTY_HU, spans[:2])
    bone = None if volume.bone is None else _turned(volume.bone, 0, spans[2:])
    return keep_spans(Volume(hu, volume.affine @ exchange, bone=bone, source=volume.source), spans)


def _turned(voxels: np.ndarray, limit: int, spans: np.ndarray) -> np.ndarray:
    """Each section turned, and the spans (2, D, W) of its rows while it is in the cache."""
    depth, height, width = voxels.shape
    voxels.flags.writeable = True  # `project` has locked it
    out = voxels.reshape(depth, width, height)
    before = np.empty_like(voxels[0])  # one section, which stays in the cache
    for z, (section, place) in enumerate(zip(voxels, out)):
        np.copyto(before, section)
        cv2.transpose(before, place)
        find_column_spans(before, limit, *spans[:, z])
    return out


def _runs_along_rows(volume: Volume, beam: ConeBeam) -> bool:
    """Whether the beam's middle ray crosses more voxels along x than along y or z."""
    source, origin, du, dv = index_geometry(volume.affine, beam)
    height, width = beam.shape
    middle = np.abs(origin + (width - 1) / 2 * du + (height - 1) / 2 * dv - source)
    return bool(middle.argmax() == 0)
