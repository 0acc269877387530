"""CT-RATE: its file names, and which of its two releases a file belongs to.

First release: the NIfTI header holds no geometry and the voxels are the scanner's stored values; spacing, position,
orientation and rescale stand in the metadata CSV. Second release (`*_fixed`): the header is right and the voxels are
Hounsfield units already, so that the CSV's slope and intercept must not be applied again. Hamamci et al., 2024.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from drr.io import nifti
from drr.io.ct_rate_tables import (
    CONFLICT,
    METADATA,
    Row,
    merge_metadata,
    merge_tables,
    read_labels,
    read_metadata,
    read_no_chest,
    read_reports,
    read_table,
    volume_key,
)
from drr.io.hounsfield import check_hu
from drr.io.read import load_ct
from drr.volume import Volume

__all__ = [
    "METADATA",
    "Decision",
    "Header",
    "Name",
    "csv_affine",
    "looks_like_hu",
    "merge_metadata",
    "merge_tables",
    "parse_name",
    "read_header",
    "read_labels",
    "read_metadata",
    "read_no_chest",
    "read_reports",
    "read_table",
    "read_volume",
    "volume_key",
]

NAME = re.compile(r"(train|valid)_(\d+)_([a-z]+)_(\d+)\.nii(?:\.gz)?")
HU_RANGE = (-1024, 3071)  # 12 bits: padding and metal outside of it are clamped before attenuation
AIR_HU = (-1020, -800)  # air and lung; -1024 and below may be padding
SOFT_HU = (-20, 80)  # muscle, organs, blood
ENOUGH = 0.01  # of the sampled voxels


@dataclass(frozen=True)
class Name:
    """The parts of a name such as train_10010_a_1.nii.gz.

    Attributes:
        split: train or valid.
        patient: train_10010.
        scan: train_10010_a.
        volume: train_10010_a_1.
    """

    split: str
    patient: str
    scan: str
    volume: str

    @property
    def image_name(self) -> str:
        """DRR-RATE's key of every image made from this volume."""
        return f"{self.volume}.png"

    def image_path(self, view: str, material: str = "total") -> str:
        """DRR-RATE's path of an image; bone and soft tissue lie in trees beside it: train/PA, train/PA_bone, ...

        Args:
            view: The preset's name.
            material: total, bone or soft.

        Returns:
            A path below the output folder.
        """
        tree = view if material == "total" else f"{view}_{material}"
        return f"{self.split}/{tree}/{self.patient}/{self.scan}/{self.image_name}"


@dataclass(frozen=True)
class Decision:
    """Which release a file is of.

    Attributes:
        release: 1 or 2.
        reason: What in the file says so.
        notes: What else a user should know, such as a wrong CSV.
    """

    release: int
    reason: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Header:
    """A NIfTI header.

    Attributes:
        affine: (4, 4) index (x, y, z) -> LPS mm, as stored.
        has_geometry: Whether the file says where it lies.
    """

    affine: np.ndarray
    has_geometry: bool


def parse_name(path: str | Path) -> Name | None:
    """The parts of a CT-RATE file's name; None for any other file.

    Args:
        path: Only its last part counts, such as valid_1_a_2.nii.gz.

    Returns:
        Split, patient, scan and reconstruction, each with the names above it: valid_1_a is a scan of valid_1.
    """
    match = NAME.fullmatch(Path(path).name)
    if match is None:
        return None
    split, patient, scan, reconstruction = match.groups()
    patient = f"{split}_{patient}"
    return Name(split, patient, f"{patient}_{scan}", f"{patient}_{scan}_{reconstruction}")


def read_header(path: str | Path) -> Header:
    """The header alone. A NIfTI written without geometry has the identity for its affine, or no code for one.

    Args:
        path: The file.

    Returns:
        Its affine.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not a NIfTI file, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    header = nifti.read_header(path)
    return Header(header.affine, not header.fault)


def csv_affine(row: Row) -> np.ndarray:
    """The affine that the metadata says, with slices along the cross product.

    Args:
        row: Of the metadata.

    Returns:
        (4, 4) index (x, y, z) -> LPS mm.

    Raises:
        ValueError: A cell that is no such number.

    Reference:
        DICOM PS3.3 C.7.6.2.1.1.
    """
    spacing = [*_numbers(row, "XYSpacing", 2), *_numbers(row, "ZSpacing", 1)]
    orientation = np.array(_numbers(row, "ImageOrientationPatient", 6)).reshape(2, 3)
    if min(spacing) <= 0 or not np.allclose(orientation @ orientation.T, np.eye(2), atol=1e-2):
        raise ValueError(f"the metadata CSV gives the spacing {spacing} mm and the orientation {orientation.tolist()}")
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([*orientation, np.cross(*orientation)]) * spacing
    affine[:3, 3] = _numbers(row, "ImagePositionPatient", 3)
    return affine


def looks_like_hu(hu: np.ndarray) -> tuple[bool, str]:
    """Whether values are Hounsfield units.

    Args:
        hu: int16 (D, H, W).

    Returns:
        Whether, and the shares of air and soft tissue that say so.
    """
    sample = np.ascontiguousarray(hu[:: max(1, len(hu) // 64), ::7, ::7])  # looked at seven times
    air = float(np.mean((sample >= AIR_HU[0]) & (sample <= AIR_HU[1])))
    soft = float(np.mean((sample >= SOFT_HU[0]) & (sample <= SOFT_HU[1])))
    low, high = np.percentile(sample, (1, 99))
    seen = (
        f"{100 * air:.1f} % of the voxels between {AIR_HU[0]} and {AIR_HU[1]} (air), {100 * soft:.1f} % between "
        f"{SOFT_HU[0]} and {SOFT_HU[1]} (soft tissue), 98 % between {low:.0f} and {high:.0f}"
    )
    return min(air, soft) >= ENOUGH, seen


def read_volume(
    path: str | Path, row: Row | None, rescale: tuple[float, float] | None = None
) -> tuple[Volume, Decision]:
    """Read a CT-RATE volume of either release, HU clamped to [-1024, 3071], axes turned to left, back, head.

    Args:
        path: The NIfTI file.
        row: The volume's metadata; needed for the first release, compared with the header for the second.
        rescale: (slope, intercept) in place of those of the header or the metadata.

    Returns:
        The volume, and which release it was taken for.

    Raises:
        ValueError: Neither release fits what the file holds, or the metadata has rows that differ; and as `read_ct`.
    """
    if row is not None and CONFLICT in row:
        raise ValueError(row[CONFLICT])
    header = read_header(path)
    if header.has_geometry:
        volume = load_ct(path, rescale=rescale, checked=False)
        fits, seen = looks_like_hu(volume.hu)
        decision = Decision(2, f"the header holds geometry and the voxels are HU: {seen}", disagreements(header, row))
    elif row is None:
        raise ValueError(
            f"{path}: the header holds no geometry (first release of CT-RATE) and no metadata row was found for it; "
            "give its table with --metadata"
        )
    else:
        turned = "the CSV's slope {:g} and intercept {:g}" if rescale is None else "a slope of {:g} and intercept {:g}"
        rescale = rescale or (_numbers(row, "RescaleSlope", 1)[0], _numbers(row, "RescaleIntercept", 1)[0])
        volume = load_ct(path, rescale=rescale, affine=csv_affine(row), checked=False)
        fits, seen = looks_like_hu(volume.hu)
        turned = turned.format(*rescale)
        decision = Decision(1, f"the header holds no geometry and {turned} make HU of the voxels: {seen}")
    if not fits:
        where = "the header holds geometry" if decision.release == 2 else f"the header holds none, and after {turned}"
        raise ValueError(
            f"{path}: neither release of CT-RATE fits: {where}, yet the voxels are not HU ({seen}); "
            "nothing was rescaled by guess"
        )
    check_hu(volume.hu, volume.hu, str(path))  # HU that a window cut off pass the test above
    np.clip(volume.hu, *HU_RANGE, out=volume.hu)
    return volume, replace(decision, notes=(*decision.notes, *volume.notes))


def disagreements(header: Header, row: Row | None) -> tuple[str, ...]:
    """Where the metadata CSV says otherwise than the header; each a sentence. The header is believed.

    Args:
        header: Of the file.
        row: Its row in the metadata CSV; None if it has none.

    Returns:
        Sentences on spacing (by over 1%), direction and position (by over 1 mm); none if both agree.
    """
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


def _vector(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.3f}" for value in values) + ")"
