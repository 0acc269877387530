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

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

SIDE = 64  # of the ranked copy that templates are compared with, in pixels
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
    ranks = _ranked(small)
    frontal, negative = chest_likeness(ranks)
    on_its_side = max(chest_likeness(np.rot90(ranks, turns))[0] for turns in (1, 3))
    edge = SIDE // 10
    sides = (ranks[:, :edge].mean() + ranks[:, -edge:].mean()) / 2
    return Measures(frontal, negative, on_its_side, _best(ranks, _lateral_templates())[0], float(sides))


def is_negative(found: Measures) -> bool:
    """Whether bones are certainly dark: the negative matches a chest well and better, and the sides are bright."""
    better = found.negative - found.frontal
    if found.sides >= 0.15:
        return found.negative >= 0.62 and better >= 0.15
    return found.sides >= 0 and found.negative >= 0.75 and better >= 0.4


def may_be_negative(found: Measures) -> bool:
    """Whether bones are likely dark, not surely: an opaque lung, or a picture of the lungs alone, can look so."""
    better = found.negative - found.frontal
    return (found.negative >= 0.6 and better >= 0.1 and found.sides >= -0.1) or (
        found.negative >= 0.65 and better >= 0.3
    )


def chest_likeness(ranks: np.ndarray) -> tuple[float, float]:
    """Correlation of a ranked image (SIDE, SIDE) with the best template of a frontal chest, and of its negative."""
    return _best(ranks, _frontal_templates())


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


def _without_frame(small: np.ndarray) -> np.ndarray:
    smooth = cv2.GaussianBlur(small, (0, 0), 1)
    least = 0.1 * float(np.quantile(smooth, 0.99) - np.quantile(smooth, 0.01))
    rows, columns = (np.flatnonzero(np.ptp(smooth, axis=axis) > least) for axis in (1, 0))
    if len(rows) < 8 or len(columns) < 8:
        return small
    return small[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _ranked(small: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) ranks of the smoothed image from -1, the darkest pixel, to 1; the aspect is not kept."""
    square = cv2.resize(_without_frame(small), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    square = cv2.GaussianBlur(square, (0, 0), 1)
    _, place, count = np.unique(square, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count + 1) / 2  # equal values have equal ranks
    return (middle[place].reshape(SIDE, SIDE) / (SIDE * SIDE - 1) * 2 - 1).astype(np.float32)


def _best(ranks: np.ndarray, templates: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    """The best weighted correlation among the templates, and the best of the negative."""
    weighted, weights = templates
    flat = np.ascontiguousarray(ranks).ravel()
    mean = weights @ flat
    deviation = np.sqrt(np.maximum(weights @ (flat * flat) - mean * mean, 1e-4))
    correlation = (weighted @ flat) / deviation
    return float(correlation.max()), float(-correlation.min())


@functools.cache
def _frontal_templates() -> tuple[np.ndarray, np.ndarray]:
    """Two dark ellipses, a bright middle, a bright abdomen and side walls, in many sizes and places."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1)
    found = []
    for scale in (0.6, 0.7, 0.8, 0.9, 1.0):
        for aspect in (0.85**0.5, 1.1**0.5):
            for down in (-0.15, -0.07, 0.0, 0.07, 0.15):
                for right in (-0.12, -0.06, 0.0, 0.06, 0.12):
                    u, v = (x - 0.5 - right) / scale / aspect, (y - 0.45 - down) / scale * aspect
                    distance = ((np.abs(u) - 0.22) / 0.13) ** 2 + (v / 0.33) ** 2
                    parts = [
                        (distance < 1, 0.45),
                        ((np.abs(u) < 0.06) & (np.abs(v) < 0.36), 0.25),
                        ((v > 0.40) & (v < 0.55) & (np.abs(u) < 0.33), 0.2),
                        ((distance > 1.5) & (distance < 2.6) & (np.abs(u) > 0.3) & (np.abs(v) < 0.25), 0.1),
                    ]
                    if parts[2][0].sum() >= 20:  # else the abdomen lies outside of the picture
                        found.append(_template(parts))
    return _stacked(found)


@functools.cache
def _lateral_templates() -> tuple[np.ndarray, np.ndarray]:
    """One dark ellipse, upright or tilted, with bright walls, shoulders and abdomen."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1)
    found = []
    for scale in (0.7, 0.85, 1.0):
        for half_width in (0.16, 0.22):
            for down in (-0.12, -0.04, 0.04, 0.12):
                for right in (-0.15, -0.08, 0.0, 0.08, 0.15):
                    for tilt in (-0.15, 0.15):
                        v = (y - 0.45 - down) / scale
                        u = (x - 0.5 - right) / scale - tilt * v
                        distance = (u / half_width) ** 2 + (v / 0.30) ** 2
                        walls = (distance > 1.4) & (distance < 2.6) & (np.abs(u) > 0.8 * half_width)
                        parts = [
                            (distance < 1, 0.45),
                            (walls & (np.abs(v) < 0.3), 0.25),
                            ((v < -0.34) & (v > -0.5) & (np.abs(u) < 0.25), 0.1),
                            ((v > 0.36) & (v < 0.52) & (np.abs(u) < 0.25), 0.2),
                        ]
                        found.append(_template(parts))
    return _stacked(found)


def _template(parts: list[tuple[np.ndarray, float]]) -> tuple[np.ndarray, np.ndarray]:
    """(template times weights, weights): the first part is dark, the others bright, each with its share of weight."""
    weights = sum(part * (share / max(int(part.sum()), 1)) for part, share in parts)
    weights = np.asarray(weights) / np.sum(weights)
    values = np.where(parts[0][0], -1.0, 1.0)
    values = values - (weights * values).sum()
    return weights * values / np.sqrt((weights * values * values).sum()), weights


def _stacked(templates: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    weighted, weights = (np.stack([pair[i].ravel() for pair in templates]).astype(np.float32) for i in (0, 1))
    return weighted, weights
