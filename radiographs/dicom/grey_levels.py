"""DICOM's grey-scale pipeline (PS3.3 C.11): stored values -> brightness, with the faults that real files have.

pydicom's apply_modality_lut and apply_voi read tables of 8 and 12 bits, or with a first value below 0, wrongly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from radiographs.depth import depth_in_use, depth_warning

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Integer, Num

MOST_BITS = 16  # that a derived image has


class Unreadable(ValueError):
    """What is wrong with a file, in words for a person; without the file's name."""


def whole_number(dataset: Any, keyword: str, default: int | None = None) -> int:
    """A whole number of the header.

    Args:
        dataset: The header.
        keyword: Of the attribute.
        default: If it is absent or empty.

    Returns:
        The number.

    Raises:
        Unreadable: It is absent without a default, or no number.
    """
    value = dataset.get(keyword)
    value = default if value is None or value == "" else value
    try:
        return int(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise Unreadable(f"{keyword} is missing, or no whole number") from None


@dataclass
class Shown:
    """What is to be seen.

    Attributes:
        pixels: float32 (H, W) from -1 (black) to 1 (white), bones bright.
        bits: To write it with.
        warnings: Sentences for a person.
    """

    pixels: Float32[np.ndarray, "height width"]
    bits: int
    warnings: list[str] = field(default_factory=list)


def grey_pipeline(
    dataset: Any, levels: Integer[np.ndarray, "height width"], padding: Bool[np.ndarray, "height width"] | None
) -> Shown:
    """From stored values to what is to be seen.

    Args:
        dataset: The header, of which the LUT, rescale, window and presentation attributes are read.
        levels: Stored values, integers (H, W).
        padding: bool (H, W), where there is no image; shown black, and not counted in the range in use.

    Returns:
        The image, its depth and warnings.

    Raises:
        Unreadable: The header contradicts itself.

    Reference:
        DICOM PS3.3 C.11.
    """
    warnings: list[str] = []
    bits, signed = whole_number(dataset, "BitsStored"), whole_number(dataset, "PixelRepresentation", 0) == 1
    valid = levels if padding is None else levels[~padding]
    low, high = _stored_range(bits, signed)
    table = _first_item(dataset, "ModalityLUTSequence")
    if table is not None:
        values, bits = look_up(levels, table, dataset, signed=low < 0)
        low, high = 0.0, 2.0**bits - 1
    else:
        slope, intercept = _number(dataset, "RescaleSlope", 1), _number(dataset, "RescaleIntercept", 0)
        if slope == 0:
            raise Unreadable("Rescale Slope is 0, which makes one grey of all")
        values = levels.astype(np.float32 if bits <= 16 else np.float64)  # 24 bits of mantissa hold 16
        if (slope, intercept) != (1, 0):
            values = values * values.dtype.type(slope) + values.dtype.type(intercept)
        low, high = low * slope + intercept, high * slope + intercept
    brightness = _voi(dataset, values, (low, high), warnings)
    if isinstance(brightness, tuple):
        brightness, bits = brightness
    elif brightness is None:
        if table is None and bits == whole_number(dataset, "BitsAllocated") > 8:  # no depth said: that in use
            used, ends = _range_in_use(valid, bits, signed)
            if used < bits:
                warnings.append(depth_warning(used, bits))
                bits, (low, high) = used, (end * slope + intercept for end in ends)
        low, high = min(low, high), max(low, high)
        brightness = (values - low) / (high - low)
    pixels = (brightness.clip(0, 1) * 2 - 1).astype(np.float32)
    if _is_inverse(dataset, warnings):
        pixels = -pixels
    if padding is not None:
        pixels[padding] = -1
    return Shown(pixels, min(bits, MOST_BITS), warnings)


def _voi(
    dataset: Any, values: np.ndarray, ends: tuple[float, float], warnings: list[str]
) -> np.ndarray | tuple[np.ndarray, int] | None:
    """The brightness by the VOI LUT (with its bits) or the window; None where neither shows anything."""
    table = _first_item(dataset, "VOILUTSequence")
    if table is not None:
        found, bits = look_up(np.rint(values).astype(np.int32), table, dataset, signed=min(ends) < 0)
        return found / (2.0**bits - 1), bits
    centre, width = _number(dataset, "WindowCenter", math.nan), _number(dataset, "WindowWidth", math.nan)
    if math.isnan(centre) or math.isnan(width):
        return None
    function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    step = abs(_number(dataset, "RescaleSlope", 1))
    if width <= 0 or (function == "LINEAR" and width < min(1.0, step)):
        warnings.append(f"Window Width {width:g} is none: shown over the whole range")
        return None
    seen = window(values, centre, width, function)
    if seen.max() == seen.min() and values.max() > values.min():
        warnings.append(f"Window Center {centre:g} and Width {width:g} show nothing: shown over the whole range")
        return None
    return seen


def window(
    values: Num[np.ndarray, "height width"], centre: float, width: float, function: str = "LINEAR"
) -> Float[np.ndarray, "height width"]:
    """Apply a window.

    A LINEAR window narrower than 1, which the standard forbids, is taken for LINEAR_EXACT: files of values from 0 to 1
    have them.

    Args:
        values: (H, W).
        centre: Of the window.
        width: Of the window.
        function: LINEAR, LINEAR_EXACT or SIGMOID.

    Returns:
        Brightness (H, W) in [0, 1].

    Raises:
        Unreadable: Another function.

    Reference:
        DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3.
    """
    if function == "LINEAR" and width >= 1:
        low, high = centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
        if low == high:
            return (values > low).astype(np.float32)
        return ((values - low) / (high - low)).clip(0, 1)
    if function in ("LINEAR", "LINEAR_EXACT"):
        return ((values - centre) / width + 0.5).clip(0, 1)
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    raise Unreadable(f"VOI LUT Function '{function}' where LINEAR, LINEAR_EXACT or SIGMOID was expected")


def look_up(
    values: Integer[np.ndarray, "height width"], item: Any, dataset: Any, *, signed: bool
) -> tuple[Integer[np.ndarray, "height width"], int]:
    """Whole numbers through a Modality or VOI LUT.

    Args:
        values: Integers (H, W).
        item: Of the LUT sequence. Its data may be words or bytes, of any VR; its length says which.
        dataset: The file, for its byte order.
        signed: Whether values can be negative; then so is the descriptor's first value mapped, whatever its VR.

    Returns:
        The table's values (H, W), and their bits.

    Raises:
        Unreadable: A table of another length than its descriptor says.

    Reference:
        DICOM PS3.3 C.11.1.1 and C.11.2.1.1.
    """
    descriptor = item.get("LUTDescriptor")
    if descriptor is None or len(descriptor) != 3 or not item.get("LUTData"):
        raise Unreadable("a LUT without its descriptor (entries, first value, bits) or its data")
    entries, first, bits = (int(number) for number in descriptor)
    entries = entries % 65536 or 65536
    if signed and first > 32767:
        first -= 65536
    elif not signed and first < 0:
        first += 65536
    table = _table(item, entries, dataset)
    if not 1 <= bits <= 16 or table.max() >= 2**bits:  # the descriptor is wrong: the table itself shows its depth
        bits = max(8, int(table.max()).bit_length())
    bits = depth_in_use(int(table.max()), bits)
    return table[(values - first).clip(0, entries - 1)].astype(np.float32), bits


def _table(item: Any, entries: int, dataset: Any) -> np.ndarray:
    """LUT Data as int64 (entries,)."""
    data = item["LUTData"].value
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    if not isinstance(data, bytes):
        numbers = np.atleast_1d(np.asarray(data, np.int64)) & 0xFFFF
        if len(numbers) >= entries:
            return numbers[:entries]
        data = numbers.astype(f"{order}u2").tobytes()
    if len(data) >= 2 * entries:
        return np.frombuffer(data, f"{order}u2", entries).astype(np.int64)
    if len(data) in (entries, entries + entries % 2):
        return np.frombuffer(data, np.uint8, entries).astype(np.int64)
    raise Unreadable(f"a LUT of {entries} entries with {len(data)} bytes of data")


def _is_inverse(dataset: Any, warnings: list[str]) -> bool:
    """Whether the least value is the brightest: by MONOCHROME1 or by Presentation LUT Shape, of which either is enough.

    DX says the same twice, MONOCHROME1 and INVERSE (C.8.11.3.1.2); files in which the two contradict each other exist.
    """
    photometric, shape = dataset.PhotometricInterpretation, str(dataset.get("PresentationLUTShape") or "").upper()
    if shape and (shape == "INVERSE") != (photometric == "MONOCHROME1"):
        warnings.append(f"{photometric} and Presentation LUT Shape {shape} contradict each other: shown inverted")
        return True
    return bool(photometric == "MONOCHROME1")


def _stored_range(bits: int, signed: bool) -> tuple[float, float]:
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)


def _range_in_use(levels: np.ndarray, bits: int, signed: bool) -> tuple[int, tuple[float, float]]:
    """The bits in use of a file that declares all of its container's, and their range."""
    least, most = int(levels.min()), int(levels.max())
    if not signed or least >= 0:  # a file of positive values in signed words has one bit less
        used = depth_in_use(most, bits)
        return used, _stored_range(used, False)
    used = depth_in_use(2 * max(most, -least - 1) + 1, bits)
    return used, _stored_range(used, True)


def _first_item(dataset: Any, keyword: str) -> Any:
    sequence = dataset.get(keyword)
    return sequence[0] if sequence else None


def _number(dataset: Any, keyword: str, default: float) -> float:
    """A number of the header, the first of several; `default` where it is absent or empty."""
    value = dataset.get(keyword)
    if isinstance(value, (list, tuple)) or (hasattr(value, "__len__") and not isinstance(value, str)):
        value = value[0] if len(value) else None
    if value is None or str(value).strip() == "":
        return default
    number = float(value)
    if not math.isfinite(number):
        raise Unreadable(f"{keyword} {value} is no number")
    return number
