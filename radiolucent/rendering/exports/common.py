"""What the exports share: boxes in their conventions, names of pictures, and a generator for each picture."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from radiographs.files import atomic_path

NOTICE = "rendered from CT, findings put in by computation; research use only"
Truth = Mapping[str, Any]


def picture_id(truth: Truth) -> str:
    """Such as ct01_s0003_current_PA: unique, and without a folder.

    Args:
        truth: Of the picture.

    Returns:
        CT, study and shot, joined by "_".
    """
    return f"{truth['ct']}_{truth['study']}_{Path(truth['image']).stem}"


def unit_box(box: Iterable[int], size: Iterable[int]) -> list[float]:
    """[x1, y1, x2, y2] in 0..1 from pixels (left, top, right, bottom), the last column and row included.

    0 is the picture's left or upper edge and 1 its right or lower one, so the box holds the last pixel whole.

    Args:
        box: Pixels, as the truth has them.
        size: (H, W) of the picture.

    Returns:
        x from the left and y from the top.
    """
    left, top, right, bottom = box
    height, width = size
    return [left / width, top / height, (right + 1) / width, (bottom + 1) / height]


def picture_rng(truth: Truth) -> np.random.Generator:
    """The generator of a picture's phrasings, which depends on the picture alone.

    Args:
        truth: Of the picture; its path below the output folder is the seed.

    Returns:
        A new generator: the same wording in every run, whatever else is exported.
    """
    return np.random.default_rng(zlib.crc32(truth["image"].encode()))


def shown(truth: Truth) -> list[Mapping[str, Any]]:
    """The findings that the picture shows; those that have resolved are not.

    Args:
        truth: Of the picture.

    Returns:
        Findings with a box, as the truth has them.
    """
    return [finding for finding in truth["findings"] if finding["box"] is not None]


def finding_name(finding: Mapping[str, Any]) -> str:
    """The finding as a label: more than 30 mm are a mass (Fleischner Society).

    Args:
        finding: Of a truth; the size of one that has resolved is what it was before.

    Returns:
        Its kind, or "mass" for a nodule of that size.
    """
    size = finding["size"] or finding["prior_size"]
    return "mass" if finding["kind"] == "nodule" and size["diameter_mm"] > 30 else str(finding["kind"])


def is_pair(truth: Truth) -> bool:
    """Whether the picture is a current one with a prior.

    Args:
        truth: Of the picture.

    Returns:
        False for a prior itself.
    """
    return "prior_image" in truth


def write_json(path: Path, value: Any) -> None:
    """Write JSON in one step.

    Args:
        path: The file, whose folder is made.
        value: Anything that JSON holds; letters outside ASCII stay as they are.
    """
    with atomic_path(path) as part:
        part.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
