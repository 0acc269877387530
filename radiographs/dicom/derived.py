"""DICOM on the way out: a derived Secondary Capture image, with the patient's identity or without."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from radiographs.dicom.deidentify import is_burned_in, is_code, mark_identity_removed, new_uid

if TYPE_CHECKING:
    from jaxtyping import UInt

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
    "PatientIdentityRemoved",  # of a source that was de-identified before
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
)
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
CARRIED = (*TECHNICAL, *IDENTITY, *UIDS, "ImageType")  # what `read_radiograph` keeps of a header
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


def encode_dicom(
    levels: UInt[np.ndarray, "height width"], bits: int, header: Any, note: str, keep_identity: bool, uid_key: str = ""
) -> bytes:
    """The bytes of a derived Secondary Capture image, MONOCHROME2, explicit little endian.

    UIDs are new, and the same whenever the same image is written under the same key: images of one study or series of
    the source stay together. Without `keep_identity` the source's own UIDs are replaced too, by hashes under the key.

    Args:
        levels: uint8 or uint16 (H, W).
        bits: Of a level.
        header: Of the source (see `decode_dicom`), or None for an image that comes from no DICOM file.
        note: What was done.
        keep_identity: Keep patient and study.
        uid_key: Secret of the run, see `deidentify.uid_key`; with "" who knows the source's UIDs can find its result.

    Returns:
        A file's content.
    """
    from pydicom import Dataset

    header = Dataset() if header is None else header
    derived = Dataset()
    for keyword in (*TECHNICAL, *(IDENTITY if keep_identity else ())):
        if keyword in header and not _is_zero_spacing(header[keyword]) and is_code(header[keyword]):
            derived[keyword] = header[keyword]
    for keyword in EMPTY_ALLOWED:
        if keyword not in derived:
            setattr(derived, keyword, "")
    if "BodyPartExamined" not in derived and "ImageLaterality" not in derived and "Laterality" not in derived:
        derived.Laterality = ""  # required, though it may be empty, where the body part might be a paired one
    if is_burned_in(header):
        derived.BurnedInAnnotation = "YES"  # however the source spells it
    if not keep_identity:
        mark_identity_removed(derived)
    elif is_burned_in(derived) and "PatientIdentityRemoved" in derived:
        derived.PatientIdentityRemoved = "NO"
    _set_uids(derived, header, note, hashlib.sha256(levels.tobytes()).hexdigest(), keep_identity, uid_key)
    derived.SpecificCharacterSet = derived.get("SpecificCharacterSet") or "ISO_IR 192"
    derived.Modality = derived.get("Modality") or "OT"
    derived.ConversionType = "WSD"
    derived.Manufacturer = ""
    derived.SeriesNumber = "1"
    derived.InstanceNumber = "1"
    derived.ImageType = ["DERIVED", "SECONDARY"]
    derived.DerivationDescription = note
    derived.ImageComments = note
    _set_pixels(derived, levels, bits)
    return _to_bytes(derived)


def _set_uids(derived: Any, header: Any, note: str, digest: str, keep_identity: bool, key: str) -> None:
    """Study, series, image and the reference to the source; `digest`: of the pixels."""
    origin, study, series = (
        str(header.get(keyword) or "") for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    )
    derived.StudyInstanceUID = study if keep_identity and study else new_uid(key, "study", study or origin or digest)
    derived.SeriesInstanceUID = new_uid(key, "series", series or study or origin or digest, note)
    derived.SOPInstanceUID = new_uid(key, "image", origin, note, digest)
    derived.SOPClassUID = SECONDARY_CAPTURE
    if origin and header.get("SOPClassUID"):
        source = origin if keep_identity else new_uid(key, "source", origin)
        derived.SourceImageSequence = [_reference(str(header.SOPClassUID), source)]


def _is_zero_spacing(element: Any) -> bool:
    """Some devices write a spacing of 0, which no DICOM file may hold."""
    return "Spacing" in element.keyword and element.VM == 2 and 0 in element.value


def _reference(sop_class: str, instance: str) -> Any:
    from pydicom import Dataset

    purpose = Dataset()
    purpose.CodeValue = "121322"
    purpose.CodingSchemeDesignator = "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    reference = Dataset()
    reference.ReferencedSOPClassUID = sop_class
    reference.ReferencedSOPInstanceUID = instance
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
