"""Stored values to Hounsfield units; and whether voxels can be Hounsfield units, or what they look like if not."""

from __future__ import annotations

import numpy as np

AIR_HU = -500  # a CT of a chest has air in it, and a phantom has it around it
SHIFTED_HU = -1500  # less dense than air, and not padding
LOWEST_HU = -5000  # padding of -3024 in a lossy JPEG reaches -3200
HIGHEST_HU = 10000
SAMPLES = 64  # along each axis
CLIP_HU = (-950, 1000)  # a scan cut off between them has lost air or bone
NEAR = 50  # HU next to an end of the range, with which the pile at the end is compared
PILE = 10.0  # times as many voxels as its neighbours' mean
RESCALE = "give rescale=(slope, intercept) (--rescale on the command line)"


def to_int16(values: np.ndarray, scale: tuple[float, float], out: np.ndarray, what: str) -> None:
    """Slope * values + intercept, rounded and clipped to int16.

    Args:
        values: As stored, of any shape.
        scale: (slope, intercept).
        out: int16 of that shape, filled.
        what: The file's name.

    Raises:
        ValueError: NaN or infinite voxels.
    """
    slope, intercept = scale
    if slope == 1 and intercept == int(intercept) and values.dtype.kind in "iu" and values.dtype.itemsize <= 2:
        np.clip(np.add(values, int(intercept), dtype=np.int32), -32768, 32767, out=out, casting="unsafe")
        return
    scaled = values * np.float32(slope) + np.float32(intercept)
    if not np.isfinite(scaled).all():
        raise ValueError(f"{what}: NaN or infinite voxels; repair the file")
    np.copyto(out, np.rint(np.clip(scaled, -32768, 32767)), casting="unsafe")


def check_hu(hu: np.ndarray, stored: np.ndarray, what: str, padding: int | None = None) -> None:
    """Refuse a CT whose voxels cannot be Hounsfield units.

    Args:
        hu: int16 (D, H, W), in HU if all is well.
        stored: The values in the file, of which the message speaks.
        what: The file's name.
        padding: The value of `hu` outside of the field of view, if any.

    Raises:
        ValueError: No air, air or bone cut off, or values far from every tissue.
    """
    sample = hu[tuple(slice(None, None, max(1, n // SAMPLES)) for n in hu.shape)].ravel()
    beyond = padding is not None and not -1024 <= padding <= 3071  # within, it may be the end of a window
    sample = sample[sample != padding] if beyond else sample
    if not sample.size or sample.min() > AIR_HU:  # the sample may have missed what little air there is
        sample = hu[hu != padding] if beyond else hu.ravel()
    low, high = (int(sample.min()), int(sample.max())) if sample.size else (0, 0)
    if low > AIR_HU:
        raise ValueError(f"{what}: no Hounsfield units: no air among the voxels; {_looks_like(stored)}")
    bottom, top = np.percentile(sample, (1, 99))
    seen = f"98 % of the voxels lie between {bottom:.0f} and {top:.0f}"
    if low < SHIFTED_HU and top < -300:
        raise ValueError(f"{what}: no Hounsfield units: {seen}; as if rescaled twice; {RESCALE}")
    if bottom < LOWEST_HU or top > HIGHEST_HU:
        raise ValueError(f"{what}: no Hounsfield units: {seen}, far from air and tissue; {RESCALE}")
    for end, near, lost in ((low, range(low + 1, low + NEAR), "air"), (high, range(high - NEAR + 1, high), "bone")):
        if CLIP_HU[0] < end < CLIP_HU[1] and _piles_up(sample, end, near):
            raise ValueError(
                f"{what}: the Hounsfield units are cut off at {end}, a window in which {lost} is lost; "
                "give the CT before it was windowed"
            )


def _piles_up(sample: np.ndarray, end: int, near: range) -> bool:
    """Whether far more voxels have the value `end` than its neighbours, which a scan's noise fills evenly."""
    beside = sample[(sample >= near.start) & (sample < near.stop)]
    filled = len(np.unique(beside)) > 0.7 * len(near)
    return filled and bool(np.count_nonzero(sample == end) > PILE * beside.size / len(near))


def _looks_like(stored: np.ndarray) -> str:
    """Of values that are no HU: their range, and what usually has it."""
    low, high = float(stored.min()), float(stored.max())
    span = f"from {low:.5g} to {high:.5g}, as"
    if low == high:
        return f"all voxels are {low:.5g}"
    if low >= 0 and high <= 0.1:
        return f"{span} attenuation in 1/mm: HU are 1000 (mu / mu of water - 1); {RESCALE}"
    if low >= 0 and high <= 1.01:
        return f"{span} values scaled to 0..1, or attenuation in 1/cm, have; {RESCALE}"
    if low >= -1.1 and high <= 10:
        return f"{span} values scaled to -1..1, or HU / 1000, have; {RESCALE}"
    if low >= 0 and high <= 255:
        return f"{span} grey levels of 8 bits have; {RESCALE}"
    if low >= -128 and high <= 127:
        return f"{span} 8 bits hold, too few for HU; {RESCALE}"
    if low >= 0:
        return f"{span} stored values without their rescale have (or an MR); {RESCALE}, often (1, -1024)"
    return f"{span} in a CT cut off at a window, or inside of the body; give the CT before that"
