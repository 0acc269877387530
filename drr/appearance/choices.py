"""Looks and exposures by their names, as the command line gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import numpy as np

from drr.appearance.detector import COUNTS_PER_LINE, detector_response
from drr.appearance.look import Look, develop, shown_bone
from drr.appearance.physics import Physics

LOOKS = {
    "film": "the characteristic curve of film, one law for every patient",
    "dark-bones": "the same, turned to its negative",
    "equalised": "histogram-equalised, as the files of MIMIC-CXR-JPG are",
    "raw": "line integrals in steps of 1/4096",
    "random": "of a vendor, drawn anew for every exposure",
}
BONE_CONTRAST = 8.0  # bone alone, at the exposure of a chest, would be nearly black
FILM_CENTRE = 4.0  # `detector_response`'s
TYPICAL = Physics(scatter=0.8, photons=40_000.0, blur_px=0.5, grid_falloff=0.05)
RANDOM = {"scatter": (0.3, 1.5), "photons": (5_000, 80_000), "blur_px": (0.3, 0.9), "grid_falloff": (0.0, 0.15)}
WORDS = ("typical", "random")
Develop = Callable[[np.ndarray], np.ndarray]


class Exposure:
    """How one exposure is displayed; what a look measures is measured once, on its own line integrals.

    Only so are pictures of one exposure comparable: a radiograph, its soft tissue, and the same exposure of a body
    without a finding.

    Args:
        look: One of LOOKS.
        soft: (H, W) line integrals of the exposure.
        bone: (H, W) line integrals of the exposure.
        pixel_mm: Side of a pixel in the body.
        rng: Of a random look.
        exposure: Added to the film's middle line integral: a positive one is a longer exposure.

    Raises:
        ValueError: An unknown look.
    """

    def __init__(
        self,
        look: str,
        soft: np.ndarray,
        bone: np.ndarray,
        pixel_mm: float,
        rng: np.random.Generator,
        exposure: float = 0.0,
    ) -> None:
        if look not in LOOKS:
            raise ValueError(f"no look is called {look!r}; give one of {', '.join(LOOKS)}")
        self.look, self.pixel_mm, self.exposure = look, pixel_mm, exposure
        self.style = Look.random(rng) if look == "random" else Look(equalisation=1.0)
        self._develop: Develop | None = None
        if look in ("equalised", "random"):
            total = soft.astype(np.float32) + self._bone(bone)
            self._develop = develop(total, self.style, pixel_mm)

    def _bone(self, bone: np.ndarray) -> np.ndarray:
        if self.look != "random":
            return bone.astype(np.float32)
        return shown_bone(bone.astype(np.float32), self.style, self.pixel_mm)

    def radiograph(self, soft: np.ndarray, bone: np.ndarray) -> np.ndarray:
        """The picture of a body.

        Args:
            soft: Line integrals (H, W) of soft tissue, dimensionless.
            bone: What bone adds to them, (H, W).

        Returns:
            float32 (H, W) in [-1, 1].
        """
        return self._show(soft.astype(np.float32) + self._bone(bone))

    def soft(self, soft: np.ndarray) -> np.ndarray:
        """The same picture without its bones.

        Args:
            soft: Line integrals (H, W) of soft tissue, dimensionless.

        Returns:
            float32 (H, W) in [-1, 1].
        """
        return self._show(soft.astype(np.float32))

    def bone(self, bone: np.ndarray) -> np.ndarray:
        """The bones alone, with 8 times the contrast on film, whatever the look of the radiograph; raw stays raw.

        Args:
            bone: What bone adds to the line integrals, (H, W).

        Returns:
            float32 (H, W) in [-1, 1].
        """
        if self.look == "raw":
            return raw_levels(bone)
        image = detector_response(bone.astype(np.float32) * BONE_CONTRAST)
        return -image if self.look == "dark-bones" else image

    def _show(self, lines: np.ndarray) -> np.ndarray:
        if self.look == "raw":
            return raw_levels(lines)
        if self._develop is not None:
            return self._develop(lines).clip(-1, 1).astype(np.float32)
        image = detector_response(lines, centre=FILM_CENTRE + self.exposure)
        return -image if self.look == "dark-bones" else image


def raw_levels(lines: np.ndarray) -> np.ndarray:
    """Line integrals as float32 in [-1, 1] whose 16-bit levels are counts of 1/4096 (`decode_lines`).

    Args:
        lines: Line integrals without unit; what lies outside of 0 .. 65535/4096 is clipped.

    Returns:
        float32 of the same shape.
    """
    counts = np.rint(np.clip(lines.astype(np.float64) * COUNTS_PER_LINE, 0, 65535))
    return (counts / 32767.5 - 1).astype(np.float32)


def read_physics(words: Sequence[str]) -> Physics | None:
    """An exposure from words: "typical", "random", and NAME=NUMBER for any of `Physics`' own.

    Args:
        words: In any order; a number goes before what "typical" says of the same name.

    Returns:
        The exposure, with "random" read as "typical" (see `draw_physics`); None without words.

    Raises:
        ValueError: Another word, an unknown name, what is no number, or a value that `Physics` refuses.
    """
    names = [field.name for field in fields(Physics)]
    given: dict[str, float] = {}
    physics = TYPICAL if any(word in WORDS for word in words) else Physics()
    for word in words:
        name, equals, value = word.partition("=")
        if word in WORDS:
            continue
        if not equals or name not in names:
            raise ValueError(
                f"--physics {word}: give {', '.join(WORDS)}, or NAME=NUMBER with one of {', '.join(names)}"
            )
        try:
            given[name] = float(value)
        except ValueError:
            raise ValueError(f"--physics {word}: {value!r} is no number") from None
    return replace(physics, **given) if words else None


def draw_physics(words: Sequence[str], rng: np.random.Generator) -> Physics | None:
    """As `read_physics`, with "random" drawn: scatter, quanta, blur and grid that are not given themselves.

    Args:
        words: As `read_physics` takes them.
        rng: Of the draw; without "random" it is not touched.

    Returns:
        The exposure of one picture; None without words.
    """
    physics = read_physics(words)
    if physics is None or "random" not in words:
        return physics
    given = {word.partition("=")[0] for word in words}
    drawn = {name: float(rng.uniform(*ends)) for name, ends in RANDOM.items()}
    return replace(physics, **{name: value for name, value in drawn.items() if name not in given})
