"""DICOM radiographs on the way in: the stored values, and the header that a derived image may keep."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radiographs.dicom.deidentify import is_burned_in
from radiographs.dicom.derived import CARRIED
from radiographs.dicom.grey_levels import Unreadable, grey_pipeline, whole_number

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Integer

MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
DIRECTORY = "1.2.840.10008.1.3.10"  # Media Storage Directory
# Modalities whose images no projection of X-rays through a chest gives; MG, IO and PX are radiographs of other parts.
OTHER_MODALITIES = {
    "CT": "a slice of a CT",
    "MR": "a slice of an MRI",
    "PT": "a PET image",
    "NM": "a scintigram",
    "US": "an ultrasound image",
    "IVUS": "an ultrasound image",
    "OP": "a photograph of an eye",
    "OPT": "a tomogram of an eye",
    "ES": "an endoscopic image",
    "GM": "a microscopic image",
    "SM": "a microscopic image",
    "XC": "a photograph",
    "RTDOSE": "a dose distribution",
    "SEG": "a segmentation",
    "ECG": "an ECG",
}


@dataclass(frozen=True)
class DecodedDicom:
    """A DICOM file's image.

    Attributes:
        pixels: float32 (H, W) in [-1, 1], bones bright.
        bits: 1 to 16.
        header: What a derived image may keep, see `encode_dicom`.
        warnings: Sentences for a person.
    """

    pixels: Float32[np.ndarray, "height width"]
    bits: int
    header: Any
    warnings: tuple[str, ...]


def decode_dicom(data: bytes, name: str) -> DecodedDicom:
    """The image in the bytes of a DICOM file.

    Order of PS3.3 C.11: modality LUT or rescale, then VOI LUT or else window, then MONOCHROME1 or Presentation LUT
    Shape. If a file has several VOI views the first is taken; if it has none, the whole range of the stored bits.
    Pixel Padding at the image's border is black.

    Args:
        data: The file's bytes.
        name: Its name, for messages.

    Returns:
        The image, bones bright.

    Raises:
        ValueError: Not one grey image, or damaged; the sentence begins with `name`.
    """
    from pydicom import dcmread

    try:
        dataset = dcmread(io.BytesIO(data), force=True)  # without a preamble too
        _complete_syntax(dataset)
        warnings: list[str] = []
        levels, padding = stored_levels(dataset, warnings)
        shown = grey_pipeline(dataset, levels, padding)
    except Unreadable as error:
        raise ValueError(f"{name}: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # pydicom and its decoders raise whatever a damaged file makes them
        raise ValueError(f"{name}: a damaged, incomplete or unsupported DICOM file{_reason(error)}") from error
    warnings += [*shown.warnings, *_header_warnings(dataset)]
    return DecodedDicom(shown.pixels, shown.bits, _header(dataset), tuple(warnings))


def _reason(error: Exception) -> str:
    """What a library says in words, without values of the header (a log is no place for them); "" for code's words."""
    if not isinstance(error, (ValueError, OSError, NotImplementedError)) or isinstance(error, UnicodeError):
        return ""
    text = re.sub("'[^']*'", "'...'", " ".join(str(error).split()))[:200]
    return f" ({text})" if text else ""


def dicom_size(path: Path) -> tuple[int, int]:
    """Height and width from the header.

    Args:
        path: The file.

    Returns:
        (H, W).

    Raises:
        ValueError: It is no DICOM image.
    """
    from pydicom import dcmread

    try:
        dataset = dcmread(path, stop_before_pixels=True, specific_tags=["Rows", "Columns"], force=True)
        return int(dataset.Rows), int(dataset.Columns)
    except Exception as error:
        if isinstance(error, OSError):
            raise
        raise ValueError(f"{path}: a DICOM file without an image") from None


def other_modality(header: Any) -> str | None:
    """What an image is by its header, if it is certainly no radiograph.

    Args:
        header: Of the file.

    Returns:
        Such as "a slice of a CT"; None for a radiograph, which a CT's localizer is too, being a projection.
    """
    if header is None or "LOCALIZER" in (header.get("ImageType") or ()):
        return None
    return OTHER_MODALITIES.get(str(header.get("Modality", "")))


def _complete_syntax(dataset: Any) -> None:
    """Where a file says no transfer syntax (no meta information), how it was read is what it is."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "PixelData" not in dataset:
        meta = getattr(dataset, "file_meta", None) or {}
        if meta.get("MediaStorageSOPClassUID") == DIRECTORY or "DirectoryRecordSequence" in dataset:
            raise Unreadable("DICOMDIR, the index of a medium: give the files that it lists")
        what = f" ({dataset.Modality})" if dataset.get("Modality") else ""
        raise Unreadable(f"a DICOM file without an image{what}: no Pixel Data")
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if not dataset.file_meta.get("TransferSyntaxUID"):
        implicit, little = dataset.original_encoding
        plain = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else plain


def stored_levels(
    dataset: Any, warnings: list[str]
) -> tuple[Integer[np.ndarray, "height width"], Bool[np.ndarray, "height width"] | None]:
    """The stored values, decompressed.

    pydicom takes the lower Bits Stored bits whatever High Bit says (PS3.5 8.1.1), so what is not compressed is read as
    whole words here and cut out of them.

    Args:
        dataset: The file.
        warnings: Receives what was wrong with the header.

    Returns:
        int32 or int64 (H, W), and where the image is padded, bool (H, W) or None.

    Raises:
        Unreadable: The pixels cannot be decoded, or are not what the header says.
    """
    from pydicom.pixels import get_decoder
    from pydicom.uid import RLELossless

    sides = whole_number(dataset, "Rows"), whole_number(dataset, "Columns")
    if min(sides) < 1:
        raise Unreadable(f"an image without pixels ({sides[0]} rows, {sides[1]} columns)")
    frames, samples = whole_number(dataset, "NumberOfFrames", 1), whole_number(dataset, "SamplesPerPixel", 1)
    if frames != 1:
        raise Unreadable(f"{frames} frames where one radiograph was expected")
    photometric = str(dataset.get("PhotometricInterpretation") or "")
    if not photometric:
        raise Unreadable("Photometric Interpretation is missing: the header does not say what is bright")
    if samples != 1 or photometric not in MONOCHROME:
        channels = "1 channel" if samples == 1 else f"{samples} channels"
        raise Unreadable(f"{channels} ({photometric}) where a grey radiograph (1 channel) was expected")
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise Unreadable(f"a transfer syntax that nothing here decodes: {syntax.name}") from None
    if syntax.is_encapsulated and not decoder.is_available:
        raise Unreadable(f"cannot decode '{syntax.name}': pip install 'radiolucent[dicom]'")
    allocated = whole_number(dataset, "BitsAllocated")
    whole_words = (not syntax.is_encapsulated or syntax == RLELossless) and allocated in (8, 16, 32)
    options: dict[str, Any] = {"bits_stored": allocated, "pixel_representation": 0} if whole_words else {}
    try:
        levels, _ = decoder.as_array(dataset, raw=True, **options)
    except RuntimeError as error:  # every decoder that is installed has failed
        reason = " ".join(str(error).split())[:160]
        raise Unreadable(
            f"its '{syntax.name}' data are damaged, or of a kind that no decoder here reads ({reason})"
        ) from None
    levels = levels.astype(np.int32 if allocated <= 16 else np.int64)
    padding = _padding(dataset, levels, allocated if whole_words else None)
    return (_cut_out(dataset, levels, padding, warnings) if whole_words else levels), padding


def _cut_out(dataset: Any, words: np.ndarray, padding: np.ndarray | None, warnings: list[str]) -> np.ndarray:
    """The stored values in whole words: Bits Stored bits, the highest of them at High Bit."""
    allocated, stored = whole_number(dataset, "BitsAllocated"), whole_number(dataset, "BitsStored")
    high = whole_number(dataset, "HighBit", stored - 1)
    if not 1 <= stored <= allocated or not stored - 1 <= high < allocated:
        raise Unreadable(f"High Bit {high} and Bits Stored {stored} do not go with Bits Allocated {allocated}")
    shift, mask = high + 1 - stored, (1 << stored) - 1
    below = shift and (words & ((1 << shift) - 1)).any()
    if below and int(words.max()) <= mask:
        shift = 0  # nothing lies where the header says, all of it lies at the bottom
        warnings.append(
            f"High Bit {high} is wrong: the values lie in the lower {stored} bits, and were taken from there"
        )
    values = (words >> shift) & mask
    signed = whole_number(dataset, "PixelRepresentation", 0) == 1
    if signed:
        values = np.where(values >> (stored - 1), values - (1 << stored), values)
    beyond = words >> (shift + stored)
    wrong = (beyond != 0) & ~(signed & (values < 0) & (beyond == (1 << (allocated - shift - stored)) - 1))
    if padding is not None:
        wrong &= ~padding
    if wrong.any() and not _has_embedded_overlay(dataset):
        raise Unreadable(
            f"values up to {int((words >> shift)[wrong].max())} where Bits Stored {stored} allows {mask}: the header "
            "does not say what the pixels are; correct Bits Stored and High Bit"
        )
    return values


def _has_embedded_overlay(dataset: Any) -> bool:
    """Whether unused bits of the pixels hold an overlay (retired, PS3.5 8.1.2)."""
    positions = (dataset.get((group, 0x0102)) for group in range(0x6000, 0x6020, 2))
    return any(position is not None and position.value for position in positions)


def _padding(dataset: Any, levels: np.ndarray, word_bits: int | None) -> np.ndarray | None:
    """Where Pixel Padding Value (to Pixel Padding Range Limit) reaches the image's border; None where nowhere.

    Inside the image the same value may be a real one (a saturated pixel), so only what touches the border counts.
    """
    from scipy import ndimage

    value = dataset.get("PixelPaddingValue")
    if value is None:
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    ends = sorted((int(value), int(value if limit is None else limit)))
    if word_bits is not None:  # levels are whole words, unsigned
        ends = sorted(end % (1 << word_bits) for end in ends)
    padded = (levels >= ends[0]) & (levels <= ends[1])
    labels, _ = ndimage.label(padded)
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    outside = np.isin(labels, border[border > 0])
    return outside if outside.any() and not outside.all() else None


def _header(dataset: Any) -> Any:
    """The attributes that a derived image may keep and the source's UIDs; what cannot be read is left out."""
    from pydicom import Dataset

    header = Dataset()
    for keyword in CARRIED:
        try:
            if keyword in dataset:
                header[keyword] = dataset[keyword]
        except Exception:  # a value that its VR does not allow: not worth losing the image for
            continue
    return header


def _header_warnings(dataset: Any) -> list[str]:
    warnings = []
    if what := other_modality(dataset):
        warnings.append(f"Modality {dataset.Modality}: {what}, no radiograph")
    if is_burned_in(dataset):
        warnings.append("Burned In Annotation is YES: names may stand in the pixels, and stay in the result")
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        try:
            height, width = (float(side) for side in dataset.get(keyword) or ())
        except (TypeError, ValueError):  # absent, or no two numbers
            continue
        if min(height, width) > 0:
            if abs(height / width - 1) > 0.02:
                warnings.append(f"the pixels are not square ({keyword} {height:g} x {width:g}): the chest is squeezed")
            break
    return warnings
