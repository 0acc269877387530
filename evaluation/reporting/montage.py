"""Labelled pictures: rows of radiographs under column titles, as one 8-bit PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

TITLE_HEIGHT = 26
GAP = 4


def to_grey(
    image: Float[np.ndarray, "height width"], low: float = -1.0, high: float = 1.0
) -> UInt8[np.ndarray, "height width"]:
    """Grey levels of a picture.

    Args:
        image: (H, W) float.
        low: What becomes black.
        high: What becomes white.

    Returns:
        uint8 (H, W).
    """
    scaled = (np.asarray(image, dtype=np.float32) - low) / (high - low)
    return (scaled.clip(0, 1) * 255).round().astype(np.uint8)


def montage(
    rows: Sequence[Sequence[UInt8[np.ndarray, "height width"]]],
    titles: Sequence[str],
    path: str | Path,
    row_labels: Sequence[str] = (),
) -> Path:
    """Write rows of images below their column titles as one PNG.

    Args:
        rows: Equally sized uint8 images (H, W).
        titles: One a column.
        path: The file.
        row_labels: Drawn in the corner of each row's first image, or none.

    Returns:
        The path.

    Raises:
        ValueError: Images of different sizes, or another number of titles or labels.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = rows[0][0].shape
    if any(image.shape != (height, width) for row in rows for image in row):
        raise ValueError(f"a montage takes images of one size; the first is {height}x{width}, others differ")
    canvas = Image.new(
        "L", (len(titles) * (width + GAP) - GAP, TITLE_HEIGHT + len(rows) * (height + GAP) - GAP), color=0
    )
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=15)
    for column, title in enumerate(titles):
        draw.text((column * (width + GAP) + 4, 4), title, fill=255, font=font)
    for r, row in enumerate(rows):
        top = TITLE_HEIGHT + r * (height + GAP)
        for column, image in enumerate(row):
            canvas.paste(Image.fromarray(image), (column * (width + GAP), top))
        if row_labels:
            draw.text((4, top + 2), row_labels[r], fill=255, font=ImageFont.load_default(size=12))
    canvas.save(path)
    return Path(path)
