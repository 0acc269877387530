"""Pictures that the view classifier is trained on: radiographs cast from bent CTs, shown and cropped as films are.

A CT is short (it ends at the lungs' bases and the shoulders) and its arms are raised; a film shows abdomen, neck and
arms that hang. So bodies get their last slices repeated, shoulders that slope to a neck, and arms as capsules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from drr import ConeBeam, Look, Volume, deform, project, read_ct, render_pair, sample_ct
from drr.anatomy.chest import lung_box
from drr.anatomy.tissue import prepare
from drr.appearance.film import add_collimator, add_letters, quantum_noise
from drr.appearance.overlays import add_device
from drr.geometry import VIEWS, body_box
from drr.projection.attenuation import MU_WATER_PER_MM
from evaluation.views.classifier import CLASSES, to_ranks

PIXELS = 128
COARSE_MM = 2.5
POSES = {"PA": 5, "AP": 5, "LL": 3, "RL": 3, "other": 4}  # of each body
OBLIQUE = (32.0, 60.0)  # degrees from which on a view is "other"; patients stand turned by 10 to 15 at times
PLAIN = 0.4  # part of the bodies that stay as short as their CT, with raised arms, as those that are rendered elsewhere
SOFT_HU = 40
NECK_MM = (62.0, 70.0)  # half width and half depth
BONE_MU = 1.2 * MU_WATER_PER_MM  # of a humerus beside the soft tissue in its place


@dataclass(frozen=True)
class Cast:
    """Line integrals of a body from one side.

    Attributes:
        view: One of CLASSES.
        soft: float16 (PIXELS, PIXELS).
        bone: float16 (PIXELS, PIXELS).
        pixel_mm: Side of a pixel in the body.
    """

    view: str
    soft: np.ndarray
    bone: np.ndarray
    pixel_mm: float


def read_body(path: str | None) -> Volume:
    """A CT on a grid of about 2.5 mm, its table gone and its bone known."""
    volume = sample_ct() if path is None else read_ct(path)
    steps = np.maximum(1, np.rint(COARSE_MM / volume.spacing)).astype(int)
    if steps.max() > 1:
        x, y, z = steps
        depth, height, width = (n // s * s for n, s in zip(volume.hu.shape, (z, y, x)))
        blocks = volume.hu[:depth, :height, :width].astype(np.float32)
        blocks = blocks.reshape(depth // z, z, height // y, y, width // x, x).mean(axis=(1, 3, 5))
        affine = volume.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ ((steps - 1) / 2)
        affine[:3, :3] *= steps
        volume = Volume(np.rint(blocks).astype(np.int16), affine, source=volume.source)
    return prepare(volume)


def lengthen(body: Volume, rng: np.random.Generator) -> Volume:
    """A body with 150 mm of abdomen below, and with shoulders that slope to a neck above."""
    x_mm, y_mm, z_mm = body.spacing
    assert body.bone is not None
    below, above = round(150 / z_mm), round(110 / z_mm)
    first, last = body.hu[0], body.hu[-1]
    inside = ndimage.binary_fill_holes(first > -300)
    filled = np.clip(np.arange(below, 0, -1) * z_mm / rng.uniform(5, 40), 0, 1)[:, None, None]  # lungs end in a dome
    empty = inside & (first < -100)
    under = np.where(empty, first + filled * (SOFT_HU - first), first)
    rows, columns = np.nonzero(ndimage.binary_fill_holes(last > -300))
    if not len(rows):
        return body.replace(hu=np.concatenate([under, body.hu]).astype(np.int16), **_grown(body, below, 0))
    middle = np.array([(columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2])
    half = np.array([np.ptp(columns) * x_mm, np.ptp(rows) * y_mm]) / 2 + 5
    along = np.clip(np.arange(above) * z_mm / rng.uniform(45, 100), 0, 1)[:, None]
    axes = half + along * (np.minimum(half, NECK_MM) - half)  # (above, 2)
    y, x = np.mgrid[: last.shape[0], : last.shape[1]]
    far = ((x - middle[0]) * x_mm / axes[:, :1, None]) ** 2 + ((y - middle[1]) * y_mm / axes[:, 1:, None]) ** 2
    over = np.where(far < 1, last, -1000)
    grown = _grown(body, below, above)
    grown["bone"][-above:] *= far < 1
    return body.replace(hu=np.concatenate([under, body.hu, over]).astype(np.int16), **grown)


def _grown(body: Volume, below: int, above: int) -> dict[str, np.ndarray]:
    """Bone map and affine of a body with slices repeated at both ends."""
    assert body.bone is not None
    affine = body.affine.copy()
    affine[:3, 3] -= affine[:3, 2] * below
    bone = np.concatenate([np.repeat(body.bone[:1], below, 0), body.bone, np.repeat(body.bone[-1:], above, 0)])
    return {"bone": bone, "affine": affine}


def cast_body(own: Volume, rng: np.random.Generator) -> Iterator[Cast]:
    """Line integrals of one body from all sides."""
    low, high = lung_box(own)
    around = body_box(own)
    plain = rng.random() < PLAIN
    body = own if plain else lengthen(own.replace(labels=None), rng)
    for name, count in POSES.items():
        for _ in range(count):
            view = name if name != "other" else str(rng.choice(("PA", "AP", "LL", "RL")))
            across = max(float(abs(np.array(VIEWS[view].right)) @ (high - low)), high[2] - low[2])
            width = across + rng.uniform(-20, 160)
            beam = ConeBeam.preset(view, body, (PIXELS, PIXELS), width, around, (low + high) / 2)
            turn = rng.normal(0, 6) if name != "other" else rng.choice((-1, 1)) * rng.uniform(*OBLIQUE)
            tip = rng.uniform(-8, 8)
            if name == "other" and rng.random() < 0.25:
                turn, tip = rng.uniform(-9, 9), rng.choice((-1, 1)) * rng.uniform(45, 85)
            moved = np.eye(4)
            moved[:3, 3] = rng.uniform(-22, 22, 3)
            beam = beam.orbit(turn).orbit(tip, axis=(1, 0, 0)).moved(moved)
            soft, bone = project(body, [beam], ("soft", "bone"), "cpu")[0].numpy()
            pixel_mm = width / PIXELS
            if not plain and name != "other" and rng.random() < 0.75:
                half = (around[1] - around[0]) / 2
                arms = hanging_arms if view in ("PA", "AP") else raised_arms
                arms(soft, bone, pixel_mm, half, (high - low) / 2, rng)
            yield Cast(name, soft.astype(np.float16), bone.astype(np.float16), pixel_mm)


def hanging_arms(
    soft: np.ndarray,
    bone: np.ndarray,
    pixel_mm: float,
    body_mm: np.ndarray,
    lung_mm: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Upper arms beside the chest, added to line integrals of a frontal view: hanging down to held away from it.

    Args:
        soft: (H, W), changed.
        bone: (H, W), changed.
        pixel_mm: Side of a pixel.
        body_mm: (3,) half of the body's extent.
        lung_mm: (3,) half of the lungs' extent.
        rng: Decides how they hang.
    """
    reach, spread, radius = rng.uniform(0.86, 1.0), rng.uniform(2, 35), rng.uniform(34, 56)
    for side in (-1, 1):
        if rng.random() < 0.12:
            continue
        angle = np.radians(spread + rng.normal(0, 5))
        shoulder = np.array([side * reach * max(body_mm[0] - 15, lung_mm[0] + 30), -lung_mm[2] * rng.uniform(0.6, 0.9)])
        elbow = shoulder + 320 * np.array([side * np.sin(angle), np.cos(angle)])
        _capsule(soft, pixel_mm, shoulder, elbow, radius, MU_WATER_PER_MM)
        inner = shoulder + (elbow - shoulder) * 0.06
        _capsule(bone, pixel_mm, inner, elbow, rng.uniform(10, 13), BONE_MU)
        _capsule(bone, pixel_mm, inner, inner + 1.0, rng.uniform(20, 25), 0.6 * BONE_MU)


def raised_arms(
    soft: np.ndarray,
    bone: np.ndarray,
    pixel_mm: float,
    body_mm: np.ndarray,
    lung_mm: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Both upper arms over the apices of a lateral, raised or held forward; see `hanging_arms`."""
    facing = rng.choice((-1, 1))  # a lateral is learned with its mirror image, so either side will do
    for _ in range(2):
        angle = np.radians(rng.uniform(-20, 70))
        shoulder = np.array([rng.uniform(-30, 30), -lung_mm[2] * rng.uniform(0.75, 1.0)])
        elbow = shoulder + 280 * np.array([facing * np.sin(angle), -np.cos(angle)])
        _capsule(soft, pixel_mm, shoulder, elbow, rng.uniform(34, 50), MU_WATER_PER_MM)
        _capsule(bone, pixel_mm, shoulder, elbow, rng.uniform(10, 13), BONE_MU)


def _capsule(
    lines: np.ndarray, pixel_mm: float, start: np.ndarray, end: np.ndarray, radius: float, mu_per_mm: float
) -> None:
    """Add a rod's chord 2 sqrt(r^2 - d^2) mu; places in mm from the picture's middle, (x, y), y downwards."""
    height, width = lines.shape
    y, x = np.mgrid[:height, :width] * pixel_mm
    x, y = x - width * pixel_mm / 2 - start[0], y - height * pixel_mm / 2 - start[1]
    along = np.asarray(end) - start
    part = np.clip((x * along[0] + y * along[1]) / (along @ along), 0, 1)
    distance2 = (x - part * along[0]) ** 2 + (y - part * along[1]) ** 2
    lines += (2 * mu_per_mm * np.sqrt(np.maximum(radius**2 - distance2, 0))).astype(lines.dtype)


def show(cast: Cast, rng: np.random.Generator) -> np.ndarray:
    """A look of a cast, float32 (H, W): opacities, devices, letters and borders at times; bent, tilted, cropped."""
    soft, bone = cast.soft.astype(np.float32), cast.bone.astype(np.float32)
    if rng.random() < 0.35:
        soft = soft + _opacities(rng)
    for _ in range(int(rng.integers(1, 5)) if rng.random() < 0.35 else 0):
        soft = add_device(soft, cast.pixel_mm, rng)
    image = render_pair(soft, bone, Look.random(rng), cast.pixel_mm)[0]
    image = image + quantum_noise(soft + bone, np.exp(rng.uniform(np.log(0.003), np.log(0.04))), 0.6, rng)
    for _ in range(int(rng.integers(0, 3))):
        (image,) = add_letters([image], cast.pixel_mm, rng)
    if rng.random() < 0.3:
        (image,) = add_collimator([image], rng)
    if rng.random() < 0.3:
        image = image + rng.uniform(0.1, 0.5) * _smooth(rng, int(rng.integers(2, 7)))
    image = _bend(image, rng)
    height, width = _film(rng)
    top, left = (int(rng.integers(0, PIXELS - n + 1)) for n in (height, width))
    image = image[top : top + height, left : left + width]
    if rng.random() < 0.3:  # resized to a square, as many data sets are
        image = cv2.resize(image, (PIXELS, PIXELS), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.12:
        image = np.pad(image, int(rng.integers(2, 20)), constant_values=rng.choice((image.min(), image.max())))
    return image


def _film(rng: np.random.Generator) -> tuple[int, int]:
    """(height, width): a square, upright or lying film."""
    longer, aspect = PIXELS * rng.uniform(0.82, 1), rng.choice((1.0, rng.uniform(0.78, 1)))
    sides = round(longer), round(longer * aspect)
    return sides if rng.random() < 0.6 else sides[::-1]


def _smooth(rng: np.random.Generator, places: int) -> np.ndarray:
    """A smooth random field (PIXELS, PIXELS) of deviation 1 from a lattice of that many places a side."""
    lattice = rng.standard_normal((places, places)).astype(np.float32)
    field = cv2.resize(lattice, (PIXELS, PIXELS), interpolation=cv2.INTER_CUBIC)
    return (field - field.mean()) / field.std()


def _opacities(rng: np.random.Generator) -> np.ndarray:
    """Line integrals of one to three soft-edged opacities anywhere, or of a gas bubble where they are negative."""
    y, x = np.mgrid[:PIXELS, :PIXELS] / PIXELS
    found = np.zeros((PIXELS, PIXELS), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        (row, column), (tall, wide) = rng.uniform(0.15, 0.85, 2), rng.uniform(0.04, 0.25, 2)
        hill = np.exp(-((((x - column) / wide) ** 2 + ((y - row) / tall) ** 2) ** 2))
        found += (rng.uniform(-0.25, 1.6) * hill).astype(np.float32)
    return found


def _bend(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Tilted, zoomed and smoothly bent, as by a crooked spine."""
    turn = cv2.getRotationMatrix2D((PIXELS / 2, PIXELS / 2), rng.normal(0, 4), rng.uniform(0.95, 1.1))
    y, x = np.mgrid[:PIXELS, :PIXELS].astype(np.float32)
    places = [m[0] * x + m[1] * y + m[2] + rng.uniform(0, 3) * _smooth(rng, 4) for m in turn]
    return cv2.remap(image, *(p.astype(np.float32) for p in places), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def no_radiograph(body: Volume, casts: Sequence[Cast], rng: np.random.Generator) -> np.ndarray:
    """An axial slice of the CT, now and then a sagittal one, a small part of a radiograph, or a pattern."""
    kind = rng.integers(4)
    if kind < 2:
        axis = int(rng.choice((0, 0, 0, 2)))
        place = int(body.hu.shape[axis] * rng.uniform(0.2, 0.8))
        section = np.take(body.hu, place, axis).astype(np.float32)
        section = section[::-1] if axis else section
        low, high = ((-1000, 400), (-200, 300))[rng.integers(2)]
        return section.clip(low, high)
    if kind == 2:
        image = show(casts[int(rng.integers(len(casts)))], rng)
        side = round(min(image.shape) * rng.uniform(0.2, 0.4))
        top, left = (int(rng.integers(0, n - side)) for n in image.shape)
        return image[top : top + side, left : left + side]
    grain = rng.standard_normal((int(rng.integers(60, 300)),) * 2).astype(np.float32)
    if rng.random() < 0.8:
        grain = cv2.GaussianBlur(grain, (0, 0), np.exp(rng.uniform(np.log(0.3), np.log(30))))
    if rng.random() < 0.4:
        return grain
    return grain / grain.std() + rng.uniform(-3, 3) * np.linspace(-1, 1, len(grain), dtype=np.float32)[:, None]


def make_set(path: str | None, bodies: int, looks: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(ranks float16 (N, 96, 96), classes (N,)) of one CT's bodies."""
    rng, own = np.random.default_rng(seed), read_body(path)
    ranks, classes = [], []
    for n in range(bodies):
        body = own if n == 0 else deform(own, int(rng.integers(2**31)), amplitude_mm=9, scale=0.15)
        casts = list(cast_body(body, rng))
        for cast in casts:
            for _ in range(looks):
                ranks.append(to_ranks(show(cast, rng)).astype(np.float16))
                classes.append(CLASSES.index(cast.view))
        for _ in range(2 * looks):
            ranks.append(to_ranks(no_radiograph(body, casts, rng)).astype(np.float16))
            classes.append(CLASSES.index("other"))
    return np.stack(ranks), np.array(classes)
