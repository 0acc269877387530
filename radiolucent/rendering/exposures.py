"""Exposures of a body: poses, physics and display, each drawn anew, and what differs between two bodies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from drr import ConeBeam, Physics, Volume, project
from drr.anatomy.chest import lung_box
from drr.appearance.choices import Exposure, draw_physics
from drr.appearance.physics import expose
from drr.findings.plan import TWO_EXPOSURES, Pose
from drr.geometry import VIEWS, body_box
from radiolucent.rendering.images import pixel_mm
from radiolucent.rendering.jobs import Options, Shot, beam_name, shots
from radiolucent.rendering.studies import Ask

MARGIN_MM = 20.0  # of a chest radiograph around the lungs
DIFFERENCE_ZERO = 32768  # the level of no difference, in 16 bits
LINES_PER_LEVEL, GREY_PER_LEVEL = 1 / 4096, 1 / 16384  # a level of the differences' pictures


@dataclass(frozen=True, eq=False)
class Taken:
    """One exposure of one body: its beam, physics and display, and line integrals before physics, (H, W) each.

    Attributes:
        shot: The view and its angle.
        beam: With the pose that was drawn.
        soft: float32 line integrals of soft tissue, without a unit.
        bone: float32 line integrals of what bone adds to it.
        physics: Of tube and detector, or None.
        shown: The display, measured on this exposure.
        pictures: {"total", "soft", "bone": float32 (H, W) in [-1, 1]}, after physics.
    """

    shot: Shot
    beam: ConeBeam
    soft: np.ndarray
    bone: np.ndarray
    physics: Physics | None
    shown: Exposure
    pictures: Mapping[str, np.ndarray]


def take(
    volume: Volume,
    bodies: Mapping[str, Volume],
    options: Options,
    ask: Ask,
    rng: np.random.Generator,
    backend: str,
) -> dict[str, list[Taken]]:
    """{study: its exposures}, each posed and exposed anew.

    Args:
        volume: The body before anything was put in; beams are aimed at it, so that a finding does not move them.
        bodies: {time: the body as it is then}.
        options: Views, angles, size, look and physics.
        ask: Pose, and whether there are two studies.
        rng: Draws pose, physics, noise and look.
        backend: Of `drr.project`.

    Returns:
        One exposure a shot, in the order of `shots`.
    """
    pose = ask.plan.pose or (TWO_EXPOSURES if ask.two_studies else Pose())
    around = body_box(volume)
    lungs = lung_box(volume) if ask.plan.field == "chest" else None
    taken: dict[str, list[Taken]] = {}
    for time, body in bodies.items():
        posed = [_posed_beam(shot, volume, options, around, lungs, pose, rng) for shot in shots(options)]
        lines = project(body, [beam for beam, _ in posed], materials=("soft", "bone"), backend=backend).cpu().numpy()
        taken[time] = [
            _expose(shot, beam, soft, bone, options, shift, rng)
            for shot, (beam, shift), (soft, bone) in zip(shots(options), posed, lines)
        ]
    return taken


def _posed_beam(
    shot: Shot,
    volume: Volume,
    options: Options,
    around: tuple[np.ndarray, np.ndarray],
    lungs: tuple[np.ndarray, np.ndarray] | None,
    pose: Pose,
    rng: np.random.Generator,
) -> tuple[ConeBeam, float]:
    """A shot's beam with a pose of its own, and the difference of its exposure."""
    turn, tip, zoom, exposure = rng.uniform(-1, 1, 4) * (
        pose.turn_degrees,
        pose.tip_degrees,
        pose.zoom,
        pose.exposure,
    )
    shift = rng.uniform(-1, 1, 3) * pose.shift_mm
    name, shape = beam_name(shot.view, options.preset), (options.size, options.size)
    if lungs is None or VIEWS[name].field_mm is not None:
        beam = ConeBeam.preset(name, volume, shape, box=around)
        width = float(np.linalg.norm(beam.numpy("du"))) * shape[1] * _shrink(beam)
        centre = beam.numpy("centre")
    else:
        size, centre = lungs[1] - lungs[0], (lungs[0] + lungs[1]) / 2
        width = max(float(abs(np.array(VIEWS[name].right)) @ size), float(size[2])) + 2 * MARGIN_MM
    beam = ConeBeam.preset(name, volume, shape, field_mm=width * (1 + zoom), box=around, centre=centre)
    moved = np.eye(4)
    moved[:3, 3] = shift
    tipped = beam.orbit(tip, axis=VIEWS[name].right)
    return tipped.orbit(shot.orbit_degrees + turn).moved(moved), float(exposure)


def _shrink(beam: ConeBeam) -> float:
    """A pixel in the body over a pixel on the detector."""
    return pixel_mm(beam) / float(np.linalg.norm(beam.numpy("du")))


def _expose(
    shot: Shot,
    beam: ConeBeam,
    soft: np.ndarray,
    bone: np.ndarray,
    options: Options,
    shift: float,
    rng: np.random.Generator,
) -> Taken:
    physics = draw_physics(options.physics, rng)
    lines = (soft, bone) if physics is None else _seen_by_detector(soft, bone, physics, rng)
    shown = Exposure(options.look or "film", *lines, pixel_mm(beam), rng, shift)
    pictures = {"total": shown.radiograph(*lines), "soft": shown.soft(lines[0]), "bone": shown.bone(lines[1])}
    return Taken(shot, beam, soft, bone, physics, shown, pictures)


def _seen_by_detector(
    soft: np.ndarray, bone: np.ndarray, physics: Physics, rng: np.random.Generator | None
) -> tuple[np.ndarray, np.ndarray]:
    total, soft = expose(soft, bone, physics, rng)
    return soft, total - soft


def difference(exposure: Taken, before: np.ndarray) -> dict[str, np.ndarray]:
    """Current minus prior in the current's frame, with the current's pose and exposure and without noise.

    Args:
        exposure: The current one.
        before: (2, H, W), soft and bone of the prior's body cast with the current's beam.

    Returns:
        "lines": the line integrals' difference, dimensionless; "picture": that of the pictures in [-1, 1], both by the
        current's display. float32 (H, W) each, exactly 0 where the body did not change.
    """
    pictures = []
    for soft, bone in ((exposure.soft, exposure.bone), before):
        lines = (soft, bone)
        if exposure.physics is not None:
            lines = _seen_by_detector(soft, bone, replace(exposure.physics, photons=None), None)
        pictures.append(exposure.shown.radiograph(*lines))
    lines = (exposure.soft + exposure.bone) - (before[0] + before[1])
    return {"lines": lines, "picture": pictures[0] - pictures[1]}


def encode_difference(values: np.ndarray, part: str) -> np.ndarray:
    """uint16 levels of a difference: 32768 is none, a level is 1/4096 of "lines" and 1/16384 of "picture".

    Args:
        values: Differences of any shape; those beyond 8 ("lines") or 2 ("picture") are clipped.
        part: "lines" for line integrals, "picture" for pictures in [-1, 1].

    Returns:
        Levels of the same shape.
    """
    step = LINES_PER_LEVEL if part == "lines" else GREY_PER_LEVEL
    return np.rint(np.clip(values / step + DIFFERENCE_ZERO, 0, 65535)).astype(np.uint16)


def decode_difference(levels: np.ndarray, part: str) -> np.ndarray:
    """float32 differences from the levels of `encode_difference`.

    Args:
        levels: uint16, as read from the PNG.
        part: "lines" or "picture", as when they were encoded.

    Returns:
        Differences of the same shape, exact to half a level.
    """
    step = LINES_PER_LEVEL if part == "lines" else GREY_PER_LEVEL
    return ((levels.astype(np.float64) - DIFFERENCE_ZERO) * step).astype(np.float32)
