"""DICOM radiographs: the grey-scale pipeline of PS3.3 C.11 on the way in, a derived image on the way out."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np

SIGNATURE = b"DICM"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
# What a derived image keeps. An allow-list: an attribute that nobody thought of stays behind.
TECHNICAL = (
    "Modality",
    "BodyPartExamined",
    "ViewPosition",
    "PatientOrientation",
    "Laterality",
    "ImageLaterality",
    "ImagerPixelSpacing",
    "PixelSpacing",
    "PixelSpacingCalibrationType",
    "PixelAspectRatio",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "BurnedInAnnotation",
)
IDENTITY = (
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
)
EMPTY_ALLOWED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientOrientation",
)


def decode_dicom(data: bytes, name: str) -> tuple[np.ndarray, int, Any]:
    """The bytes of a DICOM file -> pixels float32 (H, W) in [-1, 1] bones bright, bits, header.

    Order of the standard: modality LUT or rescale, then VOI LUT or else window, then MONOCHROME1. Where a file has
    several VOI views the first is taken; where it has none, the whole range of the stored bits.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        dataset = dcmread(io.BytesIO(data))
        levels = _stored_levels(dataset)
        values, low, high, bits = _grey_pipeline(dataset, levels)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    except (InvalidDicomError, AttributeError, KeyError, IndexError, NotImplementedError, EOFError) as error:
        raise ValueError(f"{name}: a damaged, incomplete or unsupported DICOM file ({error})") from None
    unit = (values.astype(np.float64) - low) / (high - low) * 2 - 1
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        unit = -unit
    return unit.clip(-1, 1).astype(np.float32), bits, _header(dataset)


def dicom_size(path: Path) -> tuple[int, int]:
    """(H, W) from the header."""
    from pydicom import dcmread

    dataset = dcmread(path, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
    if "Rows" not in dataset or "Columns" not in dataset:
        raise ValueError(f"{path}: a DICOM file without an image")
    return int(dataset.Rows), int(dataset.Columns)


def _stored_levels(dataset: Any) -> np.ndarray:
    """The stored values (H, W), decompressed."""
    from pydicom.pixels import get_decoder

    if "PixelData" not in dataset:
        raise ValueError("a DICOM file without an image (no Pixel Data)")
    frames, samples = int(dataset.get("NumberOfFrames") or 1), int(dataset.SamplesPerPixel)
    if frames != 1:
        raise ValueError(f"{frames} frames where one radiograph was expected")
    photometric = dataset.PhotometricInterpretation
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(f"{samples} channels ({photometric}) where a grey radiograph (1 channel) was expected")
    syntax = dataset.file_meta.TransferSyntaxUID
    hint = f"cannot decode '{syntax.name}': pip install 'radiolucent[dicom]'"
    if syntax.is_compressed and syntax.is_encapsulated and not get_decoder(syntax).is_available:
        raise ValueError(hint)
    try:
        return dataset.pixel_array
    except RuntimeError as error:  # every decoder that is installed has failed
        raise ValueError(f"{hint} ({' '.join(str(error).split())})") from None


def _grey_pipeline(dataset: Any, levels: np.ndarray) -> tuple[np.ndarray, float, float, int]:
    """Stored values -> (values, the value of black, the value of white, bits), for MONOCHROME2."""
    from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing

    bits = int(dataset.BitsStored)
    signed = int(dataset.PixelRepresentation) == 1
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    values = apply_modality_lut(levels, dataset)
    if dataset.get("ModalityLUTSequence"):
        bits = int(dataset.ModalityLUTSequence[0].LUTDescriptor[2])
        low, high = 0, 2**bits - 1
    elif dataset.get("RescaleSlope") is not None and dataset.get("RescaleIntercept") is not None:
        slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
        if slope == 0:
            raise ValueError("Rescale Slope is 0")
        low, high = low * slope + intercept, high * slope + intercept
    if dataset.get("VOILUTSequence"):
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return apply_voi(_for_lut(values, dataset), dataset), 0, 2**bits - 1, bits
    if dataset.get("WindowWidth") is not None and dataset.get("WindowCenter") is not None:
        return apply_windowing(values, dataset), low, high, bits
    return values, min(low, high), max(low, high), bits


def _for_lut(values: np.ndarray, dataset: Any) -> np.ndarray:
    """Whole numbers within the table: apply_voi does its arithmetic in the table's own small type."""
    entries, first, _ = dataset.VOILUTSequence[0].LUTDescriptor
    return np.rint(values).astype(np.int64).clip(first, first + (entries or 65536) - 1)


def _header(dataset: Any) -> Any:
    """The attributes that a derived image may keep, and the reference to its source."""
    from pydicom import Dataset

    header = Dataset()
    for keyword in (*TECHNICAL, *IDENTITY, "StudyInstanceUID", "SOPClassUID", "SOPInstanceUID"):
        if keyword in dataset:
            header[keyword] = dataset[keyword]
    return header


def encode_dicom(levels: np.ndarray, bits: int, header: Any, note: str, keep_identity: bool) -> bytes:
    """Grey levels (H, W) -> the bytes of a derived Secondary Capture image, MONOCHROME2, explicit little endian.

    header: of the source (see `decode_dicom`), or None for an image that comes from no DICOM file.
    UIDs are made from the source's UID and the pixels: new, and the same whenever the same image is written.
    """
    from pydicom import Dataset
    from pydicom.uid import generate_uid

    header = Dataset() if header is None else header
    digest = hashlib.sha256(levels.tobytes()).hexdigest()
    origin = str(header.get("SOPInstanceUID", ""))
    derived = Dataset()
    for keyword in (*TECHNICAL, *(IDENTITY if keep_identity else ())):
        if keyword in header and not _is_zero_spacing(header[keyword]):
            derived[keyword] = header[keyword]
    for keyword in EMPTY_ALLOWED:
        if keyword not in derived:
            setattr(derived, keyword, "")
    if "BodyPartExamined" not in derived and "ImageLaterality" not in derived and "Laterality" not in derived:
        derived.Laterality = ""  # required, though it may be empty, where the body part might be a paired one
    if not keep_identity:
        derived.PatientIdentityRemoved = "YES"
        derived.DeidentificationMethod = "Radiolucent: only technical attributes kept"
    study = header.get("StudyInstanceUID")
    derived.StudyInstanceUID = (
        study if keep_identity and study else generate_uid(entropy_srcs=["study", origin, digest])
    )
    derived.SeriesInstanceUID = generate_uid(entropy_srcs=["series", origin, note, digest])
    derived.SOPInstanceUID = generate_uid(entropy_srcs=["image", origin, note, digest])
    derived.SOPClassUID = SECONDARY_CAPTURE
    derived.SpecificCharacterSet = derived.get("SpecificCharacterSet") or "ISO_IR 192"
    derived.Modality = derived.get("Modality") or "OT"
    derived.ConversionType = "WSD"
    derived.Manufacturer = ""
    derived.SeriesNumber = "1"
    derived.InstanceNumber = "1"
    derived.ImageType = ["DERIVED", "SECONDARY"]
    derived.DerivationDescription = note
    derived.ImageComments = note
    if origin:
        derived.SourceImageSequence = [_reference(header)]
    _set_pixels(derived, levels, bits)
    return _to_bytes(derived)


def _is_zero_spacing(element: Any) -> bool:
    """Some devices write a spacing of 0, which no DICOM file may hold."""
    return "Spacing" in element.keyword and element.VM == 2 and 0 in element.value


def _reference(header: Any) -> Any:
    from pydicom import Dataset

    purpose = Dataset()
    purpose.CodeValue = "121322"
    purpose.CodingSchemeDesignator = "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    reference = Dataset()
    reference.ReferencedSOPClassUID = header.SOPClassUID
    reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
    reference.PurposeOfReferenceCodeSequence = [purpose]
    return reference


def _set_pixels(derived: Any, levels: np.ndarray, bits: int) -> None:
    derived.SamplesPerPixel = 1
    derived.PhotometricInterpretation = "MONOCHROME2"
    derived.PresentationLUTShape = "IDENTITY"
    derived.Rows, derived.Columns = levels.shape
    derived.BitsAllocated = 8 if bits <= 8 else 16
    derived.BitsStored = bits
    derived.HighBit = bits - 1
    derived.PixelRepresentation = 0
    data = levels.astype(levels.dtype.newbyteorder("<")).tobytes()
    derived.add_new("PixelData", "OB" if bits <= 8 else "OW", data + b"\0" * (len(data) % 2))


def _to_bytes(derived: Any) -> bytes:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    derived.file_meta = FileMetaDataset()
    derived.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content = io.BytesIO()
    derived.save_as(content, enforce_file_format=True)
    return content.getvalue()
