"""Where the slices of a CT lie: their order, one affine for all, and what makes that impossible.

Image Position and Image Orientation place every slice (PS3.3 C.7.6.2.1.1). A tilted gantry shifts each slice within its
plane by the same amount, which an affine with oblique columns says exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drr.io.dicom.slices import Slice

SAME_PLACE_MM = 0.01
UNEVEN_MM, UNEVEN_PART = 0.1, 0.02  # positions are written with a decimal or two
GAP = 1.5  # times the steps on both sides
LARGEST_TILT_DEGREES = 45.0
NOTED_TILT_DEGREES = 0.5


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in order, from one end to the other.

    Attributes:
        slices: N of them.
        heights: (N,) in mm from the first along `step`.
        affine: (4, 4) of the evenly spaced volume that they make.
        count: Slices of that volume.
        fault: Why the affine has no meaning, if so; then `heights` are 0, 1, 2, ...
        notes: What a user should know, each a sentence.
    """

    slices: list[Slice]
    heights: np.ndarray
    affine: np.ndarray
    count: int
    fault: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_even(self) -> bool:
        """Whether each slice is one of the volume's."""
        return self.count == len(self.slices) and not uneven(self.heights)


def stack(slices: Sequence[Slice]) -> Stack:
    """Order the slices by their place and find the affine.

    Args:
        slices: Of one series.

    Returns:
        The stack.

    Raises:
        ValueError: Slices of several sizes, spacings or orientations; shifted against each other; missing.
    """
    _require_one(slices, "pixels", lambda one: one.shape, 0)
    _require_one(slices, "mm between pixels (rows, columns)", lambda one: one.spacing, 1e-3)
    _require_one(slices, "as Image Orientation", lambda one: one.axes, 2e-3)
    fault = _missing(slices)
    if fault:
        return Stack(_by_number(slices, fault), np.arange(len(slices), dtype=np.float64), np.eye(4), len(slices), fault)
    row, column, normal = _axes(slices[0])
    ordered = sorted(slices, key=lambda one: float(normal @ _place(one)))
    places = np.stack([_place(one) for one in ordered])
    heights = (places - places[0]) @ normal
    if heights[-1] < SAME_PLACE_MM:
        raise ValueError(f"all {len(slices)} slices lie in one plane; a volume is needed")
    along = (places[-1] - places[0]) / heights[-1]  # mm for each mm along the normal
    _require_line(ordered, places - places[0] - heights[:, None] * along, slices[0])
    tilt = float(np.degrees(np.arctan(np.linalg.norm(along - normal))))
    if tilt > LARGEST_TILT_DEGREES:
        raise ValueError(f"the slices are stacked {tilt:.0f} degrees off their planes' normal; no gantry tilts so far")
    notes = (
        [f"the gantry was tilted by {tilt:.1f} degrees; every voxel is in its place"]
        if tilt > NOTED_TILT_DEGREES
        else []
    )
    count = len(ordered)
    if uneven(heights):
        count, note = _resampling(heights)
        notes.append(note)
    spacing = slices[0].spacing or (1.0, 1.0)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([row * spacing[1], column * spacing[0], along * heights[-1] / (count - 1)])
    affine[:3, 3] = places[0]
    return Stack(ordered, heights, affine, count, "", tuple(notes))


def same_places(slices: Sequence[Slice]) -> list[tuple[Slice, Slice]]:
    """Pairs of slices that lie in one place, the first of each pair being the first in the series.

    Args:
        slices: Of a series; those without a position are left out.

    Returns:
        None if every slice has its own place.
    """
    found: dict[tuple[int, ...], Slice] = {}
    pairs = []
    for one in slices:
        if one.position is None:
            continue
        key = tuple(np.rint(one.position / SAME_PLACE_MM).astype(int).tolist())
        if key in found:
            pairs.append((found[key], one))
        else:
            found[key] = one
    return pairs


def uneven(heights: np.ndarray) -> bool:
    """Whether a slice lies off the place that even spacing would give it.

    Args:
        heights: (N,) in mm.

    Returns:
        True if one lies farther off than a fixed distance and a part of the mean step together.
    """
    even = np.linspace(heights[0], heights[-1], len(heights))
    step = (heights[-1] - heights[0]) / (len(heights) - 1)
    return bool(np.abs(heights - even).max() > UNEVEN_MM + UNEVEN_PART * step)


def _resampling(heights: np.ndarray) -> tuple[int, str]:
    """How many slices an even volume needs to keep the finer part of an uneven one; and a note of it."""
    steps = np.diff(heights)
    beside = np.maximum(np.r_[0, steps[:-1]], np.r_[steps[1:], 0])
    gaps = np.flatnonzero(steps > GAP * beside)
    if len(gaps) and len(steps) > 1:
        raise ValueError(f"slices are missing (a step of {steps[gaps[0]]:g} mm where {np.median(steps):g} is usual)")
    fine = np.percentile(steps, 10)
    count = int(min(round((heights[-1] - heights[0]) / fine) + 1, 4 * len(heights)))
    step = heights[-1] / (count - 1)
    return count, f"slices {steps.min():g} to {steps.max():g} mm apart were resampled to one every {step:.4g} mm"


def _require_one(slices: Sequence[Slice], what: str, of: object, tolerance: float) -> None:
    """ValueError, with the slice that differs, unless all have what the most have."""
    values = [of(one) for one in slices]  # type: ignore[operator]
    keys = [None if value is None else tuple(np.asarray(value, np.float64).ravel().tolist()) for value in values]
    usual = Counter(keys).most_common(1)[0][0]
    for one, key in zip(slices, keys):
        if (key is None) != (usual is None) or (key and usual and not np.allclose(key, usual, rtol=0, atol=tolerance)):
            said, other = ("none" if k is None else " x ".join(f"{n:.6g}" for n in k) for k in (key, usual))
            raise ValueError(f"{one.name}: {said} {what}, where most slices of the series have {other}")


def _missing(slices: Sequence[Slice]) -> str:
    """What a volume's geometry needs and the slices do not say."""
    for name, value in (
        ("Pixel Spacing", [one.spacing for one in slices]),
        ("Image Orientation", [one.axes for one in slices]),
        ("Image Position", [one.position for one in slices]),
    ):
        if lacking := sum(one is None for one in value):
            return f"{lacking} of {len(slices)} slices have no {name}"
    if min(slices[0].spacing or (0,)) <= 0:
        return f"a Pixel Spacing of {slices[0].spacing} mm"
    return ""


def _by_number(slices: Sequence[Slice], fault: str) -> list[Slice]:
    """The order where the places are not known: Instance Number."""
    numbers = [one.number for one in slices if one.number is not None]
    if len(set(numbers)) < len(slices):
        raise ValueError(f"{fault}, and no Instance Numbers give their order")
    return sorted(slices, key=lambda one: one.number or 0)


def _axes(one: Slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors along a row, down a column, and the normal of a slice."""
    axes = np.zeros((2, 3)) if one.axes is None else one.axes
    if not np.allclose(axes @ axes.T, np.eye(2), atol=1e-3):
        raise ValueError(f"{one.name}: Image Orientation {axes.ravel().tolist()} is no two directions at a right angle")
    row = axes[0] / np.linalg.norm(axes[0])
    column = axes[1] - row * (axes[1] @ row)
    column /= np.linalg.norm(column)
    return row, column, np.cross(row, column)


def _place(one: Slice) -> np.ndarray:
    return np.zeros(3) if one.position is None else one.position


def _require_line(slices: Sequence[Slice], beside: np.ndarray, first: Slice) -> None:
    """ValueError where a slice lies beside the straight line that the others make; beside: (N, 3) mm."""
    off = np.linalg.norm(beside, axis=1)
    allowed = UNEVEN_MM + 0.1 * min(first.spacing or (1.0,))
    if off.max() > allowed:
        worst = slices[int(off.argmax())]
        raise ValueError(f"{worst.name}: the slice lies {off.max():.1f} mm beside the line that the others make")
