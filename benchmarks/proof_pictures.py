"""Pictures to look at in benchmarks.prompt_agreement: which prompts they show, and what is drawn on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from benchmarks.proof_classifier import read_images
from benchmarks.proof_data import FRONTAL, KINDS, Row
from evaluation.reporting.montage import montage, to_grey
from radiographs.regions import parse_regions


def draw_boxes(out: Path, rows: Sequence[Row], images: Tensor, columns: int = 6, count: int = 24) -> Path:
    """boxes.png: drawn images with the boxes that were asked for."""
    pictures = []
    for row, image in list(zip(rows, images))[:: max(1, len(rows) // count)][:count]:
        large = cv2.resize(to_grey(image[0].numpy()), None, fx=1.6, fy=1.6)
        for one in parse_regions(row["boxes"]):
            left, top, right, bottom = (round(edge * len(large)) for edge in one.box)
            cv2.rectangle(large, (left, top), (right, bottom), 255, 1)
            cv2.putText(large, one.kind, (left + 2, top + 11), cv2.FONT_HERSHEY_SIMPLEX, 0.36, 255, 1, cv2.LINE_AA)
        pictures.append(large)
    rows_of = [pictures[start : start + columns] for start in range(0, len(pictures) // columns * columns, columns)]
    return montage(rows_of or [pictures], [""] * len((rows_of or [pictures])[0]), out / "boxes.png")


def montage_rows(rows: Sequence[Row]) -> list[Row]:
    """Frontal: no finding, and each finding alone, on either side; lateral: heart, effusion. What there is of them."""
    sides = [{(kind, side)} for kind in KINDS[2:] for side in ("right", "left")]
    wanted = [(True, one) for one in (set(), {("cardiomegaly", "")}, {("nodule", "right")}, *sides)]
    wanted += [(False, {("cardiomegaly", "")}), (False, {("pleural effusion", "left")})]
    found = []
    for frontal, items in wanted:
        fitting = (row for row in rows if (row["view"] in FRONTAL) == frontal)
        found += [row for row in fitting if set(json.loads(row["labels"]).items()) == items][:1]
    return found or list(rows[:1])


def asked(row: Row) -> list[str]:
    """A row's view and findings, a line each."""
    found = json.loads(row["labels"])
    return [row["view"], *(f"{side} {kind}".strip() for kind, side in found.items())] + (
        [] if found else ["no finding"]
    )


def picture(path: Path, lines: Sequence[str] = ()) -> np.ndarray:
    """uint8, enlarged, with lines of text."""
    image = cv2.resize(to_grey(read_images(path.parent, [path.name])[0, 0].numpy()), None, fx=1.6, fy=1.6)
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.42
    for n, line in enumerate(lines):
        (width, _), _ = cv2.getTextSize(line, font, scale, 1)
        cv2.rectangle(image, (0, 14 * n), (width + 6, 14 * n + 14), 0, cv2.FILLED)
        cv2.putText(image, line, (3, 11 + 14 * n), font, scale, 255, 1, cv2.LINE_AA)
    return image
