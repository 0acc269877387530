"""Radiographs that are in memory already: pydicom datasets, PIL images, arrays."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from radiographs import Radiograph
from radiographs.depth import depth_in_use
from radiographs.pictures import one_channel, refuse_transparency, white_is_zero

LARGEST = float(np.finfo(np.float32).max) / 4  # of a value: twice the range of the image stays finite


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
        image: (H, W), a tensor too, or a PIL image, which is turned as its EXIF orientation says and inverted where its
            file has white at 0. Of 16 bits a copy or part of it has lost that tag: give the image as it was opened.

    Returns:
        float32 (H, W) in [-1, 1], the levels that -1 and 1 stand for, and the bits of its levels.

    Raises:
        ValueError: No single grey image, values that are not finite, or masked or transparent ones.
    """
    array = _levels(image)
    if array.ndim != 2 or not array.size or array.dtype.kind not in "biufc":
        what = f"{type(image).__name__}: " if array.dtype == object else ""
        raise ValueError(
            f"{what}an image of shape {array.shape} and type {array.dtype}: one grey image (H, W) is needed"
        )
    if np.iscomplexobj(array) or not np.isfinite(array).all():
        raise ValueError("an image with values that are not finite real numbers: mend or replace them first")
    bits = None
    if array.dtype in (np.uint8, np.uint16):
        bits = 8 if array.dtype == np.uint8 else depth_in_use(int(array.max()), 16)
        low, high = 0.0, float(2**bits - 1)
    else:
        low, high = float(array.min()), float(array.max())
        high = high if high > low else low + 1.0  # of one grey level
        if max(-low, high) > LARGEST:
            raise ValueError(f"an image whose values run from {low:g} to {high:g}: more than float32 holds")
    return ((array.astype(np.float64) - low) * (2 / (high - low)) - 1).astype(np.float32), (low, high), bits


def _levels(image: Any) -> np.ndarray:
    """What numpy makes of an image, upright and in the machine's byte order."""
    if hasattr(image, "getexif"):  # of PIL
        from PIL import ImageOps

        refuse_transparency(image, Path("the image"))
        negative = white_is_zero(image)
        image = ImageOps.exif_transpose(image)  # a file of it is turned too
        array = np.asarray(image.convert("RGB") if image.mode == "P" else image)
        if array.ndim == 3:
            array = one_channel(array, Path("the image"))
        if negative:
            white = 2 ** depth_in_use(int(array.max(initial=0)), 16) - 1
            array = (white - array.astype(np.int32)).astype(np.uint16)
    elif hasattr(image, "detach"):  # of torch: numpy has no bfloat16
        tensor = image.detach().cpu()
        array = np.asarray(tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor)
    else:
        if np.ma.is_masked(image):
            raise ValueError("an image with masked values: fill them first, with `.filled(level)`")
        array = np.asarray(image)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
