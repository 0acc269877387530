"""The voxels as slice streaming reads them: rows contiguous across the beam, with the range in each that is not air."""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numba
import numpy as np

from .ray import NO_BONE, Q_SOFT, read_only
from .volume import Volume

HU_LIMIT = 31767  # the packed copy holds 15 bits of HU + 1000; anything denser counts as this
BLOCK = 64


class Slices(NamedTuple):
    """A volume seen as slices along an axis; row i of slice k starts at i * row_step + k * slice_step.

    voxels: flat HU, or uint16 of HU + 1000 (air and less: 0) with the top bit where bone is to be counted.
    bone: flat bone map beside HU; None with packed voxels. shape: (rows, slices, columns).
    spans: int32 (4, rows, slices): in each row, the first column that is not air and the one after the last, then
    the same for bone; 0, 0 in an empty row.
    """

    voxels: np.ndarray
    bone: np.ndarray | None
    row_step: int
    slice_step: int
    shape: tuple[int, int, int]
    spans: np.ndarray


_known: WeakKeyDictionary[Volume, dict[str, tuple]] = WeakKeyDictionary()


def slices_along(volume: Volume, axis: int) -> Slices:
    """The volume as slices along x (0), y (1) or z (2).

    What is found of a volume is kept with it: the spans, and for x a transposed copy (packed, so that it is as large
    as the CT). The arrays of the volume become read-only, since a change would not be seen.
    """
    kept = _known.setdefault(volume, {})
    name = "turned" if axis == 0 else "natural"
    if name not in kept:
        kept[name] = _turned(volume) if axis == 0 else _natural(volume)
        for array in (volume.hu, volume.bone):
            if array is not None:
                array.flags.writeable = False
    voxels, bone, spans = kept[name]
    nz, ny, nx = volume.hu.shape
    if axis == 2:
        return Slices(voxels, bone, nx, nx * ny, (ny, nz, nx), np.ascontiguousarray(spans.transpose(0, 2, 1)))
    return Slices(voxels, bone, nx * ny, (ny, nx)[axis], (nz, (nx, ny)[axis], (ny, nx)[axis]), spans)


def occupied(volume: Volume) -> np.ndarray | None:
    """(3, 2): first and last x, y, z index of what is not air; None if all is air."""
    spans = slices_along(volume, 1).spans
    filled = spans[1] > spans[0]
    if not filled.any():
        return None
    z, y = (np.flatnonzero(filled.any(axis=a)) for a in (1, 0))
    return np.array([[spans[0][filled].min(), spans[1].max() - 1], [y[0], y[-1]], [z[0], z[-1]]])


def _natural(volume: Volume) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    hu = read_only(volume.hu)
    bone = read_only(NO_BONE.reshape(0, 0, 0) if volume.bone is None else volume.bone)
    spans = np.zeros((4, *hu.shape[:2]), np.int32)
    _find_spans(hu, bone, spans)
    return hu.reshape(-1), bone.reshape(-1), spans


def _turned(volume: Volume) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    if volume.hu.dtype != np.int16:
        hu, bone = (None if a is None else np.ascontiguousarray(a.transpose(0, 2, 1)) for a in (volume.hu, volume.bone))
        return _natural(Volume(hu, volume.affine, bone=bone))
    nz, ny, nx = volume.hu.shape
    packed = np.empty((nz, nx, ny), np.uint16)
    bone = read_only(NO_BONE.reshape(0, 0, 0) if volume.bone is None else volume.bone)
    _pack_turned(read_only(volume.hu), bone, packed)
    spans = np.zeros((4, nz, nx), np.int32)
    _find_packed_spans(packed, spans)
    return read_only(packed.reshape(-1)), None, spans


@numba.njit(cache=True)
def counts(hu: Any, code: int) -> bool:
    """Whether a voxel adds to the bone channel (drr/attenuation.py)."""
    return code == 2 or (code == 1 and hu > Q_SOFT - 1000)


@numba.njit(cache=True, parallel=True)
def _pack_turned(hu: Any, bone: Any, packed: Any) -> None:
    """packed[z, x, y] from hu[z, y, x] in blocks that stay in the cache."""
    nz, ny, nx = hu.shape
    for z in numba.prange(nz):
        for y0 in range(0, ny, BLOCK):
            for x0 in range(0, nx, BLOCK):
                for x in range(x0, min(x0 + BLOCK, nx)):
                    for y in range(y0, min(y0 + BLOCK, ny)):
                        value = max(min(int(hu[z, y, x]), HU_LIMIT) + 1000, 0)
                        if bone.size > 0 and counts(hu[z, y, x], bone[z, y, x]):
                            value += 1 << 15
                        packed[z, x, y] = value


@numba.njit(cache=True, parallel=True)
def _find_spans(hu: Any, bone: Any, spans: Any) -> None:
    for z in numba.prange(hu.shape[0]):
        for y in range(hu.shape[1]):
            spans[0, z, y], spans[1, z, y] = _span(hu[z, y], -1000, 0)
            if bone.size > 0:
                spans[2, z, y], spans[3, z, y] = _span(bone[z, y], 0, 0)


@numba.njit(cache=True, parallel=True)
def _find_packed_spans(packed: Any, spans: Any) -> None:
    for z in numba.prange(packed.shape[0]):
        for x in range(packed.shape[1]):
            spans[0, z, x], spans[1, z, x] = _span(packed[z, x], 0, 0)
            spans[2, z, x], spans[3, z, x] = _span(packed[z, x], (1 << 15) - 1, 0)


@numba.njit(cache=True)
def _span(row: Any, limit: int, nothing: int) -> tuple[int, int]:
    """First index above `limit` and one after the last; whole blocks are passed over by a test that vectorises."""
    first, last = 0, row.size
    while first < last and not _any_above(row[first : first + BLOCK], limit):
        first += BLOCK
    if first >= last:
        return nothing, nothing
    while not _any_above(row[max(last - BLOCK, 0) : last], limit):
        last -= BLOCK
    while row[first] <= limit:
        first += 1
    while row[last - 1] <= limit:
        last -= 1
    return first, last


@numba.njit(cache=True)
def _any_above(values: Any, limit: int) -> bool:
    found = False
    for value in values:
        found |= value > limit
    return found
