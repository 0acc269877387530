"""Findings in the lung: nodule and consolidation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from drr.findings.report import Finding
from drr.volume import Volume

if TYPE_CHECKING:
    from jaxtyping import Bool

LOBES = {
    "right upper lobe": "lung_upper_lobe_right",
    "right middle lobe": "lung_middle_lobe_right",
    "right lower lobe": "lung_lower_lobe_right",
    "left upper lobe": "lung_upper_lobe_left",
    "left lower lobe": "lung_lower_lobe_left",
}


def add_nodule(
    volume: Volume,
    lobe: str,
    rng: np.random.Generator,
    diameter_mm: float = 18.0,
    hu: float = 40.0,
    spiculation: float = 0.0,
    centre: np.ndarray | None = None,
) -> tuple[Volume, Finding]:
    """A nodule somewhere in a lobe, where there is room for it, or about a voxel.

    Args:
        volume: With a label map.
        lobe: A key of LOBES.
        rng: Of place and shape; the same one gives nodules of several sizes one shape.
        diameter_mm: 4 to 60.
        hu: 40 solid, about -500 ground glass, from 200 calcified.
        spiculation: 0 smooth and lobulated, 1 with spikes of up to the nodule's radius.
        centre: (z, y, x) of its voxel, as `nodule_centre` finds one; None finds one.

    Returns:
        A new volume, and what was put in.

    Raises:
        ValueError: An unknown lobe, no label map, a size outside 4 to 60 mm, or no room.
    """
    if not 4 <= diameter_mm <= 60 or not 0 <= spiculation <= 1:
        raise ValueError(f"a nodule of {diameter_mm} mm, spiculation {spiculation}: give 4 to 60 mm and 0 to 1")
    mask = lobe_mask(volume, lobe)
    spacing, radius = volume.spacing[::-1], diameter_mm / 2
    if centre is None:
        centre = nodule_centre(volume, lobe, rng, diameter_mm)
    reach = np.ceil(radius * (1 + spiculation) / spacing).astype(int) + 2
    low, high = np.maximum(centre - reach, 0), np.minimum(centre + reach + 1, mask.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high))
    offset = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high)), indexing="ij"), axis=-1) - centre
    offset = offset * spacing
    distance = np.linalg.norm(offset, axis=-1)
    edge = _radius(offset / np.maximum(distance, 1e-6)[..., None], radius, spiculation, rng)
    part = np.clip(0.5 + (edge - distance) / spacing.mean(), 0, 1)  # of each voxel that the nodule fills
    part *= ndimage.gaussian_filter(mask[box].astype(np.float32), 0.7)
    changed = volume.hu.copy()
    inside = changed[box].astype(np.float32)
    changed[box] = np.rint(np.maximum(inside, inside + part * (hu - inside)))
    filled = np.zeros(mask.shape, bool)
    filled[box] = part > 0.5
    size = {"diameter_mm": diameter_mm, "hu": hu, "spiculation": spiculation}
    return volume.replace(hu=changed), Finding("nodule", lobe.split()[0], lobe, filled, size)


def nodule_centre(
    volume: Volume, lobe: str, rng: np.random.Generator, diameter_mm: float, taken: np.ndarray | None = None
) -> np.ndarray:
    """(z, y, x) of a voxel about which a nodule has room in a lobe, away from the hilum's vessels.

    Args:
        volume: With a label map.
        lobe: A key of LOBES.
        rng: Of the place.
        diameter_mm: The nodule's.
        taken: bool (D, H, W), where it must not lie; it keeps its radius away from there.

    Returns:
        Indices of the whole volume.

    Raises:
        ValueError: An unknown lobe, no label map, or no room.
    """
    mask = lobe_mask(volume, lobe)
    around = ndimage.find_objects(mask.astype(np.uint8))[0]
    box = tuple(slice(max(0, part.start - 3), part.stop + 3) for part in around)
    free = mask[box] if taken is None else mask[box] & ~taken[box]
    room = ndimage.distance_transform_edt(free, sampling=volume.spacing[::-1]) > diameter_mm / 2 + 2
    room &= ndimage.uniform_filter(volume.hu[box].astype(np.float32), 5) < -650
    places = np.flatnonzero(room)
    if not len(places):
        raise ValueError(f"there is no room for a nodule of {diameter_mm:g} mm in the {lobe}")
    found = np.array(np.unravel_index(rng.choice(places), room.shape))
    return found + [part.start for part in box]


def _radius(direction: np.ndarray, radius: float, spiculation: float, rng: np.random.Generator) -> np.ndarray:
    """The nodule's radius in mm towards unit vectors (..., 3): lobules, and thin spikes."""
    edge = np.ones(direction.shape[:-1])
    for axis in _random_directions(6, rng):
        edge += rng.uniform(-0.12, 0.12) * (direction @ axis) ** 3
    for axis in _random_directions(round(24 * spiculation), rng):
        edge += spiculation * rng.uniform(0.3, 1) * np.exp((direction @ axis - 1) * 60)
    return radius * edge


def _random_directions(count: int, rng: np.random.Generator) -> np.ndarray:
    vectors = rng.normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def add_consolidation(
    volume: Volume,
    lobe: str,
    rng: np.random.Generator,
    lobe_fraction: float = 0.4,
    density: float = 0.85,
    region: np.ndarray | None = None,
) -> tuple[Volume, Finding]:
    """Airspace filled with fluid in part of a lobe: fluffy edges, sharp at the fissures.

    Args:
        volume: With a label map.
        lobe: A key of LOBES.
        rng: Of place and shape; with the same one a larger fraction holds the smaller one.
        lobe_fraction: Part of the lobe that is filled, (0, 1].
        density: Part of its air that is replaced, (0, 1].
        region: bool (D, H, W) of the lobe for which place and shape are drawn, where `volume` is the same body with
            another heart, which moves the lobe; None takes the lobe as it is.

    Returns:
        A new volume, and what was put in.

    Raises:
        ValueError: An unknown lobe, no label map, or fractions outside of (0, 1].
    """
    if not (0 < lobe_fraction <= 1 and 0 < density <= 1):
        raise ValueError(f"lobe_fraction {lobe_fraction}, density {density}: both lie above 0, at most 1")
    mask = lobe_mask(volume, lobe)
    box = ndimage.find_objects((mask if region is None else region).astype(np.uint8))[0]
    inside, spacing = mask[box], volume.spacing[::-1]
    places = np.argwhere(inside if region is None else region[box])
    centre = places[rng.integers(len(places))]
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in inside.shape), indexing="ij"), axis=-1)
    distance = np.linalg.norm((grid - centre) * spacing, axis=-1)
    fluff = sum(_smooth_noise(inside.shape, mm / spacing, rng) * amount for mm, amount in ((14, 14.0), (5, 7.0)))
    field = distance + fluff  # mm
    threshold = np.quantile(field[inside], lobe_fraction)
    part = density / (1 + np.exp((field - threshold) / 4))
    part *= ndimage.gaussian_filter(inside.astype(np.float32), 0.5) * inside
    changed = volume.hu.copy()
    before = changed[box].astype(np.float32)
    changed[box] = np.rint(np.maximum(before, before + part * (30 - before)))
    filled = np.zeros(mask.shape, bool)
    filled[box] = part > 0.5 * density
    size = {"lobe_fraction": float(filled.sum() / mask.sum())}
    return volume.replace(hu=changed), Finding("consolidation", lobe.split()[0], lobe, filled, size)


def _smooth_noise(shape: tuple[int, ...], sigma: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of unit variance, smooth over sigma voxels."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), sigma)
    return noise / noise.std()


def lobe_mask(volume: Volume, lobe: str) -> Bool[np.ndarray, "depth height width"]:
    """A lobe's voxels.

    Args:
        volume: With a label map.
        lobe: A key of LOBES.

    Returns:
        bool (D, H, W).

    Raises:
        ValueError: An unknown lobe, or a volume without it.
    """
    if lobe not in LOBES:
        raise ValueError(f"no lobe is called {lobe!r}; give one of {', '.join(LOBES)}")
    mask = volume.mask(LOBES[lobe])
    if not mask.any():
        raise ValueError(f"{volume.source or 'volume'}: the {lobe} is not in the label map")
    return mask
