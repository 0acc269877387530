"""Radiographs that are in memory already: pydicom datasets, PIL images, arrays."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from radiographs import Radiograph
from radiographs.depth import depth_in_use
from radiographs.pictures import one_channel


def from_dataset(dataset: Any) -> Radiograph:
    """A pydicom Dataset as if it had been read from its file.

    Args:
        dataset: A pydicom Dataset with pixels and a transfer syntax.

    Returns:
        Its pixels float32 (H, W) in [-1, 1], with the depth, header and warnings that the file would have given.

    Raises:
        ValueError: It holds no single grey image, or its pixels cannot be decoded.
    """
    from radiographs.dicom.read import decode_dicom

    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    decoded = decode_dicom(buffer.getvalue(), "the dataset")
    return Radiograph(decoded.pixels, decoded.bits, "dicom", decoded.header, warnings=decoded.warnings)


def from_array(image: Any) -> tuple[np.ndarray, tuple[float, float], int | None]:
    """A grey image in memory.

    8 and 16 bits keep the range of those that are in use, as files do; other numbers, without bits, the range that they
    use.

    Args:
        image: (H, W), or a PIL image.

    Returns:
        float32 (H, W) in [-1, 1], the levels that -1 and 1 stand for, and the bits of its levels.

    Raises:
        ValueError: No single grey image, or values that are not finite.
    """
    array = np.asarray(image.convert("RGB") if getattr(image, "mode", None) == "P" else image)
    if hasattr(image, "mode") and array.ndim == 3:
        array = one_channel(array, Path("the image"))
    if array.ndim != 2 or not array.size or not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
        raise ValueError(f"an image of shape {array.shape} and type {array.dtype}: one grey image (H, W) is needed")
    if np.iscomplexobj(array) or not np.isfinite(array).all():
        raise ValueError("an image with values that are not finite real numbers: mend or mask them first")
    bits = None
    if array.dtype in (np.uint8, np.uint16):
        bits = 8 if array.dtype == np.uint8 else depth_in_use(int(array.max()), 16)
        low, high = 0.0, float(2**bits - 1)
    else:
        low, high = float(array.min()), float(array.max())
        high = high if high > low else low + 1.0  # of one grey level
    return ((array.astype(np.float64) - low) * (2 / (high - low)) - 1).astype(np.float32), (low, high), bits
