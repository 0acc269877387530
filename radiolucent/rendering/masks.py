"""Masks as COCO writes them: run lengths, column by column, as a short text.

The format of pycocotools' `maskApi.c` (`rleToString`): from the third count on the difference to the count before the
last is written, in groups of five bits, lowest first, each as the character 48 + bits (+ 32 where a group follows).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """{"size": [H, W], "counts": text} of a mask, bool (H, W).

    Args:
        mask: Of a picture; runs are counted down its columns.

    Returns:
        What pycocotools decodes, with `counts` as text, so that JSON holds it.
    """
    flat = np.asarray(mask, bool).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], edges, [flat.size]]))
    if flat.size and flat[0]:
        counts = np.concatenate([[0], counts])  # the first run is of what is not in the mask
    return {"size": [int(n) for n in mask.shape], "counts": "".join(_characters([int(n) for n in counts]))}


def _characters(counts: list[int]) -> list[str]:
    text = []
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            text.append(chr(48 + (group | 32 if more else group)))
    return text


def decode_mask(encoded: Mapping[str, Any]) -> np.ndarray:
    """The mask of what `encode_mask` returned.

    Args:
        encoded: {"size": [H, W], "counts": text}.

    Returns:
        bool (H, W).

    Raises:
        ValueError: Run lengths that do not fill the size.
    """
    height, width = encoded["size"]
    counts: list[int] = []
    value = shift = 0
    for character in encoded["counts"]:
        group = ord(character) - 48
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            if group & 16:
                value -= 1 << shift  # negative: the sign bit goes on to the left
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if sum(counts) != height * width:
        raise ValueError(f"a mask of {height} x {width} pixels whose run lengths sum to {sum(counts)}")
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape(width, height).T
