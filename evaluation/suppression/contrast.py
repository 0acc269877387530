"""Whether findings survive bone suppression: contrast of each known finding before and after.

The contrast of a finding is the mean grey level inside it minus that of a ring around it, both without the pixels of
other findings. `kept` is the contrast after suppression over that in the reference (the true soft-tissue image, or the
radiograph where there is none): 1 keeps it, 0 removes it, above 1 exaggerates it. `likeness` is the correlation of the
pixels in finding and ring with the reference, blind to gain and offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy import ndimage

from radiographs.tables import read_rows

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

COLUMNS = ("image", "x", "y", "width", "height")


@dataclass(frozen=True)
class Lesion:
    """A finding of an image.

    Attributes:
        label: Its name.
        mask: bool (H, W).
    """

    label: str
    mask: np.ndarray


@dataclass(frozen=True)
class Box:
    """A finding as a box.

    Attributes:
        label: Its name.
        box: Left, top, width, height in pixels.
    """

    label: str
    box: tuple[float, float, float, float]

    def draw(self, shape: tuple[int, int]) -> Lesion:
        """The ellipse that fills the box, in an image of `shape`.

        Args:
            shape: (H, W) in pixels; what lies outside is cut off.

        Returns:
            The box's label, and the ellipse as a mask.
        """
        x, y, width, height = self.box
        mask = np.zeros(shape, np.uint8)
        centre = (round(x + width / 2), round(y + height / 2))
        cv2.ellipse(mask, centre, (max(1, round(width / 2)), max(1, round(height / 2))), 0, 0, 360, 1, -1)
        return Lesion(self.label, mask > 0)


def lesions_from_mask(mask: Bool[np.ndarray, "height width"]) -> list[Lesion]:
    """Each connected region of a bool mask (H, W) as one finding.

    Args:
        mask: Regions that touch by a corner alone are two.

    Returns:
        Named "region 1", "region 2", ...; none for an empty mask.
    """
    labels, count = ndimage.label(mask)
    return [Lesion(f"region {i}", labels == i) for i in range(1, count + 1)]


def read_boxes(path: str | Path, shapes: dict[str, tuple[int, int]]) -> dict[str, list[Box]]:
    """Boxes by image from a CSV with columns image, x, y, width, height in pixels, and optionally label.

    Args:
        path: The CSV.
        shapes: (H, W) of each image by its name without suffix.

    Returns:
        {image: its boxes}.

    Raises:
        ValueError: Rows that name an image that is not there, or a box outside it, all listed.
    """
    boxes: dict[str, list[Box]] = {}
    problems = []
    for row in read_rows(path, COLUMNS):
        line = row.where.removeprefix(f"{path} ")
        name = Path(row["image"]).with_suffix("").as_posix()
        try:
            x, y, width, height = (float(row[column]) for column in COLUMNS[1:])
        except (TypeError, ValueError):
            problems.append(f"{line}: x, y, width and height must be numbers")
            continue
        if name not in shapes:
            problems.append(f"{line}: {row['image']} is none of the images")
        elif not (min(x, y) >= 0 and min(width, height) >= 2 and _inside(x + width, y + height, shapes[name])):
            problems.append(f"{line}: a box under 2 pixels or outside the {shapes[name]} pixels of {name}")
        else:
            boxes.setdefault(name, []).append(Box(row.get("label") or "finding", (x, y, width, height)))
    if problems:
        raise ValueError(f"{path}: {len(problems)} bad rows: {'; '.join(problems[:20])}")
    return boxes


def _inside(right: float, bottom: float, shape: tuple[int, int]) -> bool:
    """Whether a box ends inside an image (H, W); NaN does not."""
    return right <= shape[1] and bottom <= shape[0]


def ring(
    mask: Bool[np.ndarray, "height width"], others: Bool[np.ndarray, "height width"]
) -> Bool[np.ndarray, "height width"]:
    """The pixels around a finding, as far out as its own equivalent radius (at least 3).

    Args:
        mask: bool (H, W), the finding.
        others: bool (H, W), what is left out of the ring.

    Returns:
        bool (H, W).
    """
    width = max(3, round(float(np.sqrt(mask.sum() / np.pi))))
    near = ndimage.distance_transform_edt(~mask)
    return (near > 1) & (near <= width + 1) & ~others


def preservation(
    image: Float[np.ndarray, "height width"],
    reference: Float[np.ndarray, "height width"],
    lesion: Bool[np.ndarray, "height width"],
    around: Bool[np.ndarray, "height width"],
) -> dict[str, float]:
    """What is left of a finding's contrast.

    Args:
        image: (H, W), after suppression.
        reference: (H, W), the true soft tissue or the radiograph.
        lesion: bool (H, W).
        around: bool (H, W), its ring.

    Returns:
        Contrast in image and in reference (grey range 2), `kept` and `likeness`.
    """
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
