"""Drawn radiographs on one sheet, each above the prompt and the view that asked for it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from radiographs.files import atomic_path
from radiolucent.synthesis.dataset_formats import IMAGES
from radiolucent.synthesis.prompts import Row

COLUMNS, SIDE, GAP, LINE, LINES = 4, 256, 12, 15, 4


def write_overview(out: Path, rows: Sequence[Row]) -> Path:
    """Write overview.png of the images of `rows` that lie in a dataset's folder, by name.

    Args:
        out: The dataset's folder.
        rows: What was asked for; those without an image are left out.

    Returns:
        The sheet's path.
    """
    from PIL import Image, ImageDraw, ImageFont

    there = [row for row in sorted(rows, key=lambda row: row.name) if (out / IMAGES / row.name).is_file()]
    height = SIDE + LINES * LINE + GAP
    canvas = Image.new("L", (COLUMNS * (SIDE + GAP) - GAP, -(-len(there) // COLUMNS) * height), color=255)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=12)
    for number, row in enumerate(there):
        left, top = number % COLUMNS * (SIDE + GAP), number // COLUMNS * height
        with Image.open(out / IMAGES / row.name) as picture:
            canvas.paste(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC), (left, top))
        said = textwrap.wrap(f"{row.view or 'any view'}: {row.prompt}", 42)
        cut = said[:LINES] if len(said) <= LINES else [*said[: LINES - 1], said[LINES - 1][:39] + "..."]
        draw.multiline_text((left + 2, top + SIDE + 2), "\n".join(cut), fill=0, font=font, spacing=2)
    with atomic_path(out / "overview.png") as part:
        canvas.save(part, format="PNG")
    return out / "overview.png"
