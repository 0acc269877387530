"""Pairs of radiograph and soft-tissue image drawn from a body's layers: what they show, how large, how it looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from drr.appearance.film import add_collimator, add_letters, jpeg_residual, quantum_noise
from drr.appearance.look import Look, blur, develop, shown_bone
from drr.appearance.overlays import add_device, add_nodule_shadow, add_vessels
from drr.pairs.layers import BONES, GIRDLE, LUNG, SOFT

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, UInt8

LUNG_LINES = 0.3  # a path through water of 15 mm: from there on a pixel is lung
AIR_LINES = 0.05
AIR_SHARE = 0.12  # of a picture that may lie beside the body
LUNG_SHARE = 0.2  # of a picture that must be lung
MARGIN = 0.01  # of the scan's height that is left out at either end
TRIES = 40
GIRDLE_LINES = 0.1
OBJECT_LINES = 0.003
FIRST_DEVICE = 128
FADE_MM = 12.0


@dataclass(frozen=True)
class PairOptions:
    """What is drawn into pairs; each number is a probability or a range.

    Attributes:
        pixel_mm: Range of the side of a pixel in the body, drawn log-uniformly.
        clutter: Whether vessels, nodules, devices, letters, borders and JPEG are drawn.
        nodules: Probability that a picture has nodules, one to five of them.
        nodule_mm: Range of their diameters.
        strengths: Standard deviation of the logarithm of each bone layer's own strength.
        girdle_turn: Largest turn in degrees of each half of the shoulder girdle about the clavicle's medial end, as
            arms that hang lie lower than a CT's raised ones.
    """

    pixel_mm: tuple[float, float] = (0.58, 0.92)
    clutter: bool = True
    nodules: float = 0.8
    nodule_mm: tuple[float, float] = (5.0, 30.0)
    strengths: float = 0.3
    girdle_turn: float = 40.0

    def __post_init__(self) -> None:
        low, high = self.pixel_mm
        if not 0 < low <= high:
            raise ValueError(f"pixel_mm {self.pixel_mm}: give two sides of a pixel in mm, 0 < first <= second")


@dataclass(frozen=True)
class Pair:
    """Images float32 (H, W) in [-1, 1], bones bright, all by one mapping and with the same noise.

    Attributes:
        radiograph: With nodules and devices, if any.
        soft: Its soft tissue.
        without: The same body before they were put in.
        soft_without: Its soft tissue.
        objects: uint8 (H, W), 0 or the number of what was put in there: nodules from 1, devices from FIRST_DEVICE; what
            touches counts as one.
        lungs: bool (H, W).
        pixel_mm: Side of a pixel in the body.
    """

    radiograph: Float32[np.ndarray, "height width"]
    soft: Float32[np.ndarray, "height width"]
    without: Float32[np.ndarray, "height width"]
    soft_without: Float32[np.ndarray, "height width"]
    objects: UInt8[np.ndarray, "height width"]
    lungs: Bool[np.ndarray, "height width"]
    pixel_mm: float


def draw_pair(
    layers: Float[np.ndarray, "6 rows columns"],
    cached_mm: float,
    size: int,
    options: PairOptions,
    rng: np.random.Generator,
) -> Pair:
    """One pair.

    Args:
        layers: (6, N, N) line integrals as `drr.pairs.layers.cast_layers` gives them, for one pose.
        cached_mm: Side of their pixels.
        size: Side of the pair in pixels.
        options: What is drawn into it.
        rng: Decides on everything.

    Returns:
        The pair, (size, size) each.
    """
    layers = torch.from_numpy(np.array(layers)).float().numpy()  # numpy takes ten times as long for half precision
    layers[GIRDLE] = move_girdle(layers[GIRDLE], cached_mm, options.girdle_turn, rng)
    placed, pixel_mm = place(layers, cached_mm, size, options.pixel_mm, rng)
    lungs = placed[LUNG] > LUNG_LINES
    strengths = np.exp(rng.normal(0, options.strengths, len(BONES))).astype(np.float32)
    look = Look.random(rng)
    bone = sum(strength * placed[layer] for strength, layer in zip(strengths, BONES))
    bone = shown_bone(bone, look, pixel_mm)
    soft = placed[SOFT]
    nodules, devices = np.zeros((2, size, size), np.float32)
    if options.clutter:
        soft = _sharpen(soft, pixel_mm, rng)
        if rng.random() < 0.8:
            soft = add_vessels(soft, pixel_mm, rng, int(rng.integers(3, 20)), lungs)
        while rng.random() < 0.4:
            devices = add_device(devices, pixel_mm, rng)
        if lungs.any() and rng.random() < options.nodules:
            nodules = draw_nodules(soft, pixel_mm, lungs, options.nodule_mm, rng)
    show, added = develop(soft + bone, look, pixel_mm), nodules + devices
    noise = quantum_noise(soft + bone, _log_uniform(rng, 0.004, 0.06), rng.uniform(0.4, 0.9), rng)
    if rng.random() < 0.5:
        noise *= np.float32(0.3)
    lines = [soft + added + bone, soft + added]
    lines += [soft + bone, soft] if added.any() else []
    images = [show(line) + noise for line in lines]
    if options.clutter:
        images = _finish(images, pixel_mm, rng)
    images = [image.clip(-1, 1).astype(np.float32) for image in images]
    (full, soft), (without, soft_without) = images[:2], images[-2:]  # the same two where nothing was put in
    return Pair(full, soft, without, soft_without, _number(nodules, devices), lungs, pixel_mm)


def _number(nodules: np.ndarray, devices: np.ndarray) -> np.ndarray:
    """uint8 (H, W): which connected part of the line integrals lies there; 0 where a device lies over a nodule."""
    parts = [cv2.connectedComponents((lines > OBJECT_LINES).astype(np.uint8))[1] for lines in (nodules, devices)]
    first, second = (part.clip(0, FIRST_DEVICE - 1) for part in parts)
    numbers = np.where(second > 0, second + FIRST_DEVICE - 1, first)
    return np.where((first > 0) & (second > 0), 0, numbers).astype(np.uint8)


def place(
    layers: np.ndarray, cached_mm: float, size: int, pixel_mm: tuple[float, float], rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """A picture out of the cached ones: enlarged, stretched by 7%, turned, shifted, mirrored.

    Nothing above or below the scan is in it, hardly any air, and some lung, if that can be had.

    Args:
        layers: (6, N, N) line integrals.
        cached_mm: Side of their pixels.
        size: Side of the picture in pixels.
        pixel_mm: Range of the side of its pixels.
        rng: Decides on everything.

    Returns:
        (6, size, size) float32 line integrals, and the side of a pixel in mm.
    """
    soft, lung = layers[SOFT], layers[LUNG]
    rows = np.flatnonzero((soft > AIR_LINES).any(axis=1))
    if not rows.size:
        rows = np.array([0, len(soft) - 1])
    height = rows[-1] + 1 - rows[0]
    top, bottom = rows[0] + MARGIN * height, rows[-1] + 1 - MARGIN * height
    air, lung = (soft < AIR_LINES).astype(np.float32), (lung > LUNG_LINES).astype(np.float32)
    flags = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
    for _ in range(TRIES):
        side = min(_log_uniform(rng, *pixel_mm), cached_mm * (bottom - top) / size)  # mm a pixel
        matrix = _geometry(layers.shape[2], top, bottom, size, side / cached_mm, rng)
        if cv2.warpAffine(air, matrix, (size, size), flags=flags, borderValue=1).mean() > AIR_SHARE:
            continue
        if cv2.warpAffine(lung, matrix, (size, size), flags=flags).mean() >= LUNG_SHARE:
            break
    placed = np.empty((len(layers), size, size), np.float32)
    for number, layer in enumerate(layers):
        how = cv2.WARP_INVERSE_MAP | (cv2.INTER_CUBIC if number in BONES else cv2.INTER_LINEAR)
        image = cv2.warpAffine(
            layer.astype(np.float32), matrix, (size, size), flags=how, borderMode=cv2.BORDER_REPLICATE
        )
        placed[number] = np.maximum(image, 0)
    return placed, side


def _geometry(width: int, top: float, bottom: float, size: int, step: float, rng: np.random.Generator) -> np.ndarray:
    """(2, 3) matrix from the picture's pixels to the cached ones, `step` of these a pixel."""
    aspect, turn = rng.uniform(0.93, 1.07), np.deg2rad(rng.normal(0, 3))
    span = size * step
    free = max(width - span, 0) / 2
    x = width / 2 + rng.uniform(-free, free) + rng.normal(0, 0.02) * width
    y = rng.uniform(top + span / 2, bottom - span / 2) if bottom - top > span else (top + bottom) / 2
    flip = -1 if rng.random() < 0.5 else 1
    cosine, sine = np.cos(turn) * step, np.sin(turn) * step
    matrix = np.array([[cosine * flip * aspect, -sine, 0], [sine * flip * aspect, cosine, 0]])
    matrix[:, 2] = np.array([x, y]) - matrix[:, :2] @ np.array([size / 2, size / 2])
    return matrix


def move_girdle(girdle: np.ndarray, pixel_mm: float, most: float, rng: np.random.Generator) -> np.ndarray:
    """Each half of the shoulder girdle turned downwards about the medial end of its clavicle and shifted.

    A CT is taken with raised arms: clavicles point up and scapulae lie over the upper lungs; in a radiograph they hang.
    What the scan cuts off at its top fades out, so that no bone ends in a straight line.

    Args:
        girdle: (H, W) line integrals.
        pixel_mm: Side of a pixel.
        most: Largest turn in degrees.
        rng: Decides how far.

    Returns:
        (H, W).
    """
    height, width = girdle.shape
    found = np.flatnonzero(girdle > GIRDLE_LINES)
    if not len(found) or rng.random() < 0.25:
        return girdle
    top = found[0] // width
    fade = np.clip((np.arange(height) - top) * (pixel_mm / FADE_MM), 0, 1).astype(np.float32)
    left = np.arange(width) < np.median(found % width)
    out = np.zeros_like(girdle)
    for half, side in ((left, -1), (~left, 1)):
        image = girdle * half * fade[:, None]
        points = np.flatnonzero(image > GIRDLE_LINES)
        if not len(points):
            continue
        y, x = divmod(points[np.argmax(-side * (points % width))], width)  # the clavicle's medial end
        turn = side * rng.uniform(-0.2, 1) * most
        matrix = np.asarray(cv2.getRotationMatrix2D((float(x), float(y)), -turn, 1.0), np.float64)
        matrix[:, 2] += rng.normal(0, 6, 2) / pixel_mm
        out += cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR)
    return out


def draw_nodules(
    soft: np.ndarray, pixel_mm: float, lungs: np.ndarray, sizes: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Line integrals of one to five nodules in the lungs, ground glass to solid.

    Args:
        soft: (H, W) line integrals.
        pixel_mm: Side of a pixel.
        lungs: bool (H, W).
        sizes: Range of the diameters in mm.
        rng: Decides on everything.

    Returns:
        (H, W), what they add.
    """
    nothing = np.zeros_like(soft)
    lines = nothing
    for _ in range(int(rng.integers(1, 6))):
        lines = add_nodule_shadow(lines, pixel_mm, rng, _log_uniform(rng, *sizes), rng.uniform(0.4, 1.3), lungs)
    return blur(lines, rng.uniform(0.5, 1.2) / pixel_mm)


def _sharpen(soft: np.ndarray, pixel_mm: float, rng: np.random.Generator) -> np.ndarray:
    """The soft tissue with the edges that a CT's slices blurred."""
    return soft + np.float32(rng.uniform(0, 2.5)) * (soft - blur(soft, rng.uniform(0.6, 1.6) / pixel_mm))


def _finish(images: list[np.ndarray], pixel_mm: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Letters, borders and JPEG, in all images alike."""
    if rng.random() < 0.15:
        images = add_letters(images, pixel_mm, rng)
    if rng.random() < 0.1:
        images = add_collimator(images, rng)
    if rng.random() < 0.15:
        left = jpeg_residual(images[0], int(rng.integers(50, 96)))
        images = [image.clip(-1, 1) + left for image in images]
    return images


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
