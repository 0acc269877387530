"""Cardiomegaly: the heart grows to the left, forward and down, and the lungs give way."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from drr.findings.report import Finding
from drr.volume import Volume

HEART = ("heart", "atrial_appendage_left")
GIVE_MM = 50.0  # how far into its surroundings the heart's growth is taken up
WALL_MM = 12.0  # nothing moves within this distance of bone


def cardiothoracic_ratio(volume: Volume) -> float:
    """Greatest width of the heart over greatest inner width of the chest, as on a frontal radiograph.

    Args:
        volume: With a label map.

    Returns:
        The ratio; 0.5 is the usual limit.

    Raises:
        ValueError: No label map, or one without heart or lungs.
    """
    lungs = volume.mask(*volume.names_where(lambda name: name.startswith("lung_")).values()).any(axis=(0, 1))
    heart = _heart(volume).any(axis=(0, 1))
    if not lungs.any() or not heart.any():
        raise ValueError(f"{volume.source or 'volume'}: heart or lungs are not in the label map")
    return float(np.ptp(np.flatnonzero(heart)) + 1) / float(np.ptp(np.flatnonzero(lungs)) + 1)


def add_cardiomegaly(volume: Volume, ratio: float = 0.6) -> tuple[Volume, Finding]:
    """Enlarge the heart. Labels move with it; `bone` does not move.

    Args:
        volume: With a label map.
        ratio: Cardiothoracic ratio to reach.

    Returns:
        A new volume, and what was put in.

    Raises:
        ValueError: No label map, or a ratio that is not between the volume's own and 0.75.
    """
    own = cardiothoracic_ratio(volume)
    if not own < ratio <= 0.75:
        raise ValueError(f"a cardiothoracic ratio of {ratio}; it must exceed the volume's own, {own:.2f}, up to 0.75")
    factor, reached, grown = ratio / own, own, volume
    room = _room(volume)
    for _ in range(4):  # the surroundings take up part of the growth, so the factor is corrected
        grown = _grow(volume, room, factor)
        reached = cardiothoracic_ratio(grown)
        if abs(reached - ratio) < 0.01:
            break
        factor *= ratio / reached
    finding = Finding("cardiomegaly", "", "heart", _heart(grown), {"cardiothoracic_ratio": reached})
    return grown, finding


def _room(volume: Volume) -> np.ndarray:
    """Float (D, H, W) in [0, 1]: how freely each voxel follows the heart; 1 in it, less around it, 0 at bone."""
    spacing = volume.spacing[::-1]
    outside = ndimage.distance_transform_edt(~_heart(volume), sampling=spacing)
    hard = volume.mask(*volume.names_where(lambda name: name.startswith(("vertebra", "rib_", "sternum"))).values())
    if volume.bone is not None:
        hard |= volume.bone > 0
    from_bone = ndimage.distance_transform_edt(~hard, sampling=spacing)
    return np.exp(-((outside / GIVE_MM) ** 2)) * np.clip(from_bone / WALL_MM, 0, 1)


def _grow(volume: Volume, room: np.ndarray, factor: float) -> Volume:
    """The heart scaled about a point in its right, back and upper part."""
    places = np.argwhere(_heart(volume))
    low, high = places.min(axis=0), places.max(axis=0)
    anchor = low + (high - low) * (0.75, 0.8, 0.3)
    pull = (1 - 1 / factor) * room
    moved = pull > 1e-3
    index = np.argwhere(moved)
    source = (index - (index - anchor) * pull[moved][:, None]).T
    hu, labels = volume.hu.copy(), np.array(volume.labels)
    hu[moved] = np.rint(ndimage.map_coordinates(volume.hu, source, order=1, mode="nearest", output=np.float32))
    labels[moved] = ndimage.map_coordinates(np.asarray(volume.labels), source, order=0, mode="nearest")
    return volume.replace(hu=hu, labels=labels)


def _heart(volume: Volume) -> np.ndarray:
    return volume.mask(*volume.names_where(lambda name: name in HEART).values())
