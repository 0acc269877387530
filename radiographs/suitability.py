"""Whether a picture is what the models here are for: a frontal chest radiograph, bones bright, upright.

Three plain measures on a small copy of the image, ranked (so that exposure and display do not matter):

- how well it matches two dark lungs beside a bright middle above a bright abdomen (`chest_likeness`), as it is, turned
  into its negative, and laid on its side, and how well one dark field in the middle, as in a lateral;
- how dark its two side edges are, where there is air or at least less body;
- whether a body hangs free in air, round above and below, as in an axial CT slice.

A false alarm on a radiograph is worse than an odd input missed, and turning a positive worse than either: the limits
were set on radiographs that were cropped, tilted, made opaque on one side or both and framed, with a margin.
docs/suitability.md has the figures. It is no diagnosis: of a lung that is opaque it says that one lung field is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from radiographs.chest_likeness import SIDE, chest_likeness, lateral_likeness, ranked

if TYPE_CHECKING:
    from jaxtyping import Float

WORK = 256  # longest side of the copy that everything else is measured on
FLAT = 0.02  # part of the grey range below which there is no image
SMALL_RANGE = 0.2  # part of the grey range that an exposed radiograph uses at least
TWO_TONES = 0.85  # part of the pixels near black or white from which on it is a drawing, a text or a mask
NOISY = 0.75  # part of the deviation that lies in single pixels of the copy

NEGATIVE = "bones are dark (a negative)"
ADVICE = "the model is for upright frontal chest radiographs"


@dataclass(frozen=True)
class Measures:
    """What `assess` decides on. Likenesses are correlations, -1 to 1.

    Attributes:
        frontal: Likeness to a frontal chest, as it is.
        negative: Of its negative.
        on_its_side: Of the image laid on its side.
        lateral: Likeness to a lateral, one dark field in the middle.
        sides: Rank of the side edges, -1 (darkest) to 1.
    """

    frontal: float
    negative: float
    on_its_side: float
    lateral: float
    sides: float


@dataclass(frozen=True)
class Suitability:
    """What is odd about an image.

    Attributes:
        warnings: Sentences for a person, none for a frontal chest radiograph.
        inverted: Bones are dark, for sure.
        measures: None if the image is too plain to measure.
    """

    warnings: tuple[str, ...]
    inverted: bool
    measures: Measures | None = None


def assess(pixels: Float[np.ndarray, "height width"]) -> Suitability:
    """Say what is odd about an image for a model of frontal chest radiographs.

    Args:
        pixels: float32 (H, W) in [-1, 1], bones supposed to be bright.

    Returns:
        The warnings, and whether the image is certainly a negative, which is to be turned before the model sees it.
    """
    small = _shrink(pixels)
    low, high = np.quantile(small, [0.005, 0.995])
    spread = float(high - low) / 2
    if spread < FLAT:
        return Suitability((f"there is nothing to see: the grey levels use {spread:.1%} of the range",), False)
    warnings = []
    if spread < SMALL_RANGE:
        warnings.append("the grey levels use a small part of the range (less than a fifth): it may look black or flat")
    plain = _plain_picture(pixels, small)
    if plain:
        return Suitability((*warnings, f"{plain}: {ADVICE}"), False)
    found = measure(small)
    inverted = is_negative(found)
    if inverted:
        return Suitability(tuple(warnings), True, found)
    odd = _turned(found) or _hangs_free(small, found) or _other_view(found)
    return Suitability((*warnings, *([odd] if odd else [])), False, found)


def measure(small: np.ndarray) -> Measures:
    """The measures of an image (H, W) of `WORK` pixels.

    Args:
        small: Grey in any range, bones bright or dark.

    Returns:
        Correlations in -1 .. 1.
    """
    ranks = ranked(small)
    frontal, negative = chest_likeness(ranks)
    on_its_side = max(chest_likeness(np.rot90(ranks, turns))[0] for turns in (1, 3))
    edge = SIDE // 10
    sides = (ranks[:, :edge].mean() + ranks[:, -edge:].mean()) / 2
    return Measures(frontal, negative, on_its_side, lateral_likeness(ranks), float(sides))


def is_negative(found: Measures) -> bool:
    """Whether bones are certainly dark: the negative matches a chest well and better, and the sides are bright.

    Args:
        found: As `measure` gives it.

    Returns:
        True only where the image may be turned without asking.
    """
    better = found.negative - found.frontal
    if found.sides >= 0.15:
        return found.negative >= 0.62 and better >= 0.15
    return found.sides >= 0 and found.negative >= 0.75 and better >= 0.4


def may_be_negative(found: Measures) -> bool:
    """Whether bones are likely dark, not surely: an opaque lung, or a picture of the lungs alone, can look so.

    Args:
        found: As `measure` gives it.

    Returns:
        True wherever `is_negative` is, and for what lies near.
    """
    better = found.negative - found.frontal
    return (found.negative >= 0.6 and better >= 0.1 and found.sides >= -0.1) or (
        found.negative >= 0.65 and better >= 0.3
    )


def _turned(found: Measures) -> str:
    on_its_side = found.on_its_side >= 0.6 and found.on_its_side - found.frontal >= 0.35
    return f"the chest lies on its side: {ADVICE}" if on_its_side else ""


def _other_view(found: Measures) -> str:
    """What a picture shows that neither is a frontal chest nor certainly its negative; "" where nothing is odd."""
    if may_be_negative(found):
        return f"maybe {NEGATIVE}: not turned, since that is not sure; say it with --polarity"
    if found.frontal < 0.62 and found.lateral >= max(0.55, found.frontal) and found.sides < -0.2:
        return f"one lung field is seen, not two (a lateral, or an opaque lung): {ADVICE}"
    if found.frontal < 0.2 or (found.frontal < 0.45 and found.sides > -0.25):
        return f"no frontal chest is recognised: {ADVICE}"
    return ""


def _plain_picture(pixels: np.ndarray, small: np.ndarray) -> str:
    """Words for pictures that are drawn or noise; "" for others."""
    step = max(1, max(pixels.shape) // (2 * WORK))
    sharp = pixels[::step, ::step]
    low, high = float(sharp.min()), float(sharp.max())
    ends = ((sharp < low + 0.03 * (high - low)) | (sharp > high - 0.03 * (high - low))).mean()
    both = min((sharp < low + 0.03 * (high - low)).mean(), (sharp > high - 0.03 * (high - low)).mean())
    if ends > TWO_TONES and both > 0.005:
        return "black and white without greys (a text, a drawing or a mask)"
    fine = (small - cv2.GaussianBlur(small, (0, 0), 1.5)).std()
    return "noise or a texture, no anatomy" if fine > NOISY * small.std() else ""


def _hangs_free(small: np.ndarray, found: Measures) -> str:
    """Words for an axial CT slice: a body round above and below in air on all four sides, lungs as dark as that air."""
    height, width = small.shape
    if min(height, width) < 32:
        return ""
    low, high = np.quantile(small, [0.01, 0.99])
    levels = ((small - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    labels = _regions(levels <= threshold)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    air = np.isin(labels, np.unique(border[border > 0]))
    rims = (air[:2].mean(), air[-2:].mean(), air[:, :2].mean(), air[:, -2:].mean())
    body = _regions(cv2.morphologyEx((~air).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)))
    if min(rims) < 0.9 or not body.any():
        return ""
    main = body == 1 + int(np.bincount(body.ravel())[1:].argmax())
    widths = main.sum(axis=1)
    rows = np.flatnonzero(widths)
    if len(rows) < height // 4:
        return ""
    inset = max(1, len(rows) // 20)
    top, bottom = (widths[row] / widths.max() for row in (rows[inset], rows[-1 - inset]))
    if max(top, bottom) > 0.75:
        return ""
    inside = main & (levels <= threshold)
    tissue, outside = levels[main & ~inside].mean(), levels[air].mean()
    lungs = levels[inside].mean() if inside.mean() > 0.02 else np.inf
    as_dark = (lungs - outside) < 0.2 * (tissue - outside)
    if as_dark or found.frontal < 0.55:
        return f"a slice of a CT, or something else that hangs free in air: {ADVICE}"
    return ""


def _regions(inside: np.ndarray) -> np.ndarray:
    """Numbers 1, 2, ... of the regions that touch by a side, as scipy.ndimage.label's, whose import takes longer."""
    return cv2.connectedComponents(inside.astype(np.uint8), connectivity=4)[1]


def _shrink(pixels: np.ndarray) -> np.ndarray:
    """A copy of at most WORK pixels a side, without a flat border (a collimator's, a frame's)."""
    pixels = np.ascontiguousarray(pixels, np.float32)
    scale = WORK / max(pixels.shape)
    if scale < 1:
        shape = tuple(max(1, round(side * scale)) for side in pixels.shape)
        pixels = cv2.resize(pixels, shape[::-1], interpolation=cv2.INTER_AREA)
    return pixels
