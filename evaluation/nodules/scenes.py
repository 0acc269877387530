"""Radiographs with one nodule of known size, density and place, each beside the same view without it.

Bodies are random deformations of the sample CT or of another one, views are PA with a small turn, and each body has its
own vendor look, the same for everything that is rendered of it. A nodule is a sphere in the lung, off the spine; line
integrals are additive, so only what it adds to the lung that it replaces is projected.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy import ndimage

from drr import ConeBeam, Look, Volume, deform, project, render_pair
from drr.anatomy.structures import project_mask
from evaluation.nodules.body import GRID_MM, Body, sample_body
from evaluation.nodules.twins import BONE_LINES, Twin, draw_twins
from evaluation.suppression.contrast import ring

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Num

DIAMETERS_MM = (6.0, 8.0, 10.0, 15.0, 20.0, 30.0)
DENSITIES = {"solid": 40.0, "ground glass": -500.0}  # HU
PLACES = ("under ribs", "between ribs")
STEP_MM = 0.8  # of the grid on which a sphere is drawn
VESSELS_HU = -650  # the lung around a nodule's centre is thinner than this: away from the hilum
TRIES = 8  # places that are tried until the projection is under bone, or is not, as wanted


@dataclass(frozen=True, eq=False)
class Nodule:
    """One nodule in one view.

    Attributes:
        diameter_mm: Of the sphere.
        density: A key of DENSITIES.
        place: One of PLACES, "under ribs" if bone covers half of the mask or more.
        bone_cover: Share of the mask under bone.
        bone_lines: Mean line integral of bone over the mask.
        centre: (row, column) in pixels.
        mask: bool (H, W), where the nodule's line integral exceeds half of its highest.
        around: bool (H, W), the ring around it.
        radiograph: float32 (H, W) in [-1, 1], with the nodule.
        soft: float32 (H, W) in [-1, 1], with the nodule, without bone.
    """

    diameter_mm: float
    density: str
    place: str
    bone_cover: float
    bone_lines: float
    centre: tuple[float, float]
    mask: Bool[np.ndarray, "height width"]
    around: Bool[np.ndarray, "height width"]
    radiograph: Float32[np.ndarray, "height width"]
    soft: Float32[np.ndarray, "height width"]


@dataclass(frozen=True, eq=False)
class Scene:
    """One body in one view and look, without a nodule, and with each of several.

    Attributes:
        body: Its number.
        radiograph: float32 (H, W) in [-1, 1], without a nodule.
        soft: The same without bone.
        lungs: bool (H, W), off the spine.
        pixel_mm: A pixel's size at the body's centre.
        nodules: Each in this view.
        missing: In words, the nodules that found no place.
        twins: The same view with vessels, and with devices.
    """

    body: int
    radiograph: Float32[np.ndarray, "height width"]
    soft: Float32[np.ndarray, "height width"]
    lungs: Bool[np.ndarray, "height width"]
    pixel_mm: float
    nodules: list[Nodule]
    missing: list[str] = field(default_factory=list)
    twins: list[Twin] = field(default_factory=list)


def render_scenes(bodies: int, size: int, seed: int, of: Body | None = None) -> Iterator[Scene]:
    """Scenes with every diameter, density and place once.

    A body depends on the seed and its number, not on how many there are.

    Args:
        bodies: How many scenes.
        size: Side of the pictures in pixels, 128 or more.
        seed: Of bodies, looks and places.
        of: What is deformed; None: the sample CT.

    Yields:
        One scene a body.

    Raises:
        ValueError: No bodies, or under 128 pixels.
    """
    if bodies < 1 or size < 128:
        raise ValueError(f"{bodies} bodies of {size} pixels: give 1 body or more, and 128 pixels or more a side")
    return (render_scene(body, size, seed, of) for body in range(bodies))


def render_scene(body: int, size: int, seed: int, of: Body | None = None) -> Scene:
    """One scene; see `render_scenes`.

    Args:
        body: Number of the body.
        size: Side of the pictures in pixels.
        seed: Of all bodies.
        of: What is deformed; None: the sample CT.

    Returns:
        The scene.
    """
    of = sample_body() if of is None else of
    rng = np.random.default_rng([seed, body])
    volume = deform(of.volume, seed=int(rng.integers(2**31)))
    beam = ConeBeam.preset("PA", volume, (size, size), field_mm=rng.uniform(*of.field_mm), centre=of.centre)
    beam = beam.orbit(rng.uniform(-5, 5)).orbit(rng.uniform(-3, 3), axis=(1, 0, 0))
    look = Look.random(rng)
    soft, bone = project(volume, [beam], ("soft", "bone"))[0].cpu().numpy()
    places = _Places(volume, beam, bone)
    nodules, missing = [], []
    for diameter in DIAMETERS_MM:
        for density, hu in DENSITIES.items():
            for place in PLACES:
                lines = places.put(diameter, hu, place, rng)
                if lines is None:
                    missing.append(f"body {body}: {diameter:g} mm, {density}, {place}")
                else:
                    nodules.append(_nodule(diameter, density, place, lines, soft, bone, look))
    radiograph, true_soft = render_pair(soft, bone, look)
    twins = draw_twins(soft, bone, places.lungs, places.pixel_mm, look, np.random.default_rng([seed, body, 1]))
    return Scene(body, radiograph, true_soft, places.lungs, places.pixel_mm, nodules, missing, twins)


def _nodule(
    diameter: float, density: str, place: str, lines: np.ndarray, soft: np.ndarray, bone: np.ndarray, look: Look
) -> Nodule:
    mask = shadow(lines)
    around = ring(mask, lines > 0.02 * lines.max())
    centre = np.argwhere(mask).mean(axis=0)
    return Nodule(
        diameter,
        density,
        place,
        float((bone[mask] > BONE_LINES).mean()),
        float(bone[mask].mean()),
        (float(centre[0]), float(centre[1])),
        mask,
        around,
        *render_pair(soft + lines, bone, look),
    )


def shadow(lines: Float[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Bool (H, W): where the line integral is more than half of its highest (to 0.87 of a sphere's radius).

    Args:
        lines: Line integrals of the nodule alone.

    Returns:
        The mask over which contrast is measured.
    """
    return lines > 0.5 * lines.max()


class _Places:
    """Where nodules of a size may lie in one body and view."""

    def __init__(self, volume: Volume, beam: ConeBeam, bone: np.ndarray) -> None:
        self.volume, self.beam = volume, beam
        self.bone = bone > BONE_LINES
        in_lungs = volume.mask(*volume.names_where(lambda name: name.startswith("lung_")).values())
        spine = volume.mask(*volume.names_where(lambda name: name.startswith("vertebra")).values())
        self.lungs = project_mask(volume, in_lungs, beam).mask & ~project_mask(volume, spine, beam).mask
        self.step = np.maximum(1, np.rint(GRID_MM / volume.spacing[::-1])).astype(int)
        grid = tuple(slice(None, None, n) for n in self.step)
        self.room = ndimage.distance_transform_edt(in_lungs[grid], sampling=volume.spacing[::-1] * self.step)
        self.room[ndimage.uniform_filter(volume.hu[grid].astype(np.float32), 5) >= VESSELS_HU] = 0
        source, corner, centre = (beam.numpy(name) for name in ("source", "origin", "centre"))
        normal = np.cross(beam.numpy("du"), beam.numpy("dv"))
        magnification = (normal @ (corner - source)) / (normal @ (centre - source))
        self.pixel_mm = float(np.linalg.norm(beam.numpy("du")) / magnification)

    def put(self, diameter: float, hu: float, place: str, rng: np.random.Generator) -> np.ndarray | None:
        """Line integrals (H, W) that a nodule adds somewhere under bone, or not, as `place` says; None: no room."""
        radius_px = 0.87 * diameter / 2 / self.pixel_mm
        voxels = np.argwhere(self.room > diameter / 2 + 2) * self.step
        rows, columns = pixels_of(self.volume, self.beam, voxels).T
        margin = np.ceil(2.5 * radius_px)  # so that the ring lies in the picture
        height, width = self.bone.shape
        seen = (rows > margin) & (rows < height - 1 - margin) & (columns > margin) & (columns < width - 1 - margin)
        voxels, at = voxels[seen], (np.rint(rows[seen]).astype(int), np.rint(columns[seen]).astype(int))
        under = _disc_mean(self.bone, radius_px)[at] >= 0.5
        fits = (under == (place == PLACES[0])) & (_disc_mean(self.lungs, radius_px)[at] > 0.99)
        voxels = voxels[fits]
        for index in rng.permutation(len(voxels))[:TRIES]:
            lines = nodule_lines(self.volume, voxels[index], diameter, hu, self.beam)
            if (self.bone[shadow(lines)].mean() >= 0.5) == (place == PLACES[0]):
                return lines
        return None


def pixels_of(volume: Volume, beam: ConeBeam, voxels: Num[np.ndarray, "count 3"]) -> Float[np.ndarray, "count 2"]:
    """Where a beam shows voxels.

    Args:
        volume: The CT.
        beam: The view.
        voxels: (N, 3), [z, y, x].

    Returns:
        (row, column) float (N, 2).
    """
    source, corner, du, dv = (beam.numpy(name) for name in ("source", "origin", "du", "dv"))
    rays = voxels[:, ::-1] @ volume.affine[:3, :3].T + volume.affine[:3, 3] - source
    normal = np.cross(du, dv)
    hits = source + rays * ((normal @ (corner - source)) / (rays @ normal))[:, None] - corner
    return np.stack([hits @ dv / (dv @ dv), hits @ du / (du @ du)], axis=1)


def nodule_lines(
    volume: Volume, centre: Num[np.ndarray, 3], diameter_mm: float, hu: float, beam: ConeBeam
) -> Float32[np.ndarray, "height width"]:
    """The line integrals that a sphere adds to what it replaces; denser voxels stay.

    The sphere is drawn on a grid of 0.8 mm or finer, where the volume is interpolated linearly.

    Args:
        volume: The CT.
        centre: Voxel [z, y, x] of its middle.
        diameter_mm: Of the sphere.
        hu: Its Hounsfield units.
        beam: The view.

    Returns:
        float32 (H, W).
    """
    spacing, radius = volume.spacing[::-1], diameter_mm / 2
    reach = np.ceil(radius / spacing).astype(int) + 2
    low, high = np.maximum(centre - reach, 0), np.minimum(centre + reach + 1, volume.hu.shape)
    coarse = volume.hu[tuple(slice(a, b) for a, b in zip(low, high))].astype(np.float32)
    fineness = np.ceil(spacing / STEP_MM).astype(int)
    shape = (np.array(coarse.shape) - 1) * fineness + 1  # ends on the same voxels' centres
    before = np.maximum(ndimage.zoom(coarse, shape / coarse.shape, order=1), -1000)
    step = spacing / fineness
    axes = ((np.arange(n) * mm) - (c - a) * s for n, mm, c, a, s in zip(shape, step, centre, low, spacing))
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    part = np.clip(0.5 + (radius - np.sqrt(z * z + y * y + x * x)) / step.mean(), 0, 1)  # of each voxel that is filled
    added = part * np.maximum(hu - before, 0)
    affine = volume.affine.copy()
    affine[:3, :3] /= fineness[::-1]
    affine[:3, 3] += volume.affine[:3, :3] @ low[::-1]
    nodule = Volume(np.rint(added - 1000).astype(np.int16), affine)
    return project(nodule, [beam], ("total",))[0, 0].cpu().numpy()


def _disc_mean(mask: np.ndarray, radius_px: float) -> np.ndarray:
    """The share of a disc around each pixel that a bool mask (H, W) covers."""
    reach = max(1, round(radius_px))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = (y * y + x * x <= max(radius_px, 1) ** 2).astype(np.float32)
    return cv2.filter2D(mask.astype(np.float32), -1, disc / disc.sum())
