"""Whether findings survive bone suppression: contrast of each known finding before and after.

The contrast of a finding is the mean grey level inside it minus that of a ring around it, both without the pixels of
other findings. `kept` is the contrast after suppression over that in the reference (the true soft-tissue image, or the
radiograph where there is none): 1 keeps it, 0 removes it, above 1 exaggerates it. `likeness` is the correlation of the
pixels in finding and ring with the reference, blind to gain and offset.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage

COLUMNS = ("image", "x", "y", "width", "height")


@dataclass(frozen=True)
class Lesion:
    """A finding: its image's name without suffix, its label, and its mask bool (H, W)."""

    image: str
    label: str
    mask: np.ndarray


def lesions_from_mask(name: str, mask: np.ndarray) -> list[Lesion]:
    """Each connected region of a bool mask (H, W) as one finding."""
    labels, count = ndimage.label(mask)
    return [Lesion(name, f"region {i}", labels == i) for i in range(1, count + 1)]


def lesions_from_csv(path: str | Path, shapes: dict[str, tuple[int, int]]) -> list[Lesion]:
    """Boxes of a CSV with columns image, x, y, width, height in pixels, and label if there is one; drawn as ellipses.

    shapes: (H, W) of each image by its name without suffix. Raises ValueError with the list of rows that name an
    image that is not there, or a box outside it.
    """
    lesions, problems = [], []
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        absent = [column for column in COLUMNS if column not in (reader.fieldnames or [])]
        if absent:
            raise ValueError(f"{path}: no column '{absent[0]}'; expected {', '.join(COLUMNS)} and, if known, label")
        for line, row in enumerate(reader, start=2):
            name = Path(row["image"]).stem
            try:
                x, y, width, height = (float(row[column]) for column in COLUMNS[1:])
            except ValueError:
                problems.append(f"line {line}: x, y, width and height must be numbers")
                continue
            mask = np.zeros(shapes.get(name, (0, 0)), np.uint8)
            inside = 0 <= x and 0 <= y and x + width <= mask.shape[1] and y + height <= mask.shape[0]
            if not mask.size or not inside or width < 2 or height < 2:
                where = f"outside its {mask.shape[0]}x{mask.shape[1]} pixels" if mask.size else "of no image here"
                problems.append(f"line {line}: a box of {row['image']} {where}, or under 2 pixels")
                continue
            centre = (round(x + width / 2), round(y + height / 2))
            cv2.ellipse(mask, centre, (max(1, round(width / 2)), max(1, round(height / 2))), 0, 0, 360, 1, -1)
            lesions.append(Lesion(name, row.get("label") or "finding", mask > 0))
    if problems:
        raise ValueError(f"{path}: {len(problems)} bad rows: {'; '.join(problems[:20])}")
    return lesions


def ring(mask: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The pixels around a finding, as far out as its own equivalent radius (at least 3), without `others`."""
    width = max(3, round(float(np.sqrt(mask.sum() / np.pi))))
    near = ndimage.distance_transform_edt(~mask)
    return (near > 1) & (near <= width + 1) & ~others


def preservation(image: np.ndarray, reference: np.ndarray, lesion: np.ndarray, around: np.ndarray) -> dict[str, float]:
    """Contrast in `image` and in `reference` (grey range 2), `kept` and `likeness`; all arrays are (H, W)."""
    contrast, expected = (float(p[lesion].mean() - p[around].mean()) for p in (image, reference))
    both = lesion | around
    x, y = image[both] - image[both].mean(), reference[both] - reference[both].mean()
    scale = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return {
        "contrast": contrast,
        "reference_contrast": expected,
        "kept": contrast / expected if abs(expected) > 1e-3 else float("nan"),
        "likeness": float((x * y).sum()) / scale if scale > 0 else float("nan"),
    }
