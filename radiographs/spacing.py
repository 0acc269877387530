"""The size of a radiograph's pixel in mm, where its file says it."""

from __future__ import annotations

import math

from radiographs.io import Radiograph

FIELD_MM = (100.0, 700.0)  # a longer side outside is no chest radiograph's: the header is wrong


def pixel_mm(source: Radiograph) -> float | None:
    """Side of a pixel from a DICOM header.

    Pixel Spacing if it was calibrated (PS3.3 10.7.1.3), else Imager Pixel Spacing, which is measured at the detector:
    something 15 cm in front of it is shown about 9% larger. Of pixels that are not square, the geometric mean.

    Args:
        source: What `read_radiograph` read.

    Returns:
        mm, or None if there is none that can be right.
    """
    header = source.header
    if header is None:
        return None
    names = ["ImagerPixelSpacing", "PixelSpacing"]
    if header.get("PixelSpacingCalibrationType") or "ImagerPixelSpacing" not in header:
        names.reverse()
    for name in names:
        values = header.get(name)
        try:
            down, across = (float(value) for value in values)
        except (TypeError, ValueError):  # absent, empty, or not two numbers
            continue
        side = math.sqrt(down * across) if min(down, across) > 0 else 0.0
        if FIELD_MM[0] <= side * max(source.pixels.shape) <= FIELD_MM[1]:
            return side
    return None
