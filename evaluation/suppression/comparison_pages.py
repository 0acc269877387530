"""Every image under a slider, radiograph, truth and all methods to choose from, in pages that need nothing else.

A page holds 25 images, so that it opens with a thousand of them evaluated; it is written as soon as it is full, so that
no more than one page's pictures are in memory.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from evaluation.reporting.cells import number
from evaluation.suppression.comparison_template import TEMPLATE
from evaluation.suppression.gains import scaled
from radiographs import atomic_path, to_levels

PER_PAGE = 25
PICTURE_SIDE, JPEG_QUALITY = 640, 88
FIGURES = {"lungs": "lungs, dB", "whole": "whole, dB", "remain": "ribs that remain"}
FIRST = ("radiograph", "truth")


class ComparisonPages:
    """Writes images.html, images_2.html, ... into a folder; inside `with`, so that the last page is written too.

    Args:
        out: The folder.
        methods: Names in the order in which they are offered.
    """

    def __init__(self, out: str | Path, methods: Sequence[str]) -> None:
        self.out = Path(out)
        self.roles = [*FIRST, *methods]
        self.page = 1
        self.images: list[dict[str, Any]] = []

    def __enter__(self) -> ComparisonPages:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None and self.images:
            self._write(last=True)

    def __call__(self, name: str, pictures: Mapping[str, np.ndarray], gains: Mapping[str, Mapping[str, float]]) -> None:
        """Add one image.

        Args:
            name: Of the image.
            pictures: float32 (H, W) in [-1, 1] by role.
            gains: The figures of each method.
        """
        if len(self.images) == PER_PAGE:
            self._write(last=False)
        rows = [(method, [_shown(figures, figure) for figure in FIGURES]) for method, figures in gains.items()]
        encoded = {role: _jpeg(pictures[role]) for role in self.roles}
        self.images.append({"name": name, "rows": rows, "pictures": encoded})

    def _write(self, last: bool) -> None:
        from jinja2 import Environment

        text = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE)
        content = text.render(
            page=self.page,
            previous=page_name(self.page - 1),
            next=None if last else page_name(self.page + 1),
            roles=self.roles,
            figures=list(FIGURES.values()),
            images=self.images,
        )
        with atomic_path(self.out / page_name(self.page)) as part:
            part.write_text(content, encoding="utf-8")
        self.page += 1
        self.images = []
        if last:
            self._remove_older()

    def _remove_older(self) -> None:
        """An earlier run of more images left pages that no link leads to."""
        page = self.page
        while (self.out / page_name(page)).exists():
            (self.out / page_name(page)).unlink()
            page += 1


def page_name(page: int) -> str:
    """File name of page 1, 2, ...

    Args:
        page: Counted from 1.

    Returns:
        images.html for the first, so that a link to it holds however many there are.
    """
    return "images.html" if page < 2 else f"images_{page}.html"


def _shown(figures: Mapping[str, float], figure: str) -> str:
    return number(figures.get(figure, float("nan")))


def _jpeg(pixels: np.ndarray) -> str:
    levels = to_levels(scaled(pixels, PICTURE_SIDE), 8)
    data = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()
