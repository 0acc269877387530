"""Vessels and devices drawn into a scene, each beside the same view without it: what of them suppression keeps.

They belong to the soft tissue and are as narrow and as bright as ribs' edges, which a network may take for bone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from drr import Look, render_pair
from drr.appearance.overlays import add_device, add_vessels

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

AIMS = {
    "vessels between ribs": 0.95,
    "vessels under ribs": 0.95,
    "lines and wires": 0.90,
    "electrodes and clips": 0.90,
}
BONE_LINES = 0.02  # a line integral that counts as bone: a millimetre of water
BODY_LINES = 0.3
LINE_MM = 40.0  # a device that reaches farther is a line
EACH = 2  # devices of either kind in a scene
TRIES = 60
SUPPORT = 0.05  # of the strongest, from which a pixel belongs to what was drawn
SMALLEST_SIGNAL = 1e-3  # of the grey range of 2: under it a ratio means nothing


@dataclass(frozen=True, eq=False)
class Twin:
    """A scene's view with something drawn into it.

    Attributes:
        masks: {a key of AIMS: bool (H, W), the pixels over which it is measured}.
        radiograph: float32 (H, W) in [-1, 1].
        soft: The same without bone.
    """

    masks: dict[str, np.ndarray]
    radiograph: np.ndarray
    soft: np.ndarray


def draw_twins(
    soft: Float[np.ndarray, "height width"],
    bone: Float[np.ndarray, "height width"],
    lungs: Bool[np.ndarray, "height width"],
    pixel_mm: float,
    look: Look,
    rng: np.random.Generator,
) -> list[Twin]:
    """One view with vessels, and one for each of two lines and two electrodes or clips that found a place.

    Args:
        soft: Line integrals (H, W) of the scene.
        bone: The same of its bone.
        lungs: bool (H, W).
        pixel_mm: Side of a pixel at the body's centre.
        look: Of the scene.
        rng: Decides on all that is drawn.

    Returns:
        The view with vessels first; fewer than four others if 60 tries do not find a place for all of them.
    """
    drawn = add_vessels(soft, pixel_mm, rng)
    seen = _support(drawn - soft) & lungs
    under = bone > BONE_LINES
    masks = {"vessels between ribs": seen & ~under, "vessels under ribs": seen & under}
    twins = [Twin(masks, *render_pair(drawn, bone, look))]
    wanted = {"lines and wires": EACH, "electrodes and clips": EACH}
    for _ in range(TRIES):
        if not any(wanted.values()):
            break
        drawn = add_device(soft, pixel_mm, rng)
        mask = _support(drawn - soft)
        rows, columns = np.nonzero(mask)
        if not len(rows):
            continue
        reach = max(np.ptp(rows), np.ptp(columns)) * pixel_mm
        kind = "lines and wires" if reach > LINE_MM else "electrodes and clips"
        if wanted[kind] and (soft[mask] > BODY_LINES).mean() > 0.5:
            wanted[kind] -= 1
            twins.append(Twin({kind: mask & (soft > BODY_LINES)}, *render_pair(drawn, bone, look)))
    return twins


def twin_kept(
    change: Float[np.ndarray, "height width"],
    true_change: Float[np.ndarray, "height width"],
    mask: Bool[np.ndarray, "height width"],
) -> float:
    """The projection of what was added to a result onto what was added to the truth, within a mask.

    Args:
        change: (H, W), a method's result with it less that without it.
        true_change: The same of the true soft tissue.
        mask: bool (H, W).

    Returns:
        1 keeps all of it, 0 removes it; NaN where the truth hardly shows it.
    """
    ours, true = change[mask].astype(np.float64), true_change[mask].astype(np.float64)
    if not len(true) or float(np.sqrt((true**2).mean())) < SMALLEST_SIGNAL:
        return float("nan")
    return float(ours @ true / (true @ true))


def _support(added: np.ndarray) -> np.ndarray:
    """Bool (H, W): where something was added, and two pixels around it, which the display's filters spread it over."""
    seen = (added > SUPPORT * max(float(added.max()), 1e-6)).astype(np.uint8)
    return cv2.dilate(seen, np.ones((5, 5), np.uint8)) > 0
