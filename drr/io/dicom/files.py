"""Which DICOM files of a folder make up one CT series."""

from __future__ import annotations

import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAGIC = b"DICM"
TAGS = [
    *("SOPClassUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "Modality", "ImageType", "NumberOfFrames"),
    *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PhotometricInterpretation", "PlanarConfiguration", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence", "PixelSpacing", "SliceThickness"),
    *("ImagePositionPatient", "ImageOrientationPatient", "ConvolutionKernel", "AcquisitionNumber", "AcquisitionTime"),
    *("TemporalPositionIdentifier", "NominalPercentageOfCardiacPhase"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("PixelData", "FloatPixelData", "DoubleFloatPixelData"),
]
CT_CLASSES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
DEFERRED_BYTES = 1 << 14  # of an element that is left in the file until it is asked for


@dataclass(frozen=True, eq=False)
class File:
    """A DICOM image.

    Attributes:
        path: Where it lies.
        header: Which reads the pixels only when asked.
    """

    path: Path
    header: Any

    @property
    def kind(self) -> str:
        """Modality; CT for a CT's SOP class without it."""
        modality = str(self.header.get("Modality") or "").strip().upper()
        return modality or ("CT" if self.header.get("SOPClassUID") in CT_CLASSES else "not said")

    @property
    def frames(self) -> int:
        """Number of Frames; 1 for a classic image.

        Raises:
            ValueError: The header has something else than a whole number there.
        """
        try:
            return max(1, int(self.header.get("NumberOfFrames") or 1))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.path}: Number of Frames cannot be read ({error})") from None

    @property
    def is_localizer(self) -> bool:
        """Whether Image Type says so (PS3.3 C.8.2.1.1.1)."""
        kinds = self.header.get("ImageType") or ""
        return "LOCALIZER" in str(kinds).upper()


def is_dicom(path: Path) -> bool:
    """Whether a file has the DICOM signature.

    Args:
        path: A file.

    Returns:
        False also for DICOM without its preamble, as old archives keep it.
    """
    with path.open("rb") as stream:
        return stream.read(132)[128:] == MAGIC


def read_series(folder: Path, series: str | int | None = None) -> tuple[list[File], list[str]]:
    """The images of one CT series below a folder.

    Args:
        folder: One with DICOM files; if it has none itself, those in all folders below count. Or one file.
        series: Series Number or Series Instance UID, if there are several; all folders below are looked through.

    Returns:
        Images in the order of their paths, and notes of what was left out.

    Raises:
        ValueError: No CT, several series, no such series, or a damaged file.
    """
    images = [image for path in _paths(folder, series is not None) if (image := read_image(path)) is not None]
    if not images:
        raise ValueError(
            f"{folder}: no {'image in this DICOM file' if folder.is_file() else 'DICOM series in this folder'}"
        )
    groups: dict[str, list[File]] = defaultdict(list)
    for image in images:
        groups[str(image.header.get("SeriesInstanceUID") or "")].append(image)
    chosen = _choose(groups, series, folder)
    notes = []
    kept = [image for image in chosen if not image.is_localizer]
    if len(kept) < len(chosen):
        notes.append(f"{len(chosen) - len(kept)} localizer image(s) of the series were left out")
    if not kept:
        raise ValueError(f"{folder}: all {len(chosen)} images of the series are localizers; a CT is needed")
    others = [group for group in groups.values() if group is not chosen]
    if others and series is None:
        notes.append(f"left out: {'; '.join(describe(group) for group in others)}")
    return kept, notes


def read_image(path: Path) -> File | None:
    """A file's header.

    Args:
        path: The file.

    Returns:
        The image; None for what is no DICOM image.

    Raises:
        ValueError: A DICOM file that is damaged.
    """
    from pydicom import dcmread
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    signed = is_dicom(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of a wrong header is found by our own checks
            header: Any = dcmread(path, defer_size=DEFERRED_BYTES, specific_tags=TAGS, force=not signed)
            if header.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
                header = dcmread(path, specific_tags=TAGS)  # there is nothing in the file to come back to
            is_image = "Rows" in header and any(name in header for name in TAGS[-3:])
            is_image = is_image and (signed or "SOPClassUID" in header)
    except Exception as error:  # pydicom raises whatever a damaged byte leads to
        if not signed:
            return None
        raise ValueError(f"{path}: a damaged DICOM file ({' '.join(str(error).split())})") from None
    return File(path, header) if is_image else None


def describe(group: list[File]) -> str:
    """A series in words that name no patient: number, modality, size, kernel.

    Args:
        group: The images of one series, one at least.

    Returns:
        Such as "series 3: CT, 120 image(s), kernel B30f".
    """
    first = group[0].header
    number, kernel = first.get("SeriesNumber"), first.get("ConvolutionKernel")
    kinds = ", ".join(sorted({image.kind for image in group}))
    localizers = " of localizers" if all(image.is_localizer for image in group) else ""
    said = f"series {number if number is not None else 'without a number'}: {kinds}{localizers}, {len(group)} image(s)"
    return f"{said}, kernel {kernel}" if kernel else said


def _choose(groups: dict[str, list[File]], series: str | int | None, folder: Path) -> list[File]:
    """One series: the one asked for, or the only one that can be a CT."""
    if series is not None:
        wanted = str(series).strip()
        found = [group for uid, group in groups.items() if uid == wanted]
        found = found or [g for g in groups.values() if str(g[0].header.get("SeriesNumber", "")) == wanted]
        if len(found) == 1:
            return _require_ct(found[0], folder)
        count = "several series" if found else "no series"
        raise ValueError(f"{folder}: {count} with the number or UID {wanted}; there are {_list(list(groups.values()))}")
    volumes = [group for group in groups.values() if _may_be_ct(group)]
    several = [group for group in volumes if len(group) > 1 or group[0].frames > 1]
    volumes = several or volumes
    if len(volumes) > 1:
        raise ValueError(
            f"{folder}: {len(volumes)} DICOM series of CT in this folder ({_list(volumes)}); choose one by its number "
            "or Series Instance UID with series= (--series on the command line)"
        )
    return _require_ct(volumes[0] if volumes else max(groups.values(), key=len), folder)


def _may_be_ct(group: list[File]) -> bool:
    """Not of another modality, not localizers alone, and no coloured renderings of a CT."""
    grey = str(group[0].header.get("SamplesPerPixel") or 1) == "1"
    return grey and any(image.kind == "CT" for image in group) and not all(image.is_localizer for image in group)


def _require_ct(group: list[File], folder: Path) -> list[File]:
    kinds = Counter(image.kind for image in group)
    if set(kinds) != {"CT"}:
        found = ", ".join(f"{kind} ({count} image(s))" for kind, count in kinds.items())
        raise ValueError(f"{folder}: no CT: the modality is {found}; a CT is needed")
    return group


def _list(groups: list[list[File]]) -> str:
    return "; ".join(describe(group) for group in groups)


def _paths(folder: Path, deep: bool) -> Iterator[Path]:
    """The files of a folder; where none is a DICOM image, or if `deep`, those of all folders below, links followed."""
    if folder.is_file():
        yield folder
        return
    here = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and path.is_file()]
    here = [path for path in here if may_be_dicom(path)]
    if not deep and any(read_image(path) is not None for path in here):
        yield from here
        return
    seen = set()
    for where, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if (real := os.path.realpath(where)) in seen:
            folders.clear()
            continue
        seen.add(real)
        paths = (Path(where, name) for name in sorted(names) if not name.startswith("."))
        yield from (path for path in paths if may_be_dicom(path))


def may_be_dicom(path: Path) -> bool:
    """Whether a file is worth a look: not an index, not empty, not of a kind that lies beside slices.

    Args:
        path: Of anything in a folder.

    Returns:
        False for a subfolder too; True does not say that the file is DICOM.
    """
    if path.name.upper() == "DICOMDIR" or path.suffix.lower() in NOT_DICOM:
        return False
    return path.is_file() and path.stat().st_size > 132


NOT_DICOM = {
    *(".txt", ".csv", ".json", ".xml", ".html", ".md", ".pdf", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".zip"),
    *(".gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr", ".raw", ".npy", ".npz", ".py", ".exe", ".inf", ".ini", ".log"),
}
