"""A radiograph as a model of bright bones wants it: read, its suitability assessed, a negative turned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from radiographs.dicom.read import other_modality
from radiographs.io import Radiograph, read_radiograph
from radiographs.suitability import NEGATIVE, assess

POLARITIES = ("auto", "positive", "negative")
TURNED = f"{NEGATIVE}: turned before, and back after"


def read_for_suppression(path: str | Path, polarity: str = "auto") -> tuple[Radiograph, dict[str, Any]]:
    """Read a radiograph and say what is odd about it.

    Args:
        path: Of the file.
        polarity: "auto" turns what certainly is a negative; "positive" turns nothing; "negative" turns everything. It
            is about the image as it is shown: DICOM's own MONOCHROME1 is followed before.

    Returns:
        As `as_for_suppression`.

    Raises:
        ValueError: As `read_radiograph`, and for a DICOM image that its header calls no radiograph.
    """
    return as_for_suppression(read_radiograph(path), str(path), polarity)


def as_for_suppression(image: Radiograph, name: str, polarity: str = "auto") -> tuple[Radiograph, dict[str, Any]]:
    """A radiograph that was read, with bright bones, and what is odd about it.

    Args:
        image: As `read_radiograph` gives it.
        name: What an error calls it.
        polarity: See `read_for_suppression`.

    Returns:
        The radiograph with bright bones, and notes for a manifest: `warnings` (sentences) and `inverted` (True, so that
        the result is to be turned back), each only if there is something to say.

    Raises:
        ValueError: Its DICOM header calls it no radiograph.
    """
    if polarity not in POLARITIES:
        raise ValueError(f"polarity '{polarity}': choose one of {', '.join(POLARITIES)}")
    if what := other_modality(image.header):
        raise ValueError(f"{name}: {what} (Modality {image.header.Modality}), where a radiograph was expected")
    warnings = list(image.warnings)
    if polarity == "negative":
        image = replace(image, pixels=-image.pixels)
    found = assess(image.pixels)
    inverted = polarity == "negative" or (polarity == "auto" and found.inverted)
    if inverted and polarity == "auto":
        image = replace(image, pixels=-image.pixels)
        warnings.append(TURNED)
    elif found.inverted:
        warnings.append(f"maybe {NEGATIVE}, against --polarity {polarity}")
    warnings += [each for each in found.warnings if polarity == "auto" or NEGATIVE not in each]
    return image, {**({"warnings": warnings} if warnings else {}), **({"inverted": True} if inverted else {})}
