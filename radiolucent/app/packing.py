"""Messages to the browser: a header in JSON, and what follows it in bytes."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SCALE = 16000  # levels of an int16 for a grey value of 1; it holds -2.04 to 2.04


def message(header: Mapping[str, Any], body: bytes) -> bytes:
    """Four bytes of the header's length (little endian), the header as JSON padded to a multiple of 4, the body.

    Args:
        header: JSON values.
        body: Follows the header as it is.

    Returns:
        The message; the body begins at a multiple of 4, so that a browser can view it as an array.
    """
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<I", len(text)) + text + body


def pack(arrays: Sequence[np.ndarray], about: Mapping[str, Any]) -> bytes:
    """Grey images (H, W) of one shape as int16, one after the other, behind a header with height, width and `scale`.

    Args:
        arrays: At least one, with values in [-2, 2]; others are clipped.
        about: More for the header, JSON values.

    Returns:
        As `message`; a level is 1 / `scale`.
    """
    height, width = arrays[0].shape
    header = {"height": height, "width": width, "scale": SCALE, **about}
    levels = [np.rint(np.clip(array, -2, 2) * SCALE).astype("<i2") for array in arrays]
    return message(header, b"".join(array.tobytes() for array in levels))
