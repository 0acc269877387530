"""A body in layers, each of which can be shown as strongly as a radiograph shows it: soft tissue, groups of bones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy import ndimage

from drr.anatomy.chest import lungs_on_grid
from drr.anatomy.tissue import is_bone, isolate_body, separate_bone
from drr.geometry import ConeBeam, body_box
from drr.projection.projector import project
from drr.volume import Volume, require_array

if TYPE_CHECKING:
    from jaxtyping import Float16

LAYERS = ("soft", "ribs", "spine", "girdle", "sternum", "lung")
SOFT, RIBS, SPINE, GIRDLE, STERNUM, LUNG = range(len(LAYERS))
BONES = (RIBS, SPINE, GIRDLE, STERNUM)

CONTRAST_HU = 150  # what is denser and not bone is contrast medium: taken for blood
RIBS_MM, STERNUM_MM, SPINE_MM = 16.0, 32.0, 34.0  # ribs: from the lungs' hull, at least; the others: from the midline
LOWER_PART = (0.2, 0.4)  # of the lungs' height: beside it and below, all bones but the spine are ribs
LUNG_SECTION_MM2 = 1000.0  # of a slice in which the hull of the lungs means something


def training_body(volume: Volume) -> Volume:
    """The body alone, its bone known, contrast medium as dense as blood, `labels` the layer of every bone voxel.

    Args:
        volume: A CT as `read_ct` gives it, with or without a label map.

    Returns:
        A new volume.

    Raises:
        ValueError: No body or no lungs in it.
    """
    volume = separate_bone(isolate_body(volume))
    assert volume.bone is not None
    hu = np.where((volume.bone == 0) & (volume.hu > CONTRAST_HU), np.int16(CONTRAST_HU), volume.hu)
    layers = bone_layers(volume)
    return volume.replace(hu=hu, labels=layers, structures={k: LAYERS[k] for k in BONES})


def bone_layers(volume: Volume) -> np.ndarray:
    """The layer that each voxel belongs to if it is bone.

    By the label map's names if there is one (a voxel without a name takes the nearest bone's), else by place: in
    front of the lungs' middle within 32 mm of the midline lies the sternum, behind it the spine; ribs are what is
    beside or below the lungs' lower part, and further up what is no farther from the hull of the lungs than those ribs
    are (16 mm at least); all else is shoulder girdle.

    Args:
        volume: Axes as `read_ct` turns them (z to the head, y to the back).

    Returns:
        uint8 (D, H, W), places in BONES.

    Raises:
        ValueError: No lungs, or, without a label map, other axes.
    """
    require_array(volume, "bone_layers")
    if volume.labels is None or volume.structures is None:
        volume.require_patient_axes("bone_layers without a label map")
        return _layers_by_place(volume)
    table = np.zeros(max(256, int(volume.labels.max()) + 1), np.uint8)
    for number, name in volume.names_where(is_bone).items():
        table[number] = _layer_of(name)
    named = table[volume.labels]
    nearest = ndimage.distance_transform_edt(named == 0, volume.spacing[::-1], False, True)
    return named[tuple(nearest)]


def _layer_of(structure: str) -> int:
    if structure.startswith("rib_"):
        return RIBS
    if structure.startswith("sternum"):
        return STERNUM
    return GIRDLE if structure.startswith(("humerus", "scapula", "clavic")) else SPINE


def _layers_by_place(volume: Volume) -> np.ndarray:
    lung, step = lungs_on_grid(volume)
    if not lung.any():
        raise ValueError(f"{volume.source or 'volume'}: no lung is seen in it; is this a CT of a chest?")
    sz, sy, sx = step * volume.spacing[::-1]
    zs, ys, xs = np.nonzero(lung)
    x = np.abs(np.arange(lung.shape[2]) - (xs.min() + xs.max()) / 2) * sx
    back = ((np.arange(lung.shape[1]) - np.median(ys)) * sy > 0)[:, None]
    outside = _beyond_hull(lung, (sz, sy, sx))
    start, stop = (round(zs.min() + part * (zs.max() - zs.min())) for part in LOWER_PART)
    assert volume.bone is not None
    bone = volume.bone[:: step[0], :: step[1], :: step[2]] == 2
    beside = bone[start:stop] & (x > SPINE_MM)
    reach = np.quantile(outside[start:stop][beside], 0.9) if beside.any() else 0.0
    coarse = np.where(outside <= max(RIBS_MM, reach), np.uint8(RIBS), np.uint8(GIRDLE))
    coarse[:stop] = RIBS
    coarse[:, ~back & (x < STERNUM_MM)] = STERNUM
    coarse[:, back & (x < SPINE_MM)] = SPINE
    index = [np.minimum(np.arange(n) // s, m - 1) for n, s, m in zip(volume.hu.shape, step, coarse.shape)]
    return coarse[np.ix_(*index)]


def _beyond_hull(lung: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Distance in mm, (z, y, x), from the convex hull of the lungs and their mirror image in the slice.

    In slices with hardly any lung: from the hull in the nearest slice that has some.
    """
    sz, sy, sx = spacing
    _, _, xs = np.nonzero(lung)
    both = lung | np.roll(lung[..., ::-1], xs.min() + xs.max() + 1 - lung.shape[2], axis=2)
    outside = np.full(lung.shape, np.inf)
    seen = [z for z in range(len(lung)) if lung[z].sum() * sy * sx > LUNG_SECTION_MM2] or [len(lung) // 2]
    for z in seen:
        hull = cv2.convexHull(np.argwhere(both[z])[:, ::-1].astype(np.int32))
        mask = np.zeros(lung.shape[1:], np.uint8)
        cv2.fillConvexPoly(mask, hull, 1)
        outside[z] = ndimage.distance_transform_edt(mask == 0, sampling=(sy, sx))
    for z in set(range(len(lung))) - set(seen):
        near = min(seen, key=lambda s: abs(s - z))
        outside[z] = np.hypot(outside[near], abs(z - near) * sz)
    return outside


def cast_layers(body: Volume, beams: Sequence[ConeBeam]) -> Float16[np.ndarray, "views 6 height width"]:
    """Line integrals of each layer, in the order of LAYERS.

    "lung" is the path through the lungs as if they were water: where it is long the lungs are, and how thick. Where a
    ray leaves the scan through its top or bottom while it is still beside the body, all layers are 0: nothing that is
    cut short is shown.

    Args:
        body: What `training_body` returned, deformed or not.
        beams: V beams of one shape.

    Returns:
        float16 (V, 6, H, W), dimensionless.
    """
    assert body.bone is not None and body.labels is not None
    out = np.empty((len(beams), len(LAYERS), *beams[0].shape), np.float16)
    out[:, SOFT] = project(body, beams, ("soft",), "cpu")[:, 0].numpy()
    for layer in BONES:
        bone = np.where(body.labels == layer, body.bone, np.uint8(0))
        part = Volume(np.where(bone > 0, body.hu, np.int16(-1024)), body.affine, bone=bone)
        out[:, layer] = project(part, beams, ("bone",), "cpu")[:, 0].numpy() if bone.any() else 0
    lung, step = lungs_on_grid(body)
    affine = body.affine.copy()
    affine[:3, :3] *= step[::-1]
    path = Volume(np.where(lung, np.int16(0), np.int16(-1000)), affine)
    out[:, LUNG] = project(path, beams, ("total",), "cpu")[:, 0].numpy()
    box = body_box(body)
    for view, beam in zip(out, beams):
        view[:, ~_whole_rays(body, box, beam)] = 0
    return out


def _whole_rays(volume: Volume, box: tuple[np.ndarray, np.ndarray], beam: ConeBeam) -> np.ndarray:
    """Bool (H, W): the rays that stay within the scan's height all along the body's box."""
    source, corner, du, dv = (beam.numpy(name) for name in ("source", "origin", "du", "dv"))
    rows, columns = (np.arange(n)[:, None] for n in beam.shape)
    ray = (corner + rows * dv)[:, None] + (columns * du)[None] - source  # (H, W, 3)
    along = int(np.argmax(np.abs(ray.mean(axis=(0, 1))[:2])))
    ends = volume.affine[2, 3] + volume.affine[2, 2] * np.array([0, volume.hu.shape[0] - 1])
    inside = np.ones(beam.shape, bool)
    for side in box:
        z = source[2] + ray[..., 2] * (side[along] - source[along]) / ray[..., along]
        inside &= (z >= ends.min()) & (z <= ends.max())
    return inside
