"""CT-RATE: its file names, its tables, and which of its two releases a file belongs to.

First release: the NIfTI header holds no geometry and the voxels are the scanner's stored values; spacing, position,
orientation and rescale stand in the metadata CSV. Second release (`*_fixed`): the header is right and the voxels are
Hounsfield units already, so that the CSV's slope and intercept must not be applied again. Hamamci et al., 2024.
"""

from __future__ import annotations

import ast
import csv
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .volume import Volume
from .volume_io import LPS_FROM_RAS, read_ct

NAME = re.compile(r"(train|valid)_(\d+)_([a-z]+)_(\d+)\.nii(?:\.gz)?")
HU_RANGE = (-1024, 3071)  # 12 bits: padding and metal outside of it are clamped before attenuation
AIR_HU = (-1020, -800)  # air and lung; -1024 and below may be padding
SOFT_HU = (-20, 80)  # muscle, organs, blood
ENOUGH = 0.01  # of the sampled voxels
METADATA = (
    "RescaleSlope",
    "RescaleIntercept",
    "XYSpacing",
    "ZSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)
REPORT = {
    "clinical_information": "ClinicalInformation_EN",
    "technique": "Technique_EN",
    "findings": "Findings_EN",
    "impression": "Impressions_EN",
}
NO_TEXT = ("", "not given.", "not given")
Row = dict[str, str]


@dataclass(frozen=True)
class Name:
    """Of `train_10010_a_1.nii.gz`: the split train, patient train_10010, scan train_10010_a, volume train_10010_a_1."""

    split: str
    patient: str
    scan: str
    volume: str

    @property
    def image_name(self) -> str:
        """DRR-RATE's key of every image made from this volume."""
        return f"{self.volume}.png"

    def image_path(self, view: str, material: str = "total") -> str:
        """DRR-RATE's path; bone and soft tissue lie in trees beside it: train/PA, train/PA_bone, train/PA_soft."""
        tree = view if material == "total" else f"{view}_{material}"
        return f"{self.split}/{tree}/{self.patient}/{self.scan}/{self.image_name}"


@dataclass(frozen=True)
class Decision:
    """release: 1 or 2; reason: what in the file says so; notes: what else a user should know, such as a wrong CSV."""

    release: int
    reason: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Header:
    """affine: (4, 4) index (x, y, z) -> LPS mm, as stored; has_geometry: whether the file says where it lies."""

    affine: np.ndarray
    has_geometry: bool


def parse_name(path: str | Path) -> Name | None:
    """The parts of a CT-RATE file's name; None for any other file."""
    match = NAME.fullmatch(Path(path).name)
    if match is None:
        return None
    split, patient, scan, reconstruction = match.groups()
    patient = f"{split}_{patient}"
    return Name(split, patient, f"{patient}_{scan}", f"{patient}_{scan}_{reconstruction}")


def volume_key(name: str) -> str:
    """A file's base name without .nii or .nii.gz, as every table of CT-RATE may be looked up by."""
    return name.strip().replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".gz").removesuffix(".nii")


def read_table(path: str | Path, columns: tuple[str, ...] = ()) -> dict[str, Row]:
    """{volume key: its row} of a CSV with the column VolumeName (or DRR-RATE's ImageName) and, at least, `columns`.

    FileNotFoundError; ValueError: a missing column, or a volume that has two different rows.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such table")
    table: dict[str, Row] = {}
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        found = reader.fieldnames or []
        name = next((column for column in ("VolumeName", "ImageName") if column in found), "VolumeName")
        missing = [column for column in (name, *columns) if column not in found]
        if missing:
            raise ValueError(f"{path}: the table lacks the column {', '.join(missing)}; it has {', '.join(found[:20])}")
        for row in reader:
            key = volume_key(row.pop(name)).removesuffix(".png")
            if table.setdefault(key, row) != row:
                raise ValueError(f"{path}: {key} has two rows that differ; keep one")
    return table


def read_metadata(path: str | Path) -> dict[str, Row]:
    """{volume key: the columns of METADATA as text}; no other column (age, sex, dates) is kept."""
    return {key: {column: row[column] for column in METADATA} for key, row in read_table(path, METADATA).items()}


def read_labels(path: str | Path) -> dict[str, dict[str, int]]:
    """{volume key: {abnormality: 0 or 1}}, all columns of the table; ValueError for any other value."""
    labels = {}
    for key, row in read_table(path).items():
        try:
            labels[key] = {name: int(float(value)) for name, value in row.items() if name}
        except (TypeError, ValueError):
            raise ValueError(f"{path}: the labels of {key} are {list(row.values())}; 0 or 1 was expected") from None
    return labels


def read_reports(path: str | Path) -> dict[str, dict[str, str | None]]:
    """{volume key: {clinical_information, technique, findings, impression}}; "Not given." becomes None."""
    table = read_table(path, tuple(REPORT.values()))
    return {key: {part: _text(row[column]) for part, column in REPORT.items()} for key, row in table.items()}


def read_no_chest(path: str | Path) -> set[str]:
    """The volume keys that a list without header (paths or base names, one a line) names."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such list")
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return {volume_key(line.strip(" ,\"'")) for line in lines if line.strip()} - {"VolumeName"}


def read_header(path: str | Path) -> Header:
    """The header alone. A NIfTI written without geometry has the identity for its affine, or no code for one."""
    import nibabel

    broken = (
        nibabel.filebasedimages.ImageFileError,
        nibabel.spatialimages.HeaderDataError,
        EOFError,
        OSError,
        zlib.error,
    )
    try:
        header: Any = nibabel.load(path).header
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file") from None
    except broken as error:
        raise ValueError(f"{path}: not a NIfTI file, or damaged ({error})") from None
    affine = header.get_best_affine()
    coded = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    identity = np.allclose(np.linalg.norm(affine[:3, :3], axis=0), 1) and np.allclose(affine[:3, 3], 0)
    return Header(LPS_FROM_RAS @ affine, coded and not identity)


def csv_affine(row: Row) -> np.ndarray:
    """(4, 4) index (x, y, z) -> LPS mm from the metadata: DICOM PS3.3 C.7.6.2.1.1, slices along the cross product."""
    spacing = [*_numbers(row, "XYSpacing", 2), *_numbers(row, "ZSpacing", 1)]
    orientation = np.array(_numbers(row, "ImageOrientationPatient", 6)).reshape(2, 3)
    if min(spacing) <= 0 or not np.allclose(orientation @ orientation.T, np.eye(2), atol=1e-2):
        raise ValueError(f"the metadata CSV gives the spacing {spacing} mm and the orientation {orientation.tolist()}")
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([*orientation, np.cross(*orientation)]) * spacing
    affine[:3, 3] = _numbers(row, "ImagePositionPatient", 3)
    return affine


def looks_like_hu(hu: np.ndarray) -> tuple[bool, str]:
    """Whether int16 (D, H, W) values are Hounsfield units, and the shares of air and soft tissue that say so."""
    sample = hu[:: max(1, len(hu) // 64), ::7, ::7]
    air = float(np.mean((sample >= AIR_HU[0]) & (sample <= AIR_HU[1])))
    soft = float(np.mean((sample >= SOFT_HU[0]) & (sample <= SOFT_HU[1])))
    low, high = np.percentile(sample, (1, 99))
    seen = (
        f"{100 * air:.1f} % of the voxels between {AIR_HU[0]} and {AIR_HU[1]} (air), {100 * soft:.1f} % between "
        f"{SOFT_HU[0]} and {SOFT_HU[1]} (soft tissue), 98 % between {low:.0f} and {high:.0f}"
    )
    return min(air, soft) >= ENOUGH, seen


def read_volume(path: str | Path, row: Row | None) -> tuple[Volume, Decision]:
    """Read a CT-RATE volume of either release, HU clamped to [-1024, 3071], axes turned to left, back, head.

    row: the volume's metadata; needed for the first release, compared with the header for the second.
    ValueError: neither release fits what the file holds; and as `read_ct`.
    """
    header = read_header(path)
    if header.has_geometry:
        volume = read_ct(path)
        fits, seen = looks_like_hu(volume.hu)
        decision = Decision(2, f"the header holds geometry and the voxels are HU: {seen}", disagreements(header, row))
    elif row is None:
        raise ValueError(
            f"{path}: the header holds no geometry (first release of CT-RATE) and no metadata row was found for it; "
            "give its table with --metadata"
        )
    else:
        rescale = (_numbers(row, "RescaleSlope", 1)[0], _numbers(row, "RescaleIntercept", 1)[0])
        volume = read_ct(path, rescale=rescale, affine=csv_affine(row))
        fits, seen = looks_like_hu(volume.hu)
        turned = "the CSV's slope {:g} and intercept {:g}".format(*rescale)
        decision = Decision(1, f"the header holds no geometry and {turned} make HU of the voxels: {seen}")
    if not fits:
        where = "the header holds geometry" if decision.release == 2 else f"the header holds none, and after {turned}"
        raise ValueError(
            f"{path}: neither release of CT-RATE fits: {where}, yet the voxels are not HU ({seen}); "
            "nothing was rescaled by guess"
        )
    np.clip(volume.hu, *HU_RANGE, out=volume.hu)
    return volume, decision


def disagreements(header: Header, row: Row | None) -> tuple[str, ...]:
    """Where the metadata CSV says otherwise than the header; each a sentence. The header is believed."""
    if row is None:
        return ("no metadata row: the header was not compared",)
    try:
        expected = csv_affine(row)
    except ValueError as error:
        return (f"{error}; the header was taken",)
    notes = []
    ours, theirs = (np.linalg.norm(affine[:3, :3], axis=0) for affine in (header.affine, expected))
    if not np.allclose(ours, theirs, rtol=0.01):
        notes.append(f"spacing: header {_vector(ours)} mm, CSV {_vector(theirs)} mm; the header was taken")
    if not np.allclose(header.affine[:3, :3] / ours, expected[:3, :3] / theirs, atol=0.02):
        notes.append("direction: the CSV's differs from the header's; the header was taken")
    if not np.allclose(header.affine[:3, 3], expected[:3, 3], atol=1.0):
        places = _vector(header.affine[:3, 3]), _vector(expected[:3, 3])
        notes.append("position: header {} mm, CSV {} mm; the header was taken".format(*places))
    return tuple(notes)


def _numbers(row: Row, column: str, count: int) -> list[float]:
    """`count` finite numbers from a cell such as "[0.7, 0.7]" or "1.5"."""
    try:
        value = ast.literal_eval(row[column].strip())
        numbers = [float(number) for number in (value if isinstance(value, (list, tuple)) else [value])]
    except (ValueError, SyntaxError, TypeError):
        numbers = []
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ValueError(f"the metadata CSV's {column} is '{row[column]}'; {count} numbers were expected")
    return numbers


def _text(cell: str | None) -> str | None:
    text = " ".join((cell or "").split())
    return None if text.lower() in NO_TEXT else text


def _vector(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.3f}" for value in values) + ")"
