"""What suppression leaves of a nodule, place by place in one radiograph: `radiolucent suppress --self-test`.

Nodules of known size are put into the radiograph at hand on a grid over its lungs, it is suppressed with the same
settings, and what of each would have survived is drawn on the radiograph and written as a table. It says what the model
does to balls in this image; it does not say what is in it. Research use only.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.nodules.implants import Kept, contrast_per_mm, lattice, measure_implants
from radiographs import Radiograph, atomic_path, resize
from radiographs.lungs import inner_lungs, pixel_mm_from_lungs
from radiographs.spacing import pixel_mm as pixel_mm_in_header

if TYPE_CHECKING:
    from PIL.Image import Image

FOLDER = "selftest"
DIAMETERS_MM = (8.0, 12.0, 20.0)
CLASSES = (  # from this part of its signal kept, a colour that colour-blind eyes tell apart too (Okabe and Ito)
    (1.2, (204, 121, 167), "120% or more: exaggerated"),
    (0.9, (0, 158, 115), "90 to 120%: kept"),
    (0.75, (240, 228, 66), "75 to 90%"),
    (0.5, (230, 159, 0), "50 to 75%"),
    (-np.inf, (213, 94, 0), "under 50%: lost"),
)
SIDE = 640  # longer side of each panel of the map, in pixels
OPACITY = 0.55
MARK_MM = 10.0  # a place is marked no smaller than this
COLUMNS = ("row", "column", "mm", "kept", "detectability_before", "detectability_after")
HEAD, LINE, GAP = 26, 20, 4


@dataclass(frozen=True, eq=False)
class SelfTest:
    """What suppression would have left of nodules in one radiograph.

    Attributes:
        pixels: The radiograph float32 (H, W) in [-1, 1].
        lungs: bool (H, W), in which the nodules were put.
        places: One `Kept` a nodule: row, column, diameter_mm, kept, and the detectability d' before and after.
        pixel_mm: Side of a pixel.
        assumed: Whether `pixel_mm` is a guess from the lungs' height.
    """

    pixels: np.ndarray
    lungs: np.ndarray
    places: list[Kept]
    pixel_mm: float
    assumed: bool

    def summary(self) -> dict[str, dict[str, float]]:
        """What was kept of the nodules, for each diameter.

        Returns:
            {"10 mm": figures, ...} with `n` nodules, `kept` (the mean share of a nodule's contrast), `at_90` and
            `half_lost` (the shares of nodules of which at least 90%, or less than half, was kept) and `detectability`
            (the median of the ratio after to before).
        """
        found = {}
        for diameter in dict.fromkeys(place.diameter_mm for place in self.places):
            mine = [place for place in self.places if place.diameter_mm == diameter]
            kept = np.array([place.kept for place in mine])
            found[f"{diameter:g} mm"] = {
                "n": len(mine),
                "kept": round(float(kept.mean()), 3),
                "at_90": round(float((kept >= 0.9).mean()), 3),
                "half_lost": round(float((kept < 0.5).mean()), 3),
                "detectability": round(float(np.median([place.detectability for place in mine])), 3),
            }
        return found

    def write_table(self, path: str | Path) -> None:
        """A CSV with one row per nodule; row and column are pixels of the radiograph.

        Args:
            path: The CSV to write, in one step; its columns are COLUMNS: lengths in mm, shares and d' without a unit.
        """
        with atomic_path(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for p in self.places:
                numbers = (p.kept, p.before, p.after)
                writer.writerow([round(p.row, 1), round(p.column, 1), p.diameter_mm, *(round(n, 4) for n in numbers)])

    def write_map(self, path: str | Path) -> None:
        """Write `picture` as PNG; its Description says that it is a self-test and for research use only.

        Args:
            path: The PNG to write, in one step.
        """
        from PIL.PngImagePlugin import PngInfo

        note = PngInfo()
        note.add_text("Description", "Research use only. Self-test: what of implanted nodules would have survived")
        with atomic_path(path) as part:
            self.picture().save(part, format="PNG", pnginfo=note)

    def picture(self) -> Image:
        """The radiograph once for each diameter, every place in the colour of what was kept there, with a legend.

        Returns:
            RGB, one panel a diameter side by side, the legend and the scale below them.
        """
        from PIL import Image, ImageDraw, ImageFont

        panels = [self._panel(diameter) for diameter in dict.fromkeys(p.diameter_mm for p in self.places)]
        width = sum(panel.width + GAP for panel in panels) - GAP
        canvas = Image.new("RGB", (width, HEAD + panels[0].height + GAP + LINE * (len(CLASSES) + 2)))
        draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
        left = 0
        for (name, figures), panel in zip(self.summary().items(), panels):
            title = f"{name}: {figures['kept']:.0%} kept, {figures['at_90']:.0%} of {figures['n']:.0f} at 90%"
            draw.text((left + 4, 4), title, fill="white", font=font)
            canvas.paste(panel, (left, HEAD))
            left += panel.width + GAP
        top = HEAD + panels[0].height + GAP
        for _, colour, text in CLASSES:
            draw.ellipse((6, top + 3, 18, top + 15), fill=colour)
            draw.text((26, top), text, fill="white", font=font)
            top += LINE
        scale = "assumed, from the lungs' height" if self.assumed else "from the header"
        draw.text((6, top), f"a pixel is {self.pixel_mm:.3f} mm ({scale})", fill="white", font=font)
        draw.text((6, top + LINE), "Implanted nodules, not findings. Research use only.", fill="white", font=font)
        return canvas

    def _panel(self, diameter: float) -> Image:
        from PIL import Image, ImageDraw

        scale = SIDE / max(self.pixels.shape)
        shape = (max(1, round(self.pixels.shape[0] * scale)), max(1, round(self.pixels.shape[1] * scale)))
        grey = ((resize(self.pixels, shape).clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)
        panel = Image.fromarray(grey).convert("RGB")
        marked = panel.copy()
        draw = ImageDraw.Draw(marked)
        radius = max(diameter, MARK_MM) / 2 / self.pixel_mm * scale
        for place in self.places:
            if place.diameter_mm == diameter:
                y, x = (place.row + 0.5) * scale, (place.column + 0.5) * scale
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour_of(place.kept))
        return Image.blend(panel, marked, OPACITY)


def colour_of(kept: float) -> tuple[int, int, int]:
    """The colour of a part that was kept; that of what is lost where it is not known.

    Args:
        kept: Share of a nodule's contrast that was kept, 1 for all of it; NaN where it is not known.

    Returns:
        (red, green, blue), 0 to 255.
    """
    return next((colour for low, colour, _ in CLASSES if kept >= low), CLASSES[-1][1])


def self_test(
    suppress: Callable[[np.ndarray], np.ndarray],
    pixels: np.ndarray,
    pixel_mm: float | None = None,
    *,
    diameters_mm: Sequence[float] = DIAMETERS_MM,
    lungs: np.ndarray | None = None,
    plain: np.ndarray | None = None,
) -> SelfTest:
    """Put nodules into a radiograph on a grid of 24 mm over its lungs, suppress it, and measure what is left of each.

    Args:
        suppress: Radiograph float32 (H, W) in [-1, 1] to its soft tissue (H, W); it must give equal images equal
            answers. It is called four times for each diameter, and once more without `plain`.
        pixels: The radiograph, frontal, bones bright.
        pixel_mm: Side of a pixel in mm; None guesses it from the lungs' height.
        diameters_mm: Of the nodules; each place gets one of each.
        lungs: bool (H, W); None finds them (`radiographs.lungs`).
        plain: `suppress(pixels)`, if it is known.

    Returns:
        What was kept at each place, to be summed up, drawn or written as a table.

    Raises:
        ValueError: No lungs were found, or they have no texture; a result that is not one finite image of that size.

    Example:
        >>> from radiolucent import Suppressor
        >>> suppressor = Suppressor()
        >>> test = self_test(lambda image: suppressor.suppress(image).soft, pixels, 0.2)  # doctest: +SKIP
        >>> test.write_map("selftest.png")  # doctest: +SKIP
    """
    if not diameters_mm or min(diameters_mm) <= 0 or (pixel_mm is not None and not pixel_mm > 0):
        raise ValueError(f"diameters_mm {tuple(diameters_mm)}, pixel_mm {pixel_mm}: lengths above 0 mm are needed")
    lungs = inner_lungs(pixels) if lungs is None else lungs
    mm = pixel_mm_from_lungs(lungs) if pixel_mm is None else pixel_mm
    per_mm = contrast_per_mm(pixels, lungs)
    groups = lattice(lungs, mm, per_mm, diameters_mm)
    places = measure_implants(suppress, pixels, lungs, groups, mm, per_mm, plain)
    return SelfTest(pixels, lungs, places, mm, pixel_mm is None)


def self_test_names(name: str) -> list[str]:
    """The files of one radiograph's self-test, relative to the folder: the map and the table.

    Args:
        name: The radiograph's result, relative to the folder; its own subfolders are kept.

    Returns:
        [map as PNG, table as CSV].
    """
    stem = f"{FOLDER}/{Path(name).with_suffix('').as_posix()}"
    return [f"{stem}.png", f"{stem}.csv"]


def write_self_test(
    out: str | Path,
    name: str,
    source: Radiograph,
    suppress: Callable[[np.ndarray], np.ndarray],
    plain: np.ndarray,
) -> dict[str, Any]:
    """Test one radiograph and write its map and its table.

    A radiograph that cannot be tested (no lungs are found in it) keeps its result: nothing is written here, and the
    record says why, as a warning.

    Args:
        out: The folder of the results.
        name: Of the radiograph's result, relative to it.
        source: The radiograph.
        suppress: As in `self_test`, with the settings of the result.
        plain: What it made of the radiograph.

    Returns:
        The record for the manifest: `outputs`, and either `self_test` (the side of a pixel in mm, where that is known
        from, and `SelfTest.summary`) or `warnings`.
    """
    try:
        lungs = inner_lungs(source.pixels)
    except ValueError:
        return {"outputs": [], "warnings": ["no self-test: no lungs were found to put nodules in"]}
    try:
        test = self_test(suppress, source.pixels, pixel_mm_in_header(source), lungs=lungs, plain=plain)
    except ValueError as error:
        return {"outputs": [], "warnings": [f"no self-test: {error}"]}
    picture, table = self_test_names(name)
    test.write_map(Path(out) / picture)
    test.write_table(Path(out) / table)
    scale = {"pixel_mm": round(test.pixel_mm, 4), "pixel_mm_from": "lungs" if test.assumed else "header"}
    return {"outputs": [picture, table], "self_test": {**scale, **test.summary()}}
