"""The voxels as slice streaming reads them: rows contiguous across the beam, with the range in each that is not air."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import cv2
import numba
import numpy as np

from drr.projection.kept import kept_of, lock
from drr.projection.ray import NO_BONE, Q_SOFT, read_only
from drr.volume import Volume

EMPTY_HU = -1000  # a voxel of it or less attenuates nothing
RUN = 64  # voxels looked at together
HU_LIMIT = 31767  # the packed copy holds 15 bits of HU + 1000; anything denser counts as this


class Slices(NamedTuple):
    """A volume seen as slices along an axis; row i of slice k starts at i * row_step + k * slice_step.

    Attributes:
        voxels: Flat HU, or uint16 of HU + 1000 (air and less: 0) with the top bit where bone is to be counted.
        bone: Flat bone map beside HU; None with packed voxels.
        row_step: Elements from a row to the next.
        slice_step: Elements from a slice to the next.
        shape: (rows, slices, columns).
        spans: int32 (4, rows, slices): in each row, the first column that is not air and the one after the last, then
            the same for bone; 0, 0 in an empty row.
    """

    voxels: np.ndarray
    bone: np.ndarray | None
    row_step: int
    slice_step: int
    shape: tuple[int, int, int]
    spans: np.ndarray


def keep_spans(volume: Volume, spans: np.ndarray) -> Volume:
    """The volume, of which the spans along x (see Slices) are known already; its arrays become read-only.

    Args:
        volume: It is not copied; its record then holds the spans.
        spans: int32 (4, D, H): along x, the first voxel that is not air, the one after the last, and both for bone.

    Returns:
        The same volume.
    """
    hu, bone = _voxels(volume)
    kept_of(volume).slices = {"natural": (hu.reshape(-1), bone.reshape(-1), spans)}
    lock(volume)
    return volume


def slices_along(volume: Volume, axis: int) -> Slices:
    """The volume as slices along an axis.

    What is found of a volume is kept with it: the spans, and for x a transposed copy (packed, so that it is as large
    as the CT). The arrays of the volume become read-only, since a change would not be seen.

    Args:
        volume: The CT.
        axis: x (0), y (1) or z (2).

    Returns:
        The slices.
    """
    kept = kept_of(volume).slices
    name = "turned" if axis == 0 else "natural"
    if name not in kept:
        kept[name] = _turned(volume) if axis == 0 else _natural(volume)
        lock(volume)
    voxels, bone, spans = kept[name]
    nz, ny, nx = volume.hu.shape
    if axis == 2:
        return Slices(voxels, bone, nx, nx * ny, (ny, nz, nx), np.ascontiguousarray(spans.transpose(0, 2, 1)))
    return Slices(voxels, bone, nx * ny, (ny, nx)[axis], (nz, (nx, ny)[axis], (ny, nx)[axis]), spans)


def occupied(volume: Volume) -> np.ndarray | None:
    """The box of what is not air.

    Args:
        volume: The CT.

    Returns:
        (3, 2): first and last x, y, z index; None if all is air.
    """
    spans = slices_along(volume, 1).spans
    filled = spans[1] > spans[0]
    if not filled.any():
        return None
    z, y = (np.flatnonzero(filled.any(axis=a)) for a in (1, 0))
    return np.array([[spans[0][filled].min(), spans[1].max() - 1], [y[0], y[-1]], [z[0], z[-1]]])


def _voxels(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """HU and bone (D, H, W); HU in double precision become single, in which they are summed."""
    hu = read_only(volume.hu.astype(np.float32) if volume.hu.dtype == np.float64 else volume.hu)
    return hu, read_only(NO_BONE.reshape(0, 0, 0) if volume.bone is None else volume.bone)


def _natural(volume: Volume) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    hu, bone = _voxels(volume)
    spans = np.zeros((4, *hu.shape[:2]), np.int32)
    _find_spans(hu, bone, spans)
    return hu.reshape(-1), bone.reshape(-1), spans


def _turned(volume: Volume) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    if volume.hu.dtype != np.int16:
        hu, bone = (None if a is None else np.ascontiguousarray(a.transpose(0, 2, 1)) for a in (volume.hu, volume.bone))
        return _natural(Volume(hu, volume.affine, bone=bone))
    nz, ny, nx = volume.hu.shape
    packed, spans = np.empty((nz, nx, ny), np.uint16), np.zeros((4, nz, nx), np.int32)
    hu, bone = _voxels(volume)
    threads = numba.get_num_threads()

    def turn(first: int) -> None:
        plane = np.empty((ny, nx), np.uint16)
        for z in range(first, nz, threads):
            _pack(hu[z], bone[z : z + 1].reshape(-1, nx), plane)
            cv2.transpose(plane, packed[z])  # in vector registers: a quarter of the time of a loop in blocks
            find_column_spans(plane, 0, *spans[:2, z])
            find_column_spans(plane, (1 << 15) - 1, *spans[2:, z])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(turn, range(threads)))
    return read_only(packed.reshape(-1)), None, spans


@numba.njit(cache=True)
def counts(hu: Any, code: int) -> bool:
    """Whether a voxel adds to the bone channel (drr/projection/attenuation.py).

    Args:
        hu: Of the voxel.
        code: Of the bone mask: 0 no bone, 1 bone where it is denser than soft tissue, 2 bone always.

    Returns:
        True if the voxel is in the bone channel.
    """
    return code == 2 or (code == 1 and hu > Q_SOFT - 1000)


@numba.njit(cache=True, nogil=True)
def _pack(hu: Any, bone: Any, packed: Any) -> None:
    """HU + 1000 of a slice, with the top bit where bone is to be counted; bone: (0, columns) where there is none."""
    for y in range(hu.shape[0]):
        row, out = hu[y], packed[y]
        for x in range(row.size):
            value = np.int32(max(min(row[x], HU_LIMIT) + 1000, 0))
            if bone.shape[0] > 0 and counts(row[x], bone[y, x]):
                value += 1 << 15
            out[x] = value


@numba.njit(cache=True, parallel=True)
def _find_spans(hu: Any, bone: Any, spans: Any) -> None:
    for z in numba.prange(hu.shape[0]):
        for y in range(hu.shape[1]):
            spans[0, z, y], spans[1, z, y] = _span(hu[z, y], EMPTY_HU)
            if bone.size > 0:
                spans[2, z, y], spans[3, z, y] = _span(bone[z, y], 0)


@numba.njit(cache=True, nogil=True)
def find_column_spans(section: Any, limit: int, first: Any, last: Any) -> None:
    """In each column of a section, the first row that is dense and the one after the last; row by row, in registers.

    Args:
        section: (rows, columns).
        limit: Above which a voxel is dense.
        first: int32 (columns,), filled; 0 for an empty column.
        last: int32 (columns,), likewise.
    """
    nowhere = np.int32(1 << 30)
    bound = section.dtype.type(limit)
    first[:], last[:] = nowhere, 0
    for y in range(section.shape[0]):
        row, here, after = section[y], np.int32(y), np.int32(y + 1)
        for x in range(row.size):
            dense = row[x] > bound
            first[x] = min(first[x], here if dense else nowhere)
            last[x] = max(last[x], after if dense else np.int32(0))
    for x in range(first.size):
        first[x] = first[x] if last[x] > 0 else 0


@numba.njit(cache=True, nogil=True)
def _span(row: Any, limit: int) -> tuple[Any, Any]:
    """First index above `limit` and one after the last, 0 and 0 where there is none; looked for from both ends."""
    first, last = 0, row.size
    while first < last and not _reaches(row[first : first + RUN], limit):
        first += RUN
    if first >= last:
        return np.int32(0), np.int32(0)
    while row[first] <= limit:
        first += 1
    while not _reaches(row[max(last - RUN, first) : last], limit):
        last -= RUN
    while row[last - 1] <= limit:
        last -= 1
    return np.int32(first), np.int32(last)


@numba.njit(cache=True, nogil=True)
def _reaches(row: Any, limit: int) -> bool:
    """Whether any value is above `limit`; in vector registers."""
    highest = row[0]
    for x in range(row.size):
        highest = max(highest, row[x])
    return bool(highest > limit)
