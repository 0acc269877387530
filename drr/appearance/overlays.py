"""What a CT's thick slices do not show, drawn into line integrals: fine vessels, nodules and devices.

Everything here is drawn in the projection and belongs to the soft image, so that a network that learns to take bone
away learns to leave it. Attenuation is that of `drr.projection.attenuation`; lengths are in mm.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from drr.appearance.vessels import STEPS, grow
from drr.projection.attenuation import MU_WATER_PER_MM

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

SUBPIXEL = 4  # bits of fraction in OpenCV's coordinates
LUNG_LIGHTER = 0.75  # of a vessel's or nodule's attenuation stands out from the lung that it replaces


def lung_pixels(soft: Float[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """The body's lighter half, which in a chest is mostly lung.

    Args:
        soft: (H, W) line integrals.

    Returns:
        bool (H, W).
    """
    body = soft > 0.3
    return body & (soft < np.median(soft[body])) if body.any() else body


def _places(mask: np.ndarray) -> np.ndarray:
    """Row and column (N, 2) of each true pixel, as np.argwhere gives them in four times the time."""
    return np.stack(np.divmod(np.flatnonzero(mask), mask.shape[1]), axis=1)


def add_vessels(
    soft: Float[np.ndarray, "height width"],
    mm_per_pixel: float,
    rng: np.random.Generator,
    trees: int = 6,
    lungs: Bool[np.ndarray, "height width"] | None = None,
) -> Float[np.ndarray, "height width"]:
    """Branching tubes that taper by Murray's law, r0^3 = r1^3 + r2^3.

    A tree begins anywhere between the middle of the lungs and a place in them and grows away from that middle.

    Args:
        soft: (H, W) line integrals.
        mm_per_pixel: Side of a pixel in the body.
        rng: Decides on places and branches.
        trees: How many.
        lungs: bool (H, W); None: `lung_pixels(soft)`.

    Returns:
        A new (H, W).

    Reference:
        Murray, PNAS 12, 207, 1926.
    """
    lungs = lung_pixels(soft) if lungs is None else lungs
    places = _places(lungs)
    if not len(places):
        return soft.copy()
    middle = places.mean(axis=0)
    tubes: list[np.ndarray] = []
    for _ in range(trees):
        place = places[rng.integers(len(places))]
        y, x = place + (middle - place) * rng.uniform(0, 0.7)
        away = math.atan2(*(place - middle))
        for _ in range(3):
            start = np.array([x, y, away + rng.normal(0, 0.8), rng.uniform(0.8, 3.0)])
            tubes.append(grow(start, mm_per_pixel, rng))
    fade = cv2.GaussianBlur(lungs.astype(np.float32), (0, 0), 6 / mm_per_pixel)
    return soft + _draw(np.concatenate(tubes), soft.shape, mm_per_pixel) * fade * np.float32(rng.uniform(0.3, 1.3))


def _draw(tubes: np.ndarray, shape: tuple[int, ...], mm_per_pixel: float) -> np.ndarray:
    """Line integrals (H, W) of tubes (N, 11), see `drr.appearance.vessels`: wide ones over narrow ones, in 255 steps.

    Each is the mean chord of a cylinder, pi r / 2, over its width; one thinner than a pixel is spread over the pixel.
    """
    tubes = tubes[np.argsort(tubes[:, 0], kind="stable")]
    radii = tubes[:, 0]
    widths = 2 * radii / mm_per_pixel
    thick = np.maximum(1, np.rint(widths))
    chords = math.pi * radii / 2 * np.minimum(1.0, widths / thick)
    most = float(chords.max(initial=0.0)) or 1.0
    points = np.rint(tubes[:, 1:].reshape(-1, STEPS + 1, 2) * 2**SUBPIXEL).astype(np.int32)
    pens = np.stack([np.rint(255 * chords / most), thick], axis=1).astype(int)
    layer = np.zeros(shape, np.uint8)
    starts = np.flatnonzero((np.diff(pens, axis=0, prepend=-1) != 0).any(axis=1))
    for first, last in zip(starts, [*starts[1:], len(pens)]):  # those of one grey and width in one call
        grey, width = pens[first].tolist()
        cv2.polylines(layer, list(points[first:last]), False, grey, width, cv2.LINE_AA, SUBPIXEL)
    return layer * np.float32(MU_WATER_PER_MM * LUNG_LIGHTER * most / 255)


def add_nodule_shadow(
    soft: Float[np.ndarray, "height width"],
    mm_per_pixel: float,
    rng: np.random.Generator,
    diameter_mm: float,
    density: float = 1.0,
    lungs: Bool[np.ndarray, "height width"] | None = None,
) -> Float[np.ndarray, "height width"]:
    """An ellipsoid of soft tissue somewhere over the lungs: its chord 2 sqrt(r^2 - d^2) mu.

    Args:
        soft: (H, W) line integrals.
        mm_per_pixel: Side of a pixel in the body.
        rng: Decides on place and shape.
        diameter_mm: Of the nodule.
        density: Attenuation over the lung's, of water's; 0.3 is ground glass, 1 is solid.
        lungs: bool (H, W), where it may lie; None: `lung_pixels(soft)`.

    Returns:
        A new (H, W).
    """
    places = _places(lung_pixels(soft) if lungs is None else lungs)
    if not len(places):
        return soft.copy()
    centre = places[rng.integers(len(places))] + rng.uniform(-0.5, 0.5, 2)
    reach = 0.65 * diameter_mm / mm_per_pixel  # the lobes add up to a quarter
    box = tuple(slice(max(0, int(c - reach)), int(c + reach) + 2) for c in centre)
    rows, columns = (np.arange(n, dtype=np.float32)[part] for n, part in zip(soft.shape, box))
    y, x = (rows - centre[0])[:, None] * mm_per_pixel, (columns - centre[1])[None] * mm_per_pixel
    turn, ratio = rng.uniform(0, np.pi), rng.uniform(0.75, 1.0)
    along, across = x * np.cos(turn) + y * np.sin(turn), (y * np.cos(turn) - x * np.sin(turn)) / ratio
    radius = diameter_mm / 2
    angle = np.arctan2(across, along)
    lobes = 1 + sum(rng.uniform(0, 0.08) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in (2, 3, 5))
    chord = 2 * np.sqrt(np.maximum((radius * lobes) ** 2 - along**2 - across**2, 0))
    soft = soft.copy()
    soft[box] += (MU_WATER_PER_MM * LUNG_LIGHTER * density * chord).astype(np.float32)
    return soft


def add_device(
    soft: Float[np.ndarray, "height width"], mm_per_pixel: float, rng: np.random.Generator
) -> Float[np.ndarray, "height width"]:
    """A tube, wire, electrode or clip somewhere in the picture.

    A tube (catheter, drain) is a smooth line of two walls, a wire (lead, cable) a thin dense one, an electrode a disc
    or ring, at times on a wire, a clip a few short strokes of metal.

    Args:
        soft: (H, W) line integrals.
        mm_per_pixel: Side of a pixel in the body.
        rng: Decides on what and where.

    Returns:
        A new (H, W).
    """
    kind = rng.choice(["tube", "wire", "electrode", "clip"], p=[0.3, 0.3, 0.25, 0.15])
    stroke = np.zeros(soft.shape, np.uint8)
    if kind in ("tube", "wire"):
        _stroke(stroke, _curve(soft.shape, rng), *_widths(kind, mm_per_pixel, rng))
    elif kind == "electrode":
        _electrode(stroke, mm_per_pixel, rng)
    else:
        _clips(stroke, mm_per_pixel, rng)
    metal = rng.uniform(0.4, 2.5) if kind == "clip" else float(np.exp(rng.uniform(np.log(0.08), np.log(1.5))))
    return soft + cv2.GaussianBlur(stroke.astype(np.float32), (0, 0), 0.5) * np.float32(metal / 255)


def _widths(kind: str, mm_per_pixel: float, rng: np.random.Generator) -> tuple[int, int]:
    """Outer and inner width in pixels of a tube or wire; an inner width of 0 is none."""
    outer = rng.uniform(2.5, 8) if kind == "tube" else rng.uniform(0.5, 2)
    wall = rng.uniform(0.6, 1.2)
    return max(1, round(outer / mm_per_pixel)), max(0, round((outer - 2 * wall) / mm_per_pixel)) * (kind == "tube")


def _curve(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A cubic Bezier curve across a part of the picture, (40, 2) in x, y pixels."""
    start, reach = rng.uniform(-0.1, 1.1, (1, 2)), rng.uniform(0.2, 0.9)
    control = np.vstack([start, start + rng.normal(0, reach / 2, (3, 2))]) * (shape[1], shape[0])
    t = np.linspace(0, 1, 40)[:, None]
    curve = (1 - t) ** 3 * control[0] + 3 * t * (1 - t) ** 2 * control[1]
    return curve + 3 * t**2 * (1 - t) * control[2] + t**3 * control[3]


def _stroke(layer: np.ndarray, curve: np.ndarray, outer: int, inner: int) -> None:
    points = [np.rint(curve * 2**SUBPIXEL).astype(np.int32)]
    cv2.polylines(layer, points, False, 255, outer, cv2.LINE_AA, SUBPIXEL)
    if inner:
        cv2.polylines(layer, points, False, 90, inner, cv2.LINE_AA, SUBPIXEL)


def _electrode(layer: np.ndarray, mm_per_pixel: float, rng: np.random.Generator) -> None:
    height, width = layer.shape
    place = (int(rng.integers(width)), int(rng.integers(height)))
    radius = rng.uniform(2, 9) / mm_per_pixel
    thickness = -1 if rng.random() < 0.4 else max(1, round(rng.uniform(0.15, 0.5) * radius))
    cv2.circle(layer, place, max(1, round(radius)), int(rng.integers(90, 256)), thickness, cv2.LINE_AA)
    if rng.random() < 0.5:
        cv2.circle(layer, place, max(1, round(radius * 0.45)), int(rng.integers(120, 256)), -1, cv2.LINE_AA)
    if rng.random() < 0.5:
        curve = _curve(layer.shape, rng)
        _stroke(layer, curve - curve[0] + place, max(1, round(rng.uniform(0.5, 2) / mm_per_pixel)), 0)


def _clips(layer: np.ndarray, mm_per_pixel: float, rng: np.random.Generator) -> None:
    height, width = layer.shape
    place = rng.uniform(0, 1, 2) * (width, height)
    for _ in range(int(rng.integers(1, 7))):
        start = place + rng.normal(0, 12, 2) / mm_per_pixel
        angle, length = rng.uniform(0, np.pi), rng.uniform(3, 8) / mm_per_pixel
        end = start + length * np.array([math.cos(angle), math.sin(angle)])
        _stroke(layer, np.array([start, end]), max(1, round(rng.uniform(0.6, 1.5) / mm_per_pixel)), 0)
