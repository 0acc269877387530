"""The slices of a CT series: what each header says of its place, and its pixels in HU.

An enhanced multi-frame CT says in functional groups (PS3.3 C.7.6.16) what a classic CT says at the top of each file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from drr.io.dicom.files import File
from drr.io.hounsfield import to_int16
from drr.io.padding import AIR, DENSER_THAN_AIR_HU, at_the_border

PROJECTIONS = {"MIP", "MINIP", "MAX_IP", "MIN_IP", "MAXIMUM", "MINIMUM"}  # of several slices, in Image Type
HU_TYPES = ("", "HU", "HU_MOD", "US")  # Rescale Type; US is "unspecified"


@dataclass(frozen=True, eq=False)
class Slice:
    """One plane of a CT.

    Attributes:
        name: Of its file, with the frame, for messages.
        file: Where its pixels are.
        frame: Which of the file's.
        shape: (rows, columns).
        spacing: (between rows, between columns) in mm, or None if not said.
        axes: (2, 3) unit vectors in LPS along a row and down a column, or None.
        position: (3,) of the first pixel's centre in mm, LPS, or None.
        scale: (slope, intercept) to HU, or None if not said.
        number: Instance Number, or the frame's.
    """

    name: str
    file: File
    frame: int
    shape: tuple[int, int]
    spacing: tuple[float, ...] | None
    axes: np.ndarray | None
    position: np.ndarray | None
    scale: tuple[float, ...] | None
    number: int | None


def read_slices(files: list[File]) -> list[Slice]:
    """One slice for each file, or for each frame of a multi-frame file; localizers' frames are left out.

    Args:
        files: Of one series.

    Returns:
        Slices in the order of the files.

    Raises:
        ValueError: An attribute that is malformed, or pixels that are no CT's.
    """
    slices = []
    for file in files:
        try:
            slices += [one for frame in range(file.frames) if (one := _slice(file, frame)) is not None]
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
            said = " ".join(str(error).split())
            known = said.startswith((file.path.name, str(file.path)))
            raise ValueError(said if known else f"{file.path.name}: a malformed header ({said})") from None
    return slices


def read_hu(plane: Slice, out: np.ndarray, scale: tuple[float, float] | None) -> None:
    """The pixels of a slice in HU; padding becomes air.

    Args:
        plane: The slice.
        out: int16 (rows, columns), filled.
        scale: (slope, intercept) in place of the header's.

    Raises:
        ValueError: Pixels that cannot be decoded, or are fewer than the header says.
    """
    raw, stored = _stored(plane)
    slope, intercept = scale or plane.scale or (1.0, 0.0)
    to_int16(stored, (slope, intercept), out, plane.name)
    padded = _padding(plane.file.header, raw, stored)
    if padded is None or not padded.any():
        return
    among = out[padded]
    if among.max() > DENSER_THAN_AIR_HU and among.max() < 3000:  # a number that tissue may have, too
        padded = at_the_border(padded)
    out[padded] = AIR


def _slice(file: File, frame: int) -> Slice | None:
    header, name = file.header, file.path.name
    if file.frames > 1:
        name = f"{name}, frame {frame + 1}"
        kind = _group(header, frame, "CTImageFrameTypeSequence")
        if kind is not None and "LOCALIZER" in str(kind.get("FrameType", "")).upper():
            return None
    if int(header.get("SamplesPerPixel") or 1) != 1:
        raise ValueError(f"{name}: {header.SamplesPerPixel} samples a pixel (colour); a CT has one")
    kinds = header.get("ImageType") or ()
    if made := PROJECTIONS & {str(kind).upper() for kind in ([kinds] if isinstance(kinds, str) else kinds)}:
        raise ValueError(
            f"{name}: Image Type says {made.pop()}, a projection of several slices; give the CT's own series"
        )
    places, turns = _group(header, frame, "PlanePositionSequence"), _group(header, frame, "PlaneOrientationSequence")
    measures, values = (
        _group(header, frame, "PixelMeasuresSequence"),
        _group(header, frame, "PixelValueTransformationSequence"),
    )
    axes = _numbers(turns, header, "ImageOrientationPatient", 6, name)
    position = _numbers(places, header, "ImagePositionPatient", 3, name)
    number = header.get("InstanceNumber") if file.frames == 1 else frame
    return Slice(
        name,
        file,
        frame,
        (int(header.Rows), int(header.Columns)),
        _numbers(measures, header, "PixelSpacing", 2, name),
        None if axes is None else np.array(axes).reshape(2, 3),
        None if position is None else np.array(position),
        _scale(values, header, name),
        None if number is None else int(number),
    )


def _group(header: Any, frame: int, name: str) -> Any:
    """The item of a functional group: the frame's own, or the one that all frames share; None if there is none."""
    own, shared = header.get("PerFrameFunctionalGroupsSequence"), header.get("SharedFunctionalGroupsSequence")
    for groups in (own[frame] if own and frame < len(own) else None, shared[0] if shared else None):
        if groups is not None and groups.get(name):
            return groups[name][0]
    return None


def _numbers(group: Any, header: Any, keyword: str, count: int, name: str) -> tuple[float, ...] | None:
    """`count` finite numbers of an attribute in a functional group or at the top; None if absent or empty."""
    try:
        value = (group if group is not None and keyword in group else header).get(keyword)
        if value is None or value == "":
            return None
        numbers = tuple(float(part) for part in (value if count > 1 else [value]))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {keyword} cannot be read ({error})") from None
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ValueError(f"{name}: {keyword} is {value}; {count} number(s) are needed")
    return numbers


def _scale(group: Any, header: Any, name: str) -> tuple[float, ...] | None:
    """(slope, intercept), or None where neither is said."""
    slope, intercept = (_numbers(group, header, f"Rescale{part}", 1, name) for part in ("Slope", "Intercept"))
    kind = str((group or header).get("RescaleType") or "").strip().upper()
    if kind not in HU_TYPES:
        raise ValueError(
            f"{name}: Rescale Type is {kind}: the pixels are no Hounsfield units; give the CT's own series"
        )
    if slope is None and intercept is None:
        if header.get("ModalityLUTSequence"):
            raise ValueError(f"{name}: a Modality LUT in place of a rescale; give rescale=(slope, intercept)")
        return None
    if slope is None or intercept is None or slope[0] == 0:
        raise ValueError(
            f"{name}: Rescale Slope is {slope and slope[0]} and Rescale Intercept {intercept and intercept[0]}; "
            "give rescale=(slope, intercept)"
        )
    return slope[0], intercept[0]


def _stored(plane: Slice) -> tuple[np.ndarray, np.ndarray]:
    """(words as they lie in the file, stored values), both (rows, columns)."""
    header = plane.file.header
    syntax = header.file_meta.get("TransferSyntaxUID")
    plain = not syntax or (syntax.is_transfer_syntax and not syntax.is_compressed)
    if plain and "PixelData" in header and header.get("BitsAllocated") == 16:
        return _native(plane)
    values = _decoded(plane)
    if values.shape != plane.shape:
        raise ValueError(f"{plane.name}: pixels of shape {values.shape}, where {plane.shape} are needed")
    return values, values


def _native(plane: Slice) -> tuple[np.ndarray, np.ndarray]:
    """16-bit words without compression, straight from the file: the bits up to High Bit count (PS3.5 8.1.1)."""
    header, (rows, columns) = plane.file.header, plane.shape
    element = header.get_item("PixelData", keep_deferred=True)
    little = header.original_encoding[1]
    word, offset = np.dtype("<u2" if little else ">u2"), 2 * rows * columns * plane.frame
    if element.value is None:
        raw = np.fromfile(plane.file.path, word, rows * columns, offset=element.value_tell + offset)
        held = min(element.length - offset, 2 * raw.size)
    else:
        raw = np.frombuffer(element.value[offset : offset + 2 * rows * columns], word)
        held = 2 * raw.size
    if held < 2 * rows * columns:
        raise ValueError(f"{plane.name}: {held} bytes of pixels, where {rows} x {columns} of 16 bits need more")
    raw = raw.astype(np.uint16, copy=False).reshape(rows, columns)
    stored, high = int(header.get("BitsStored") or 16), header.get("HighBit")
    high = stored - 1 if high is None else int(high)
    if not 0 < stored <= 16 or not stored - 1 <= high < 16:
        raise ValueError(f"{plane.name}: Bits Stored {stored} with High Bit {high} is not possible")
    values: np.ndarray = raw << np.uint16(15 - high) if high < 15 else raw
    if int(header.get("PixelRepresentation") or 0):
        values = values.view(np.int16)
    return raw, values >> values.dtype.type(16 - stored) if stored < 16 else values


def _decoded(plane: Slice) -> np.ndarray:
    """Any other encoding by pydicom; by SimpleITK what pydicom has no decoder for."""
    from pydicom.pixels import pixel_array

    frames = plane.file.frames
    try:
        return np.asarray(pixel_array(plane.file.header, index=plane.frame if frames > 1 else None))
    except Exception as error:  # whatever its decoders raise
        values = decoded_by_itk(plane) if plane.scale is not None and frames == 1 else None
        if values is None:
            said = " ".join(str(error).split())
            raise ValueError(f"{plane.name}: its pixels cannot be decoded ({said})") from None
        return values


def decoded_by_itk(plane: Slice) -> np.ndarray | None:
    """Stored values of a single image by SimpleITK, which decodes JPEG in all its kinds; None if it cannot.

    Args:
        plane: With its file, and its slope and intercept to HU, which SimpleITK applies and this takes back.

    Returns:
        int32 (rows, columns).
    """
    import SimpleITK as sitk

    try:
        values = sitk.GetArrayFromImage(sitk.ReadImage(str(plane.file.path)))[0]
    except (RuntimeError, IndexError):
        return None
    slope, intercept = plane.scale or (1.0, 0.0)  # it applies the rescale, which is taken back
    return np.rint((values.astype(np.float64) - intercept) / slope).astype(np.int32)


def _padding(header: Any, raw: np.ndarray, stored: np.ndarray) -> np.ndarray | None:
    """Bool (rows, columns): Pixel Padding Value, up to its Range Limit (PS3.3 C.7.5.1.1.2); None if unsaid."""
    value, limit = header.get("PixelPaddingValue"), header.get("PixelPaddingRangeLimit")
    if value is None or isinstance(value, (str, list)) or stored.dtype.kind not in "iu":
        return None
    if limit is not None and not isinstance(limit, (str, list)):
        ends = sorted(int(n) if stored.dtype.kind == "u" or n < 32768 else int(n) - 65536 for n in (value, limit))
        return (stored >= ends[0]) & (stored <= ends[1])
    return (stored == int(value)) | (raw == int(value) % 65536)  # its VR, US or SS, is often the wrong one
