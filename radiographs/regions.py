"""Where findings shall be: boxes as a table's column holds them, and as maps that a network can be conditioned on.

A cell of the column `boxes` is a list of `KIND x1 y1 x2 y2` with semicolons between them, such as
`nodule 0.25 0.20 0.30 0.40; pleural effusion 0.55 0.60 0.90 1.00`: fractions of the picture's width and height from
its upper left corner, x2 and y2 the box's outer edges, so that 0 0 1 1 is the whole picture. An empty cell asks for
nothing. A cell of the column `masks` is a list of `KIND FILE` with semicolons between them: a picture of the
radiograph's own aspect, beside the table or below its folder, that is neither black nor transparent where the finding
is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from radiographs.vocabulary import FINDINGS

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


@dataclass(frozen=True)
class Region:
    """A box in which a finding lies, or shall lie, or its outline.

    Attributes:
        kind: One of FINDINGS.
        box: (x1, y1, x2, y2) in 0..1, the last two the outer edges.
        mask: File of a mask within the box; None: the box is all that is known.
    """

    kind: str
    box: tuple[float, float, float, float]
    mask: Path | None = None


def parse_regions(text: str) -> tuple[Region, ...]:
    """The regions of a cell.

    Args:
        text: As in the module's description; white space does not matter.

    Returns:
        The regions in their order; none for an empty text.

    Raises:
        ValueError: Another kind, a box of other than four numbers, outside of 0..1, or without area.
    """
    return tuple(_parse(part) for part in text.split(";") if part.strip())


def _parse(part: str) -> Region:
    words = part.split()
    kind = " ".join(words[:-4])
    try:
        box = tuple(float(word) for word in words[-4:])
    except ValueError:
        box = ()
    if len(box) != 4:
        raise ValueError(f"the box is '{part.strip()[:60]}'; expected KIND x1 y1 x2 y2, such as nodule 0.2 0.3 0.4 0.5")
    if kind not in FINDINGS:
        raise ValueError(f"the box is of '{kind[:40]}'; expected one of {', '.join(FINDINGS)}")
    x1, y1, x2, y2 = box
    if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        raise ValueError(
            f"the box of the {kind} is {x1:g} {y1:g} {x2:g} {y2:g}; expected 0 <= x1 < x2 <= 1, y likewise"
        )
    return Region(kind, (x1, y1, x2, y2))


def parse_masks(text: str, folder: Path, square: bool = False) -> tuple[Region, ...]:
    """The regions of a cell of masks.

    Args:
        text: As in the module's description.
        folder: What the files' paths are relative to.
        square: Whether the radiograph is square, and so must be its masks.

    Returns:
        The regions in their order; none for an empty text.

    Raises:
        ValueError: Another kind, no such file, one that is no picture, a mask that is black, or not square.
    """
    return tuple(_parse_mask(part.strip(), folder, square) for part in text.split(";") if part.strip())


def _parse_mask(part: str, folder: Path, square: bool) -> Region:
    kind = next((kind for kind in FINDINGS if part.startswith(f"{kind} ")), None)
    if kind is None:
        raise ValueError(f"the mask is '{part[:60]}'; expected KIND FILE with a kind of {', '.join(FINDINGS)}")
    path = folder / part.removeprefix(kind).strip()
    mask = read_mask(path)
    if square and mask.shape[0] != mask.shape[1]:
        raise ValueError(
            f"the mask of the {kind}, {path.name}, is {mask.shape[1]} x {mask.shape[0]}, and what is drawn is square: "
            "crop it or add borders"
        )
    region = mask_region(kind, mask)
    if region is None:
        raise ValueError(f"the mask of the {kind}, {path.name}, is black: leave it out, or mark where the finding is")
    return Region(kind, region.box, path)


def read_mask(path: Path) -> Bool[np.ndarray, "height width"]:
    """A picture of a mask.

    Args:
        path: PNG or another format that OpenCV reads.

    Returns:
        bool (H, W), true where it is neither black nor transparent.

    Raises:
        ValueError: No such file, or no picture.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    if pixels is None:
        raise ValueError(f"the mask {path} {'is no picture' if path.is_file() else 'does not exist'}")
    if pixels.ndim == 2:
        return pixels > 0
    marked = np.asarray((pixels[..., :3] > 0).any(axis=2))
    return np.asarray(marked & (pixels[..., 3] > 0)) if pixels.shape[2] == 4 else marked


def format_regions(regions: Iterable[Region]) -> str:
    """The cell of regions, four decimals.

    Args:
        regions: In the order of the cell.

    Returns:
        What `parse_regions` reads.
    """
    return "; ".join(f"{one.kind} {' '.join(f'{edge:.4f}' for edge in one.box)}" for one in regions)


def framed(regions: Sequence[Region], shape: tuple[int, int], framing: str) -> tuple[Region, ...]:
    """The regions of a picture that is made square, as fractions of the square.

    Args:
        regions: Of the picture.
        shape: Its (H, W).
        framing: "crop", the middle square, or "pad", borders at its shorter sides (`radiographs.letterbox`).

    Returns:
        Those of which something is left, cut at the square's edges.
    """
    height, width = shape
    side = min(shape) if framing == "crop" else max(shape)
    left, top = (width - side) // 2, (height - side) // 2  # negative: borders
    found = []
    for one in regions:
        x1, x2 = (min(max((edge * width - left) / side, 0.0), 1.0) for edge in one.box[::2])
        y1, y2 = (min(max((edge * height - top) / side, 0.0), 1.0) for edge in one.box[1::2])
        if x1 < x2 and y1 < y2:
            found.append(Region(one.kind, (x1, y1, x2, y2)))
    return tuple(found)


def region_map(
    regions: Iterable[Region], size: int | tuple[int, int], framing: str | None = None
) -> Float[np.ndarray, "kinds height width"]:
    """The regions as a map for each kind.

    Args:
        regions: Of the picture.
        size: Of the maps, (h, w) or the side of a square, in pixels; it need not be the picture's own.
        framing: How masks are made square, as in `framed`, which does it for boxes; None: they are of the map's aspect.

    Returns:
        float32 (5, h, w) in [0, 1], in the order of FINDINGS: the part of each pixel that lies in a box or mask.
    """
    height, width = (size, size) if isinstance(size, int) else size
    maps = np.zeros((len(FINDINGS), height, width), np.float32)
    for one in regions:
        part = maps[FINDINGS.index(one.kind)]
        if one.mask is None:
            x1, y1, x2, y2 = one.box
            inside = np.outer(_covered(y1, y2, height), _covered(x1, x2, width))
        else:
            outline = _square(read_mask(one.mask), framing).astype(np.float32)
            inside = cv2.resize(outline, (width, height), interpolation=cv2.INTER_AREA)
        np.maximum(part, inside, out=part)
    return maps


def _covered(low: float, high: float, count: int) -> np.ndarray:
    """How much of each of `count` pixels lies between two fractions of their row."""
    edges = np.arange(count + 1) / count
    part = (np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)) * count
    return np.clip(part, 0, 1).astype(np.float32)


def _square(mask: Bool[np.ndarray, "height width"], framing: str | None) -> Bool[np.ndarray, "rows columns"]:
    if framing is None:
        return mask
    side = min(mask.shape) if framing == "crop" else max(mask.shape)
    before = [(side - length) // 2 for length in mask.shape]  # negative: cut off
    cut = mask[tuple(slice(max(0, -first), max(0, -first) + side) for first in before)]
    return np.pad(cut, [(max(0, first), side - length - max(0, first)) for first, length in zip(before, cut.shape)])


def mask_region(kind: str, mask: np.ndarray) -> Region | None:
    """The box around a mask.

    Args:
        kind: One of FINDINGS.
        mask: bool (H, W).

    Returns:
        Its region; None of an empty mask.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    height, width = mask.shape
    ends = (columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
    return Region(kind, (float(ends[0]), float(ends[1]), float(ends[2]), float(ends[3])))
