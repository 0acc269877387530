"""A CT series as DICOM: classic files or an enhanced multi-frame file, checked slice by slice, to a volume in HU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from drr.io.dicom.files import read_series
from drr.io.dicom.slices import Slice, read_hu, read_slices
from drr.io.dicom.stacking import Stack, same_places, stack
from drr.io.stored import Stored, affine_fault

TOLD_APART_BY = (
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "NominalPercentageOfCardiacPhase",
    "ConvolutionKernel",
    "AcquisitionTime",
    "ImageType",
)
Scale = tuple[float, float] | None


def read_dicom(
    folder: Path, series: str | int | None = None, scale: Scale = None, needs_geometry: bool = True
) -> Stored:
    """One CT series, checked slice by slice.

    Args:
        folder: DICOM files of one or more series, here or in folders below; or one enhanced multi-frame file.
        series: Series Number or Series Instance UID, needed if several can be a CT.
        scale: (slope, intercept) in place of the headers'.
        needs_geometry: False if the caller brings the affine: the slices are taken in order as they are.

    Returns:
        Voxels and geometry.

    Raises:
        ValueError: No CT or no one CT, slices that make no volume, pixels that cannot be decoded.
    """
    files, notes = read_series(folder, series)
    try:
        slices = read_slices(files)
        _require_scale(slices, scale)
        slices, dropped = _without_copies(slices, scale)
        if len(slices) < 2:
            raise ValueError("one slice; a CT has many: give the folder of the whole series")
        stacked = stack(slices)
        if stacked.is_even or stacked.fault or not needs_geometry:
            hu = _read_all(stacked.slices, scale)
        else:
            hu = _resample(stacked, scale)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    fault = stacked.fault or affine_fault(stacked.affine)
    return Stored(hu, stacked.affine, fault=fault, notes=(*notes, *dropped, *stacked.notes), is_hu=True)


def _require_scale(slices: Sequence[Slice], scale: Scale) -> None:
    """ValueError where unsigned pixels have no rescale: they cannot be HU."""
    for one in slices:
        unsigned = not int(one.file.header.get("PixelRepresentation") or 0)
        if scale is None and one.scale is None and unsigned:
            raise ValueError(
                f"{one.name}: unsigned pixels and no Rescale Intercept cannot be Hounsfield units; "
                "give rescale=(slope, intercept) (--rescale on the command line)"
            )


def _without_copies(slices: list[Slice], scale: Scale) -> tuple[list[Slice], list[str]]:
    """The slices without those that repeat another, pixel for pixel, and a note of it.

    ValueError: slices in one place that differ, as those of several phases do.
    """
    pairs = same_places(slices)
    for first, second in pairs:
        if first.shape != second.shape or not np.array_equal(_read_one(first, scale), _read_one(second, scale)):
            raise ValueError(
                f"{len(pairs)} slices lie where another one lies, with other pixels: several phases, times or "
                f"reconstructions in one series{_difference(first, second)}; give a folder with one of them"
            )
    again = {id(second) for _, second in pairs}
    notes = [f"{len(pairs)} slice(s) that repeat another were left out"] if pairs else []
    return [one for one in slices if id(one) not in again], notes


def _difference(first: Slice, second: Slice) -> str:
    """By which attribute two slices in one place can be told apart."""
    headers = first.file.header, second.file.header
    names = [name for name in TOLD_APART_BY if headers[0].get(name) != headers[1].get(name)]
    return f" ({names[0]} {headers[0].get(names[0])} and {headers[1].get(names[0])})" if names else ""


def _read_one(one: Slice, scale: Scale) -> np.ndarray:
    hu = np.empty(one.shape, np.int16)
    read_hu(one, hu, scale)
    return hu


def _read_all(slices: Sequence[Slice], scale: Scale) -> np.ndarray:
    """int16 (D, H, W), slice by slice into one array: no second volume arises."""
    hu = np.empty((len(slices), *slices[0].shape), np.int16)
    for one, out in zip(slices, hu):
        read_hu(one, out, scale)
    return hu


def _resample(stacked: Stack, scale: Scale) -> np.ndarray:
    """int16 (D, H, W): evenly spaced, each slice linear between the two that it lies between."""
    slices, heights = stacked.slices, stacked.heights
    hu = np.empty((stacked.count, *slices[0].shape), np.int16)
    read: dict[int, np.ndarray] = {}
    for out, height in zip(hu, np.linspace(0, heights[-1], stacked.count)):
        below = min(int(np.searchsorted(heights, height, side="right")) - 1, len(slices) - 2)
        for k in (below, below + 1):
            if k not in read:
                read[k] = _read_one(slices[k], scale)
        read = {k: read[k] for k in (below, below + 1)}
        part = np.float32((height - heights[below]) / (heights[below + 1] - heights[below]))
        np.copyto(out, np.rint((1 - part) * read[below] + part * read[below + 1]), casting="unsafe")
    return hu
