"""What a method gains over doing nothing, in dB: whole image and lungs, by band, and what remains of the ribs.

Every image is first brought to the truth by one least-squares gain and offset a region, since a dual-energy soft-tissue
image has its own tone. A gain is 10 log10 of the mean squared error of the radiograph, so fitted, over the method's: 0
for doing nothing, infinite for the truth. Images larger than 512 pixels are measured at 512, where the bands' filters
are cheap; the finest band alone at 1024.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from drr.appearance.look import blur
from radiographs import resize

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32

SIDE, FINE_SIDE = 512, 1024  # longer sides at which images are measured
BANDS = ("under 2", "2 to 8", "8 to 24", "24 to 64", "over 64")  # pixels of 1024
EDGES = (2, 8, 24, 64)  # Gaussian sigmas in pixels of 1024 between the bands
RIB_SIGMAS = (1.2, 14.0)  # in pixels of 512: what lies between is mostly ribs
SMALLEST_SIDE = 256  # below it the finest band is narrower than a pixel
NO_ERROR = 1e-13  # mean squared errors below it are under what a 16-bit file can hold
WHOLE, LUNGS = "whole", "lungs"


def decibels(before: float, after: float) -> float:
    """A gain, 10 log10(before / after).

    Args:
        before: Mean squared error of doing nothing.
        after: Mean squared error of a method.

    Returns:
        Gain in dB; NaN if there was no error before, infinite if none is left.
    """
    if not before > NO_ERROR:
        return float("nan")
    return 10 * math.log10(before / after) if after > NO_ERROR else float("inf")


def scaled(image: Float[np.ndarray, "height width"], side: int) -> Float[np.ndarray, "shorter longer"]:
    """An image with its longer side brought down; a smaller image stays as it is.

    Args:
        image: (H, W).
        side: In pixels.

    Returns:
        (h, w), area averages.
    """
    scale = side / max(image.shape)
    return image if scale >= 1 else resize(image, (round(image.shape[0] * scale), round(image.shape[1] * scale)))


def split_bands(image: Float[np.ndarray, "height width"]) -> list[Float32[np.ndarray, "height width"]]:
    """The five bands of `BANDS`, fine to coarse, each float32 (H, W); their sum is the image.

    Args:
        image: (H, W); the Gaussians scale with its longer side.

    Returns:
        Arrays of the image's shape and unit.
    """
    smooth = [blur(image, edge * max(image.shape) / 1024) for edge in EDGES]
    return [a - b for a, b in zip([image, *smooth], [*smooth, np.float32(0)])]


def rib_band(image: Float[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width"]:
    """(H, W) between Gaussian sigmas of 1.2 and 14 pixels of 512.

    Args:
        image: (H, W); the Gaussians scale with its longer side.

    Returns:
        What mostly ribs are made of, about 0, in the image's unit.
    """
    low, high = (sigma * max(image.shape) / SIDE for sigma in RIB_SIGMAS)
    return blur(image, low) - blur(image, high)


def gain_offset(image: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Least-squares gain and offset of one set of values onto another.

    Args:
        image: (N,).
        truth: (N,).

    Returns:
        (gain, offset); a flat image has gain 0.
    """
    x, y = image.astype(np.float64), truth.astype(np.float64)
    spread = x - x.mean()
    gain = float(spread @ (y - y.mean()) / max(spread @ spread, 1e-12))
    return gain, float(y.mean() - gain * x.mean())


class GainMeter:
    """Gains of any number of methods on one image; truth and radiograph are filtered once.

    Args:
        truth: True soft-tissue image float32 (H, W) in [-1, 1].
        radiograph: The image that was suppressed, (H, W): what doing nothing leaves.
        lungs: bool (H, W), or None if there is no mask: then only the whole image is measured.

    Raises:
        ValueError: Shapes that differ, values that are not finite, or a mask without a pixel at 512 pixels.
    """

    def __init__(
        self,
        truth: Float[np.ndarray, "height width"],
        radiograph: Float[np.ndarray, "height width"],
        lungs: Bool[np.ndarray, "height width"] | None = None,
    ) -> None:
        self._shape = truth.shape
        shapes = [image.shape for image in (radiograph, lungs) if image is not None]
        if truth.ndim != 2 or any(shape != truth.shape for shape in shapes):
            raise ValueError(f"truth {truth.shape}, radiograph and lungs {shapes}: expected one size (H, W)")
        _refuse_unfinite(truth=truth, radiograph=radiograph)
        self._masks = {WHOLE: np.ones(truth.shape, bool)} | ({} if lungs is None else {LUNGS: lungs})
        self._small = {name: scaled(mask.astype(np.float32), SIDE) > 0.5 for name, mask in self._masks.items()}
        self._fine = {name: scaled(mask.astype(np.float32), FINE_SIDE) > 0.5 for name, mask in self._masks.items()}
        if any(not mask.any() for mask in self._small.values()):
            raise ValueError(f"an empty lung mask at {SIDE} pixels: give one with lungs in it")
        self._truth = _Filtered(truth)
        before = _Filtered(radiograph)
        self._before = {region: self._errors(before, region) for region in self._masks}
        self._ribs_before = self._ribs(before) if lungs is not None else None

    def __call__(self, prediction: Float[np.ndarray, "height width"]) -> dict[str, float]:
        """One method's figures.

        Args:
            prediction: Suppressed image (H, W) of the same size.

        Returns:
            In dB "whole" and, with a lung mask, "lungs", and each with a band's name, such as "lungs 8 to 24"; with a
            mask also "remain", the part of the ribs' band of (radiograph - truth) that is left (1 for doing nothing,
            0 for the truth), and "rib_bsr", the two-sided BSR of that band.

        Raises:
            ValueError: Another size, or values that are not finite.
        """
        if prediction.shape != self._shape:
            raise ValueError(f"a prediction of {prediction.shape}, a truth of {self._shape}: expected one size")
        _refuse_unfinite(prediction=prediction)
        filtered = _Filtered(prediction)
        figures: dict[str, float] = {}
        for region, before in self._before.items():
            after = self._errors(filtered, region)
            figures |= {name: decibels(before[name], after[name]) for name in before}
        if self._ribs_before is not None:
            left, was = self._ribs(filtered), self._ribs_before
            power = float(np.mean(was**2))
            known = power > NO_ERROR
            figures["remain"] = float(np.mean(was * left)) / power if known else float("nan")
            figures["rib_bsr"] = 1 - float(np.mean(left**2)) / power if known else float("nan")
        return figures

    def shares(self) -> dict[str, float]:
        """The share of doing nothing's squared error that each band holds, under the same names as the gains.

        Returns:
            {figure: 0 .. 1}; the known bands of a region add up to 1. NaN if the radiograph equals the truth there.
        """
        found: dict[str, float] = {}
        for region, errors in self._before.items():
            bands = {f"{region} {band}": errors[f"{region} {band}"] for band in BANDS}
            total = sum(value for value in bands.values() if not math.isnan(value))
            found |= {name: value / total if total > NO_ERROR else float("nan") for name, value in bands.items()}
        return found

    def _errors(self, image: _Filtered, region: str) -> dict[str, float]:
        """Mean squared errors in a region after the fit there: of all, and of each band."""
        small, fine = self._small[region], self._fine[region]
        gain, offset = gain_offset(image.small[small], self._truth.small[small])
        errors = {region: _square(gain * image.small + offset - self._truth.small, small)}
        for number, band in enumerate(BANDS):
            ours, true = image.bands[number], self._truth.bands[number]
            constant = offset if number == len(BANDS) - 1 else 0.0
            errors[f"{region} {band}"] = _square(gain * ours + constant - true, small if number else fine)
        if max(self._shape) < SMALLEST_SIDE:
            errors[f"{region} {BANDS[0]}"] = float("nan")
        return errors

    def _ribs(self, image: _Filtered) -> np.ndarray:
        """(N,) what is left of the ribs' band in the lungs, after that band's own fit."""
        ours, true = image.ribs[self._small[LUNGS]], self._truth.ribs[self._small[LUNGS]]
        gain, offset = gain_offset(ours, true)
        return gain * ours.astype(np.float64) + offset - true


class _Filtered:
    """An image at 512 pixels, its bands, and its ribs' band."""

    def __init__(self, image: np.ndarray) -> None:
        image = np.ascontiguousarray(image, dtype=np.float32)
        self.small = scaled(image, SIDE)
        self.bands = split_bands(self.small)
        self.ribs = rib_band(self.small)
        if max(image.shape) > SIDE:
            fine = scaled(image, FINE_SIDE)
            self.bands[0] = fine - cv2.GaussianBlur(fine, (0, 0), EDGES[0] * max(fine.shape) / 1024)


def _refuse_unfinite(**images: np.ndarray) -> None:
    for name, image in images.items():
        bad = int(np.sum(~np.isfinite(image)))
        if bad:
            raise ValueError(f"{name}: {bad} of {image.size} pixels are not finite numbers")


def _square(error: np.ndarray, mask: np.ndarray) -> float:
    return float(np.mean(np.square(error[mask], dtype=np.float64)))
