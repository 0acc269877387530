"""What is body and what is bone: everything else to air, and a bone map for the projector."""

from __future__ import annotations

import cc3d
import cv2
import numba
import numpy as np

from drr.anatomy.bone_from_hu import DENSE_HU, bone_from_hu, dilate, disc, fill, part_sizes
from drr.io.padding import AIR, find_padding, padding_to_air
from drr.projection.ray import NO_BONE
from drr.projection.streaming.slices import EMPTY_HU, keep_spans
from drr.volume import Volume, require_array

COARSE_MM = 2.5  # masks are found on a grid of about this spacing
BODY_HU = -300
PARTLY_AIR_HU = -100
OPENING_MM = 6.0  # half the thickness of what is torn off the body: tables, sheets, tubes
BONES = ("vertebra", "sacrum", "humerus", "scapula", "clavic", "femur", "hip_", "skull", "rib_", "sternum")


def is_bone(structure: str) -> bool:
    """Whether a structure's name is that of a bone; costal cartilage is not.

    Args:
        structure: As TotalSegmentator names it.

    Returns:
        True for a name that begins with one of `BONES`.
    """
    return structure.startswith(BONES)


def isolate_body(volume: Volume) -> Volume:
    """Everything outside the body becomes air: table, cushions, cables, the padding around the field of view.

    The body is the largest connected thing denser than -300 HU once thin things are opened away, with every hole
    of its axial sections (lungs, bowel) filled.

    Args:
        volume: The CT.

    Returns:
        A new volume on the same grid.

    Raises:
        ValueError: No body in the volume, HU that are no numpy array, or axes that do not run to the patient's left,
            back and head, as `read_ct` turns them: sections are axial by their place.
    """
    require_array(volume, "isolate_body")
    volume.require_patient_axes("isolate_body")
    padding = find_padding(volume.hu)
    if padding is not None:
        volume = volume.replace(hu=volume.hu.copy())
        padding_to_air(volume.hu, padding)
    coarse, steps = _coarsen(volume)
    hu = np.empty_like(volume.hu)
    _take(volume.hu, _find_body(coarse, volume.source), hu, NO_BONE.reshape(0, 0, 0), *steps)
    return volume.replace(hu=hu)


def prepare(volume: Volume, with_bone: bool = True) -> Volume:
    """`isolate_body` and `separate_bone` for batches, with less time and memory and the same line integrals.

    The grid is cut down to the body and some air around it, in the memory of `volume.hu` itself, which is lost.

    Args:
        volume: The CT, not to be used afterwards.
        with_bone: Whether bone is separated.

    Returns:
        A smaller volume.

    Raises:
        ValueError: As of `isolate_body`.
    """
    require_array(volume, "prepare")
    volume.require_patient_axes("prepare")
    padding = find_padding(volume.hu)
    if padding is not None:
        if not volume.hu.flags.writeable:
            volume = volume.replace(hu=volume.hu.copy())
        padding_to_air(volume.hu, padding)
    coarse, steps = _coarsen(volume)
    body = _find_body(coarse, volume.source)
    inside = _box(body)
    coarse = np.where(body, coarse, np.int16(AIR))[inside]
    start = np.array([part.start * step for part, step in zip(inside, steps)])
    box = tuple(slice(part.start * step, part.stop * step) for part, step in zip(inside, steps))
    cut = volume.hu[box]
    flags = volume.hu.flags
    memory = volume.hu if flags.c_contiguous and flags.writeable else np.empty_like(volume.hu, order="C")
    hu = memory.reshape(-1)[: cut.size].reshape(cut.shape)
    from_hu = with_bone and volume.labels is None
    bone = np.empty(hu.shape, np.uint8) if from_hu else NO_BONE.reshape(0, 0, 0)
    kind = body[inside] * (1 + bone_from_hu(coarse, COARSE_MM)) if from_hu else body[inside]
    spans = _take(cut, kind, hu, bone, *steps)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ start[::-1]
    if from_hu:
        return keep_spans(volume.replace(hu=hu, affine=affine, bone=bone), spans)
    labels = None if volume.labels is None else volume.labels[box]
    result = volume.replace(hu=hu, affine=affine, labels=labels, bone=None)
    return separate_bone(result) if with_bone else keep_spans(result, spans)


def _find_body(coarse: np.ndarray, source: str) -> np.ndarray:
    """uint8 mask of the body on the coarse grid."""
    dense = (coarse > BODY_HU).view(np.uint8)
    element = disc(OPENING_MM / COARSE_MM)
    thick = [cv2.morphologyEx(s, cv2.MORPH_OPEN, element, borderType=cv2.BORDER_REPLICATE) for s in dense]
    parts, count = cc3d.connected_components(np.stack(thick), connectivity=6, return_N=True)
    if count == 0:
        raise ValueError(f"{source or 'volume'}: no body in this CT, all of it is air; give a chest CT in HU")
    body = (parts == part_sizes(parts, count)[1:].argmax() + 1).view(np.uint8)
    for section, everything in zip(body, dense):
        # The skin that the opening rounded off comes back, and one voxel of partial volume with it.
        skin = cv2.dilate(section, disc(1.5)) & everything
        section[:] = cv2.dilate(fill(skin), disc(1.5))
    return body


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    """Where a mask lies, with a voxel or two of margin; it starts evenly, for those who look at every second voxel."""
    box = []
    for axis, size in enumerate(mask.shape):
        found = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        box.append(slice(max(found[0] - 1, 0) & ~1, min(found[-1] + 2, size)))
    return tuple(box)


def separate_bone(volume: Volume) -> Volume:
    """Find the bone: 2 in bone, marrow included, 1 in the rim around it, where bone is only part of a voxel.

    From the label map, by its structures' names, if there is one (rim: one voxel); else from HU (see
    bone_from_hu; rim: about 2.5 mm). Contrast medium and metal above 1800 HU are not bone.

    Args:
        volume: The CT.

    Returns:
        The volume with `bone`, uint8 (D, H, W).

    Raises:
        ValueError: Without a label map, axes that do not run to the patient's left, back and head, as `read_ct` turns
            them: bone is known by its place too. HU that are no numpy array.
    """
    require_array(volume, "separate_bone")
    if volume.labels is None or volume.structures is None:
        volume.require_patient_axes("separate_bone without a label map")
        coarse, steps = _coarsen(volume)
        return volume.replace(bone=_bone_map(volume.hu, bone_from_hu(coarse, COARSE_MM), steps))
    table = np.zeros(max(256, int(volume.labels.max()) + 1), np.uint8)
    table[list(volume.names_where(is_bone))] = 1
    core = table[volume.labels]
    bone = core + dilate(core)
    dense = volume.hu > DENSE_HU
    if dense.any():
        bone[dilate(dense) > 0] = 0
    return volume.replace(bone=_bone_map(volume.hu, bone, (1, 1, 1)))


def _bone_map(hu: np.ndarray, coarse: np.ndarray, steps: tuple[int, int, int]) -> np.ndarray:
    """uint8 like `hu`: the coarse map at every voxel; bone that is partly lung or air is rim, so never made denser."""
    bone = coarse
    for axis, (step, size) in enumerate(zip(steps, hu.shape)):
        bone = np.repeat(bone, step, axis).take(range(size), axis)
    return np.minimum(bone, np.where(hu < PARTLY_AIR_HU, np.uint8(1), np.uint8(2)))


def _coarsen(volume: Volume) -> tuple[np.ndarray, tuple[int, int, int]]:
    """int16 block means on a grid of about 2.5 mm, and the block's size (z, y, x) in voxels."""
    steps = np.clip(np.rint(COARSE_MM / volume.spacing[::-1]), 1, volume.hu.shape).astype(int)
    sz, sy, sx = (int(step) for step in steps)
    return (volume.hu if sz * sy * sx == 1 else _block_mean(volume.hu, sz, sy, sx)), (sz, sy, sx)


@numba.njit(cache=True, nogil=True)
def _block_mean(hu, sz, sy, sx):  # type: ignore[no-untyped-def]
    depth, height, width = hu.shape
    out = np.empty(((depth + sz - 1) // sz, (height + sy - 1) // sy, (width + sx - 1) // sx), np.int16)
    total = np.empty(width, np.int32)
    for k in range(out.shape[0]):
        z1 = min((k + 1) * sz, depth)
        for j in range(out.shape[1]):
            y1 = min((j + 1) * sy, height)
            total[:] = 0
            for z in range(k * sz, z1):
                for y in range(j * sy, y1):
                    row = hu[z, y]
                    for x in range(width):  # whole rows first: this loop runs in vector registers
                        total[x] += row[x]
            rows = (z1 - k * sz) * (y1 - j * sy)
            for i in range(out.shape[2]):
                x1 = min((i + 1) * sx, width)
                out[k, j, i] = total[i * sx : x1].sum() // (rows * (x1 - i * sx))
    return out


@numba.njit(cache=True, nogil=True)
def _take(hu, kind, out, bone, sz, sy, sx):  # type: ignore[no-untyped-def]
    """`hu` where the coarse map `kind` is not 0, air elsewhere; into `bone` (if not empty) what `_bone_map` says.

    kind: 0 outside, 1 body, 2 and 3 bone's 1 and 2. `out` may lie in hu's memory, at or before hu itself.
    Returns the spans of the rows as `drr.projection.streaming.slices.Slices` has them.
    """
    depth, height, width = hu.shape
    spans = np.zeros((4, depth, height), np.int32)
    runs = np.empty((kind.shape[1], kind.shape[2], 3), np.int64)  # of equal kinds: first column, one past, kind
    count = np.empty(kind.shape[1], np.int64)
    for z in range(depth):
        if z % sz == 0:
            for j in range(kind.shape[1]):
                count[j] = _find_runs(kind[z // sz, j], runs[j])
        for y in range(height):
            span = spans[:, z, y]
            for n in range(count[y // sy]):
                first, last, what = runs[y // sy, n]
                first, last = first * sx, min(last * sx, width)
                row, to = hu[z, y, first:last], out[z, y, first:last]
                if what == 0:
                    to[:] = AIR
                else:
                    for x in range(row.size):
                        to[x] = row[x]
                    _extend(span[:2], first, last)
                if bone.size > 0:
                    code = bone[z, y, first:last]
                    code[:] = max(what - 1, 0)
                    if what > 1:
                        _extend(span[2:], first, last)
                    if what == 3:
                        for x in range(code.size):
                            code[x] = np.uint8(1) if to[x] < PARTLY_AIR_HU else np.uint8(2)

            row = out[z, y]  # air at the ends of the body's runs does not count
            while span[0] < span[1] and row[span[0]] <= EMPTY_HU:
                span[0] += 1
            while span[0] < span[1] and row[span[1] - 1] <= EMPTY_HU:
                span[1] -= 1
            if span[0] == span[1]:
                span[:2] = 0
    return spans


@numba.njit(cache=True, nogil=True)
def _extend(span, first, last):  # type: ignore[no-untyped-def]
    """A span (first, one after the last) so that it holds a further run; 0, 0 is none."""
    if span[1] == 0:
        span[0] = first
    span[1] = last


@numba.njit(cache=True, nogil=True)
def _find_runs(row, runs):  # type: ignore[no-untyped-def]
    """Runs of equal values of a row into (n, 3): the first column, the one after the last, the value; how many."""
    count = 0
    for i in range(row.size):
        if count == 0 or row[i] != runs[count - 1, 2]:
            runs[count, 0], runs[count, 2] = i, row[i]
            count += 1
        runs[count - 1, 1] = i + 1
    return count
