"""The display look of many vendors, drawn at random, the same for both images of a pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from drr.appearance.detector import detector_response

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

Range = tuple[float, float]
FIELD_MM = 400.0  # width of a chest radiograph where nothing else is said
LEVELS = 256  # of the curve that evens out the histogram


@dataclass(frozen=True)
class Look:
    """How a pair is exposed and processed. Lengths are in mm in the body; amounts of 0 do nothing.

    Attributes:
        bone_strength: Multiplies the bone's line integral; a radiograph is taken and processed so that bone stands out.
        bone_saturation: With s, a line integral b of bone counts as b (1 + 0.1 s) / (1 + s b), so that 0.1, a rib,
            stays: beam hardening, and scatter behind the mediastinum, hold thick bone back, above all the spine.
        bone_sharpening: Amount of an unsharp mask of the bone layer, for CT slices that blur the ribs' cortex.
        bone_sigma_mm: Width of that mask's blur.
        window: Quantiles of the radiograph's line integrals that become 0 and 1.
        latitude: Width of a logistic curve on that scale; 0 is a power law with `gamma`.
        middle: Centre of the logistic curve.
        gamma: Exponent of the power law, or of the exposure's grey.
        compression: Part of the blurred image that is taken away: dynamic range compression, by which spine, heart and
            shoulders come nearer to the lungs' grey.
        compression_sigma_mm: Width of that blur.
        unsharp: (sigma in mm, amount) of unsharp masks, fine to coarse: vendors' multi-scale enhancement.
        local_contrast: Exponent by which local standard deviations are evened out (as contrast-limited adaptive
            equalisation does).
        local_sigma_mm: Width over which they are measured.
        equalisation: Part, 0 to 1, of the curve that evens out the histogram (MIMIC-CXR-JPG's files have all of it).
        soften_px: Gaussian blur of the displayed image, in its pixels.
        clip: Quantiles of the displayed radiograph that become -1 and 1.
        exposure: None, or (centre, width) of `detector_response`, which then takes the place of window and curve.

    Raises:
        ValueError: Values outside of these ranges.
    """

    bone_strength: float = 1.0
    bone_saturation: float = 0.0
    bone_sharpening: float = 0.0
    bone_sigma_mm: float = 1.2
    window: Range = (0.0, 1.0)
    latitude: float = 0.0
    middle: float = 0.5
    gamma: float = 1.0
    compression: float = 0.0
    compression_sigma_mm: float = 45.0
    unsharp: tuple[Range, ...] = ()
    local_contrast: float = 0.0
    local_sigma_mm: float = 25.0
    equalisation: float = 0.0
    soften_px: float = 0.0
    clip: Range = (0.0, 1.0)
    exposure: Range | None = None

    def __post_init__(self) -> None:
        numbers = (value for value in vars(self).values() if value is not None and value != ())
        if not all(np.isfinite(value).all() for value in numbers):
            raise ValueError(f"{self}: every number of a look must be finite")
        amounts = (self.bone_strength, self.bone_saturation, self.compression, self.latitude, self.soften_px)
        ranges = all(0 <= low < high <= 1 for low, high in (self.window, self.clip))
        if not (min(amounts) >= 0 and self.compression < 1 and self.gamma > 0 and ranges):
            raise ValueError(
                f"{self}: needed are bone_strength, bone_saturation, latitude, soften_px >= 0, 0 <= compression < 1, "
                "gamma > 0, 0 <= window < window <= 1 and 0 <= clip < clip <= 1"
            )
        if not 0 <= self.equalisation <= 1 or not 0 <= self.local_contrast <= 1:
            raise ValueError(f"{self}: equalisation and local_contrast lie between 0 and 1")
        if self.exposure is not None and self.exposure[1] <= 0:
            raise ValueError(f"exposure is {self.exposure}: its width must be positive")

    @classmethod
    def random(cls, rng: np.random.Generator) -> Look:
        """A look within the ranges in which a network's answers carried over to real dual-energy pairs.

        Args:
            rng: Draws it; the same state draws the same look.

        Returns:
            The look.
        """
        curved = rng.random() < 0.6
        return cls(
            bone_strength=float(np.exp(rng.normal(np.log(2.2), 0.5))),
            bone_saturation=rng.uniform(0, 0.3),
            bone_sharpening=rng.uniform(0, 2),
            bone_sigma_mm=rng.uniform(0.6, 1.7),
            window=(rng.uniform(0, 0.06), rng.uniform(0.93, 1)),
            latitude=rng.uniform(0.13, 0.45) if curved else 0.0,
            middle=rng.uniform(0.35, 0.75),
            gamma=float(np.exp(rng.uniform(-0.5, 0.5))),
            compression=rng.uniform(0, 0.75) if rng.random() < 0.7 else 0.0,
            compression_sigma_mm=rng.uniform(23, 70),
            unsharp=(
                (rng.uniform(0.7, 1.6), rng.uniform(0, 1.2)),
                (rng.uniform(2.3, 8), rng.uniform(0, 1.0)),
                (rng.uniform(9, 24), rng.uniform(0, 0.8)),
            ),
            local_contrast=rng.uniform(0, 0.6) if rng.random() < 0.3 else 0.0,
            local_sigma_mm=rng.uniform(12, 40),
            equalisation=rng.uniform(0.3, 1) if rng.random() < 0.2 else 0.0,
            soften_px=rng.uniform(0.4, 1.2) if rng.random() < 0.3 else 0.0,
            clip=(rng.uniform(0, 0.02), 1 - rng.uniform(0, 0.02)),
        )


def shown_bone(
    bone: Float[np.ndarray, "height width"], look: Look, pixel_mm: float
) -> Float[np.ndarray, "height width"]:
    """The bone's line integrals as a look counts them: saturated, sharpened, multiplied.

    Args:
        bone: (H, W).
        look: How.
        pixel_mm: Side of a pixel in the body.

    Returns:
        (H, W).
    """
    bone = look.bone_strength * np.ascontiguousarray(bone, dtype=np.float32)
    if look.bone_saturation:
        bone = bone * ((1 + 0.1 * look.bone_saturation) / (1 + look.bone_saturation * np.maximum(bone, 0)))
    if look.bone_sharpening:
        bone = bone + look.bone_sharpening * (bone - blur(bone, look.bone_sigma_mm / pixel_mm))
        bone = np.maximum(bone, -0.2)  # a dark rim of what was sharpened, no hole
    return bone


def develop(
    total: Float[np.ndarray, "height width"], look: Look, pixel_mm: float
) -> Callable[[np.ndarray], np.ndarray]:
    """The function from line integrals to the displayed image.

    Window, histogram and local contrast are measured in `total`, the radiograph's own line integrals, and then held
    fast: only so are two images that it makes a pair.

    Args:
        total: (H, W).
        look: How.
        pixel_mm: Side of a pixel in the body.

    Returns:
        (H, W) -> float32 (H, W) in [-1, 1]; values beyond are left for `np.clip`.
    """
    display = _Display(look, pixel_mm)
    display.measure(np.ascontiguousarray(total, dtype=np.float32))
    return display


def render_pair(
    soft: Float[np.ndarray, "height width"],
    bone: Float[np.ndarray, "height width"],
    look: Look,
    pixel_mm: float | None = None,
) -> tuple[Float32[np.ndarray, "height width"], Float32[np.ndarray, "height width"]]:
    """A radiograph and its soft-tissue image by one and the same mapping.

    Args:
        soft: (H, W) line integrals, as `project` gives them.
        bone: (H, W) line integrals.
        look: How they are shown.
        pixel_mm: Side of a pixel in the body; None: the longer side is 400 mm.

    Returns:
        Two float32 images (H, W) in [-1, 1].

    Raises:
        ValueError: Images of another or of two shapes.
    """
    soft, bone = (np.ascontiguousarray(lines, dtype=np.float32) for lines in (soft, bone))
    if soft.ndim != 2 or soft.shape != bone.shape:
        raise ValueError(f"soft has shape {soft.shape}, bone {bone.shape}; two equal images (H, W) are needed")
    pixel_mm = FIELD_MM / max(soft.shape) if pixel_mm is None else pixel_mm
    total = soft + shown_bone(bone, look, pixel_mm)
    image = develop(total, look, pixel_mm)
    return image(total).clip(-1, 1), image(soft).clip(-1, 1)


class _Display:
    """What a look does to line integrals, once it has been measured on the radiograph's own."""

    def __init__(self, look: Look, pixel_mm: float) -> None:
        self.look, self.pixel_mm = look, pixel_mm
        self.low, self.high, self.black, self.white = 0.0, 1.0, 0.0, 1.0
        self.curve: np.ndarray | None = None
        self.gain: np.ndarray | None = None

    def measure(self, total: np.ndarray) -> None:
        """Find window, equalising curve, local gains and clipping levels of the radiograph."""
        look = self.look
        step = max(1, max(total.shape) // 192)
        thin = slice(None, None, step)
        self.low, self.high = (float(q) for q in np.quantile(total[thin, thin], look.window))
        tone = self._tone(total)
        if look.equalisation:
            levels = np.quantile(tone[thin, thin], np.linspace(0, 1, LEVELS))
            self.curve = np.maximum.accumulate(levels + np.linspace(0, 1e-5, LEVELS))
            tone = self._equalise(tone)
        if look.local_contrast:
            sigma = look.local_sigma_mm / self.pixel_mm
            mean = blur(tone, sigma)
            spread = np.sqrt(np.maximum(blur(tone * tone, sigma) - mean * mean, 0))
            gain = (spread.mean() / np.maximum(spread, 1e-3)) ** look.local_contrast
            self.gain = blur(np.clip(gain, 0.4, 2.5).astype(np.float32), sigma)
        image = self._process(tone)
        self.black, self.white = (float(q) for q in np.quantile(image[thin, thin], look.clip))

    def __call__(self, lines: np.ndarray) -> np.ndarray:
        tone = self._tone(np.ascontiguousarray(lines, dtype=np.float32))
        image = self._process(self._equalise(tone) if self.curve is not None else tone)
        return (image - self.black) * np.float32(2 / max(self.white - self.black, 1e-6)) - 1

    def _tone(self, lines: np.ndarray) -> np.ndarray:
        """Line integrals to grey by the exposure or by window and curve, one pixel like another."""
        look = self.look
        if look.exposure is not None:
            grey = (detector_response(lines, *look.exposure) + 1) / 2
            return np.maximum(grey, 0) ** np.float32(look.gamma)  # rounding leaves air a little below 0
        grey = (lines - np.float32(self.low)) * np.float32(1 / max(self.high - self.low, 1e-3))
        if look.latitude:
            return (1 / (1 + np.exp(-np.clip((grey - look.middle) / look.latitude, -30, 30)))).astype(np.float32)
        return (np.maximum(grey, 0) ** np.float32(look.gamma) + np.minimum(grey, 0)).astype(np.float32)

    def _equalise(self, tone: np.ndarray) -> np.ndarray:
        assert self.curve is not None
        low, high = self.curve[0], self.curve[-1]
        even = np.interp(tone, self.curve, np.linspace(low, high, LEVELS)).astype(np.float32)
        beyond = tone - tone.clip(low, high)  # the curve goes on with slope 1
        return tone + np.float32(self.look.equalisation) * (even + beyond - tone)

    def _process(self, image: np.ndarray) -> np.ndarray:
        """Compression, local contrast and unsharp masks."""
        look = self.look
        if look.compression:
            image = image - np.float32(look.compression) * blur(image, look.compression_sigma_mm / self.pixel_mm)
        if self.gain is not None:
            mean = blur(image, look.local_sigma_mm / self.pixel_mm)
            image = mean + (image - mean) * self.gain
        sharper = image
        for sigma_mm, amount in look.unsharp:
            if amount:
                sharper = sharper + np.float32(amount) * (image - blur(image, sigma_mm / self.pixel_mm))
        return blur(sharper, look.soften_px) if look.soften_px else sharper


def blur(image: Float[np.ndarray, "height width"], sigma: float) -> Float32[np.ndarray, "height width"]:
    """Gaussian blur, border reflected; wide ones are done on a smaller image.

    Args:
        image: (H, W).
        sigma: In pixels.

    Returns:
        float32 (H, W).
    """
    if sigma < 0.2:
        return image
    step = max(1, int(sigma / 3))
    if step == 1:
        return cv2.GaussianBlur(image, (0, 0), sigma)
    height, width = image.shape
    small = cv2.resize(image, (max(1, width // step), max(1, height // step)), interpolation=cv2.INTER_AREA)
    # the area mean (variance step^2 / 12) and the linear interpolation (step^2 / 6) blur too
    small = cv2.GaussianBlur(small, (0, 0), np.sqrt(sigma**2 / step**2 - 0.25))
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
