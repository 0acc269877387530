"""A sheet of studies to look at: prior, current and what changed, with the boxes drawn on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from radiographs import read_radiograph, to_levels
from radiographs.files import atomic_path
from radiolucent.rendering.exposures import decode_difference

SIDE = 384  # pixels of a panel
GAP = 6
TEXT = 64  # pixels below a row
COLOURS = {
    "new": (255, 80, 80), "grown": (255, 160, 60), "shrunk": (110, 210, 255), "resolved": (120, 255, 120),
    "unchanged": (240, 240, 120), "": (255, 220, 80),
}  # fmt: skip
FULL = 0.3  # difference of the pictures' grey in [-1, 1] that has the full colour
LINE = 110  # characters of a line of text


def write_contact_sheet(truths: Iterable[Mapping[str, Any]], out: Path, path: Path, studies: int) -> None:
    """Draw the first studies; a row each, of the first shot's pictures.

    Args:
        truths: Of all pictures.
        out: Their folder.
        path: The sheet, a PNG.
        studies: How many rows at most.
    """
    rows: list[Mapping[str, Any]] = []
    done: set[tuple[str, str]] = set()
    for truth in truths:
        key = truth["ct"], truth["study"]
        if truth["time"] == "current" and key not in done and len(rows) < studies:
            done.add(key)
            rows.append(truth)
    panels = [_panels(truth, out) for truth in rows]
    columns = max(map(len, panels))
    sheet = Image.new("RGB", (columns * (SIDE + GAP) - GAP, len(rows) * (SIDE + TEXT + GAP)))
    draw = ImageDraw.Draw(sheet)
    for n, (truth, pictures) in enumerate(zip(rows, panels)):
        top = n * (SIDE + TEXT + GAP)
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (column * (SIDE + GAP), top))
        for line, text in enumerate(_wrapped((truth.get("comparison") or truth["report"])["findings"])[:4]):
            draw.text((4, top + SIDE + 2 + 15 * line), text, fill=(230, 230, 230), font=ImageFont.load_default(size=12))
    with atomic_path(path) as part:
        sheet.save(part)


def _panels(truth: Mapping[str, Any], out: Path) -> list[Image.Image]:
    """Prior, current and difference; or the picture without and with its boxes."""
    current = _grey(out / truth["image"])
    if "prior_image" not in truth:
        plain = Image.fromarray(current)
        return [plain.resize((SIDE, SIDE)), _boxed(current, truth, "box", "finding")]
    prior = _grey(out / truth["prior_image"])
    shift = decode_difference(_levels(out / truth["difference"]["picture"]), "picture")
    return [
        _titled(Image.fromarray(prior).resize((SIDE, SIDE)), "prior"),
        _boxed(current, truth, "box", "current"),
        _boxed(_coloured(shift), truth, "prior_box", "current minus prior, in the current's frame"),
    ]


def _levels(path: Path) -> np.ndarray:
    return to_levels(read_radiograph(path).pixels, 16)


def _grey(path: Path) -> np.ndarray:
    """uint8 (H, W, 3)."""
    levels = (_levels(path) >> 8).astype(np.uint8)
    return cv2.cvtColor(levels, cv2.COLOR_GRAY2RGB)


def _coloured(shift: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3): red where it became brighter, blue where darker, black where nothing changed."""
    part = np.clip(shift / FULL, -1, 1)
    return (255 * np.stack([np.maximum(part, 0), 0.3 * np.abs(part), np.maximum(-part, 0)], axis=-1)).astype(np.uint8)


def _boxed(picture: np.ndarray, truth: Mapping[str, Any], key: str, title: str) -> Image.Image:
    image = Image.fromarray(picture).resize((SIDE, SIDE))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=12)
    scale = SIDE / max(truth["size"])
    for finding in truth["findings"]:
        box: Sequence[int] | None = finding.get(key)
        if box is None:
            continue
        change = finding.get("change", "")
        left, top, right, bottom = (scale * edge for edge in (box[0], box[1], box[2] + 1, box[3] + 1))
        draw.rectangle((left, top, right - 1, bottom - 1), outline=COLOURS[change], width=2)
        text = f"{change} {finding['kind']}".strip()
        place = min(left, SIDE - draw.textlength(text, font=font) - 2), max(0.0, top - 16)
        draw.rectangle(draw.textbbox(place, text, font=font), fill=(0, 0, 0))
        draw.text(place, text, fill=COLOURS[change], font=font)
    return _titled(image, title)


def _titled(image: Image.Image, title: str) -> Image.Image:
    ImageDraw.Draw(image).text((4, SIDE - 16), title, fill=(255, 255, 255), font=ImageFont.load_default(size=12))
    return image


def _wrapped(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 1 > LINE * 3 // 2:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
