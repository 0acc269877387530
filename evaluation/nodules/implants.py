"""Nodules of known size put into a given radiograph, suppressed with it, and what of each is left.

Which nodules a radiograph holds is not known, so balls are drawn into it: a ball's chord, its edge smoothed, in the
contrast that the display gives to what is as wide as a rib. A solid nodule in the lung adds 0.0165 per mm to the line
integral (water's 0.0206 less the lung that it replaces); in bodies of two CTs the band of the ribs (Gaussian sigmas of
1.2 to 14 pixels of 512) has a deviation over the lungs of 0.15 to 0.18. So a mm of chord adds a tenth of that deviation
in the radiograph at hand, whatever its window, tone curve and enhancement: 10 mm are as strong as the lungs' texture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from evaluation.nodules.detectability import ClutterRatio
from evaluation.suppression.gains import SIDE, rib_band, scaled

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

DIAMETERS_MM = (6.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0)
CONTRAST_PER_MM = 0.1  # of the deviation of the ribs' band over the lungs
EDGE_MM = 0.8  # sigma of the nodule's edge
APART_MM = 47.0  # between the centres of nodules that are put in together
TOGETHER = 4  # at most
PITCH_MM = 24.0  # of the grid; every second place is far enough from the next
TRIES = 200  # places drawn before a group stays smaller
Suppress = Callable[[np.ndarray], np.ndarray]  # float32 (H, W) in [-1, 1] to the same


@dataclass(frozen=True, eq=False)
class Implant:
    """A nodule for one radiograph.

    Attributes:
        row: Of its centre, in pixels.
        column: Of its centre, in pixels.
        diameter_mm: Of the ball.
        box: The part of the image that it touches.
        added: float32, what it adds there.
    """

    row: float
    column: float
    diameter_mm: float
    box: tuple[slice, slice]
    added: np.ndarray


@dataclass(frozen=True)
class Kept:
    """What suppression left of an implanted nodule.

    Attributes:
        row: Of its centre, in pixels.
        column: Of its centre, in pixels.
        diameter_mm: Of the ball.
        kept: The projection of the change in the result onto the nodule: 1 keeps it, 0 removes it.
        before: Its detectability d' in the radiograph.
        after: Its detectability d' in the result.
    """

    row: float
    column: float
    diameter_mm: float
    kept: float
    before: float
    after: float

    @property
    def detectability(self) -> float:
        """D' after over before."""
        return self.after / self.before if self.before > 0 else float("nan")


def contrast_per_mm(pixels: Float[np.ndarray, "height width"], lungs: Bool[np.ndarray, "height width"]) -> float:
    """Grey that a mm of nodule adds in this radiograph.

    Args:
        pixels: Radiograph float32 (H, W) in [-1, 1].
        lungs: bool (H, W).

    Returns:
        Grey levels a mm of chord.

    Raises:
        ValueError: Lungs without any texture, or an empty mask.
    """
    small = scaled(pixels, SIDE)
    inside = scaled(lungs.astype(np.float32), SIDE) > 0.5
    texture = float(rib_band(small)[inside].std()) if inside.any() else 0.0
    if texture < 1e-4:
        raise ValueError(
            f"the lungs' texture has a deviation of {texture:.1e} of the grey range over {int(inside.sum())} pixels: "
            "there is no contrast that a nodule could be given; is this a radiograph, with lungs in the mask?"
        )
    return CONTRAST_PER_MM * texture


def make_implant(
    shape: tuple[int, int], row: float, column: float, diameter_mm: float, pixel_mm: float, per_mm: float
) -> Implant:
    """A ball for a place of an image.

    Args:
        shape: (H, W) of the image.
        row: Of its centre, in pixels.
        column: Of its centre, in pixels.
        diameter_mm: Of the ball.
        pixel_mm: Side of a pixel.
        per_mm: Grey per mm of chord, see `contrast_per_mm`.

    Returns:
        The nodule, cut off at the image's border.
    """
    reach = (diameter_mm / 2 + 4 * EDGE_MM) / pixel_mm + 1
    starts = [max(0, int(centre - reach)) for centre in (row, column)]
    stops = [min(size, int(centre + reach) + 2) for centre, size in zip((row, column), shape)]
    y = (np.arange(starts[0], stops[0]) - row)[:, None] * pixel_mm
    x = (np.arange(starts[1], stops[1]) - column)[None] * pixel_mm
    chord = 2 * np.sqrt(np.maximum((diameter_mm / 2) ** 2 - y**2 - x**2, 0)).astype(np.float32)
    added = cv2.GaussianBlur(chord, (0, 0), EDGE_MM / pixel_mm, borderType=cv2.BORDER_REFLECT) * np.float32(per_mm)
    return Implant(
        float(row), float(column), diameter_mm, (slice(starts[0], stops[0]), slice(starts[1], stops[1])), added
    )


def put_in(pixels: Float[np.ndarray, "height width"], implants: Sequence[Implant]) -> Float[np.ndarray, "height width"]:
    """The radiograph with nodules in it; what would exceed white is cut off, as a display cuts it.

    Args:
        pixels: (H, W) in [-1, 1].
        implants: Nodules for an image of this shape.

    Returns:
        A new image (H, W).
    """
    image = pixels.copy()
    for implant in implants:
        image[implant.box] += implant.added
    return image.clip(-1, 1)


def scatter(
    lungs: Bool[np.ndarray, "height width"], pixel_mm: float, per_mm: float, count: int, rng: np.random.Generator
) -> Iterator[list[Implant]]:
    """Groups of up to 4 nodules that lie apart, `count` in all, the seven diameters in turn, centres over the lungs.

    Args:
        lungs: bool (H, W), not empty.
        pixel_mm: Side of a pixel.
        per_mm: Grey per mm of chord, see `contrast_per_mm`.
        count: Nodules in all; fewer come out where four do not find room together.
        rng: Decides on places and the order of sizes.

    Returns:
        The groups, drawn while they are asked for; a group may be shorter than 4.
    """
    rows, columns = np.nonzero(lungs)
    diameters = rng.permutation(np.resize(DIAMETERS_MM, count)).tolist()
    for start in range(0, count, TOGETHER):
        group: list[Implant] = []
        for diameter in diameters[start : start + TOGETHER]:
            for _ in range(TRIES):
                k = rng.integers(len(rows))
                row, column = float(rows[k]), float(columns[k])
                gaps = (np.hypot(row - other.row, column - other.column) * pixel_mm for other in group)
                if all(gap > APART_MM for gap in gaps):
                    group.append(make_implant(lungs.shape, row, column, diameter, pixel_mm, per_mm))
                    break
        yield group


def lattice(
    lungs: Bool[np.ndarray, "height width"], pixel_mm: float, per_mm: float, diameters_mm: Sequence[float]
) -> list[list[Implant]]:
    """Groups of nodules on a square grid of 24 mm over the lungs, a diameter at a time, those of a group 48 mm apart.

    Args:
        lungs: bool (H, W).
        pixel_mm: Side of a pixel.
        per_mm: Grey per mm of chord, see `contrast_per_mm`.
        diameters_mm: Every place gets one nodule of each.

    Returns:
        Groups in the order of the diameters; no group is empty.

    Raises:
        ValueError: Lungs so small that no place of the grid lies in them.
    """
    rows, columns = np.nonzero(lungs)
    y, x = (_ticks(found, PITCH_MM / pixel_mm) for found in (rows, columns))
    places = [(i, j) for i, r in enumerate(y) for j, c in enumerate(x) if lungs[round(r), round(c)]]
    if not places:
        raise ValueError(
            f"lungs of {len(rows)} pixels of {pixel_mm:.2f} mm: no place of a grid of {PITCH_MM:g} mm lies in them"
        )
    apart = [[place for place in places if (place[0] % 2, place[1] % 2) == part] for part in np.ndindex(2, 2)]
    return [
        [make_implant(lungs.shape, y[i], x[j], diameter, pixel_mm, per_mm) for i, j in group]
        for diameter in diameters_mm
        for group in apart
        if group
    ]


def _ticks(found: np.ndarray, step: float) -> np.ndarray:
    """As many places `step` apart as fit between the lowest and the highest of some numbers, in their middle."""
    if not len(found):
        return np.zeros(0)
    low, high = float(found.min()), float(found.max())
    count = int((high - low) // step) + 1
    return (low + high) / 2 + (np.arange(count) - (count - 1) / 2) * step


def measure_implants(
    suppress: Suppress,
    pixels: Float[np.ndarray, "height width"],
    lungs: Bool[np.ndarray, "height width"],
    groups: Iterator[list[Implant]] | Sequence[list[Implant]],
    pixel_mm: float,
    per_mm: float,
    plain: Float[np.ndarray, "height width"] | None = None,
) -> list[Kept]:
    """Suppress the radiograph with each group of nodules in it, and measure what is left of every nodule.

    Args:
        suppress: The method, (H, W) to (H, W); it must treat the image with and without nodules alike (equal noise).
        pixels: Radiograph float32 (H, W) in [-1, 1].
        lungs: bool (H, W), over which the clutter is measured.
        groups: Nodules that are put in together.
        pixel_mm: Side of a pixel.
        per_mm: Grey per mm of chord, of these nodules.
        plain: `suppress(pixels)`, if it is known.

    Returns:
        One for each nodule, in the order of the groups; `kept` is NaN for a nodule that adds nothing.

    Raises:
        ValueError: A result of another shape, or with values that are not finite.
    """
    plain = _checked(suppress(pixels) if plain is None else plain, pixels)
    ratio = ClutterRatio(pixels, plain, lungs, pixel_mm)
    found = []
    for group in groups:
        image = put_in(pixels, group)
        result = _checked(suppress(image), pixels)
        for implant in group:
            signal = (image[implant.box] - pixels[implant.box]).astype(np.float64)
            change = (result[implant.box] - plain[implant.box]).astype(np.float64)
            power = float((signal**2).sum())
            kept = float((change * signal).sum()) / power if power > 0 else float("nan")
            before = ratio.index(implant.diameter_mm, per_mm)
            after = before * kept * ratio(implant.diameter_mm)
            found.append(Kept(implant.row, implant.column, implant.diameter_mm, kept, before, after))
    return found


def _checked(result: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    result = np.asarray(result)
    if result.shape != pixels.shape or not np.isfinite(result).all():
        raise ValueError(
            f"the method made {result.shape} of a radiograph {pixels.shape}, or values that are not finite; expected "
            "one finite image of the same size"
        )
    return result
