"""CT volumes from files: NIfTI, DICOM, MHA, NRRD."""

from __future__ import annotations

import warnings
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from drr.io.hounsfield import check_hu, to_int16
from drr.io.nifti import LPS_FROM_RAS
from drr.io.padding import AIR, find_padding, padding_to_air
from drr.io.stored import Stored, affine_fault
from drr.io.tables import read_rows
from drr.volume import Volume, patient_axes

__all__ = ["FILES", "LPS_FROM_RAS", "CTWarning", "load_ct", "read_ct", "sample_ct"]
NIFTI = (".nii", ".nii.gz")
ITK = (".mha", ".mhd", ".nrrd", ".nhdr")
FILES = (*NIFTI, *ITK)


class CTWarning(UserWarning):
    """What was left out or resampled so that a CT could be read; also in `Volume.notes`."""


def read_ct(
    path: str | Path,
    labels: str | Path | None = None,
    structures: str | Path | None = None,
    rescale: tuple[float, float] | None = None,
    affine: np.ndarray | None = None,
    series: str | int | None = None,
) -> Volume:
    """Read a CT and, if given, its label map.

    Every slice of a DICOM series is checked: a tilted gantry becomes an affine with oblique columns, uneven slices are
    resampled, repeated ones and localizers left out; what was done so is in `Volume.notes` and a `CTWarning`. Padding
    around the field of view becomes air.

    Args:
        path: .nii, .nii.gz, .mha, .mhd, .nrrd, an enhanced multi-frame DICOM file, or a folder with one DICOM series,
            in itself or in folders below.
        labels: label map on the same grid, in whatever order its axes are stored.
        structures: CSV with columns `id` and `structure` (default: structures.csv beside the label map, else the
            packaged TotalSegmentator table).
        rescale: (slope, intercept) that turn stored values into HU, in place of the header's.
        affine: (4, 4) index (x, y, z) -> LPS mm for the voxels as stored, in place of the header's; slices of a DICOM
            series are then taken in order as they are.
        series: Series Number or Series Instance UID, where a folder holds several DICOM series.

    Returns:
        A volume of int16 HU with the axes turned so that x, y, z run most nearly to the patient's left, back and head
        (the affine says exactly how), whatever the handedness on disk.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: truncated or 2-D file, NaN, no spacing or orientation, slices that make no volume, no CT, values
            that cannot be HU; one line that names the file.
    """
    volume = load_ct(path, labels, structures, rescale, affine, series, checked=True)
    for note in volume.notes:
        warnings.warn(f"{volume.source}: {note}", CTWarning, stacklevel=2)
    return volume


def load_ct(
    path: str | Path,
    labels: str | Path | None = None,
    structures: str | Path | None = None,
    rescale: tuple[float, float] | None = None,
    affine: np.ndarray | None = None,
    series: str | int | None = None,
    *,
    checked: bool,
) -> Volume:
    """As `read_ct`, without its warnings.

    Args:
        path: See `read_ct`.
        labels: See `read_ct`.
        structures: See `read_ct`.
        rescale: See `read_ct`.
        affine: See `read_ct`.
        series: See `read_ct`.
        checked: Whether voxels that cannot be HU are refused.

    Returns:
        The volume.

    Raises:
        ValueError: As `read_ct`.
    """
    path = Path(path)
    matrix = None if affine is None else _callers_affine(affine)
    if rescale is not None:
        _check_rescale(rescale)
    stored = _read(path, rescale, series, needs_geometry=affine is None)
    if matrix is None and stored.fault:
        raise ValueError(f"{path}: {stored.fault}; give read_ct its affine=(4, 4), or repair the header")
    voxels = _hu(stored, rescale, path)
    hu, turned = _to_lps_axes(voxels, stored.affine if matrix is None else matrix)
    padding = find_padding(hu)
    if checked:
        check_hu(hu, stored.values, str(path), padding)
    if padding is not None:
        padding_to_air(hu, padding)
    notes = stored.notes
    if padding is not None and padding > AIR:
        notes += (f"padding of {padding} HU around the field of view became air",)
    volume = Volume(hu, turned, source=path.name, notes=notes)
    return volume if labels is None else _with_labels(volume, Path(labels), structures, stored, matrix)


def sample_ct() -> Volume:
    """The packaged chest CT with its label map; see drr/data/README.md.

    Returns:
        LIDC-IDRI-0001 at 2.5 mm, (133, 144, 144), with structures and without a bone mask (see `separate_bone`).
    """
    with as_file(files("drr") / "data") as folder:
        return read_ct(folder / "lidc_idri_0001_ct_2p5mm.nii.gz", folder / "lidc_idri_0001_mask_2p5mm.nii.gz")


def _read(
    path: Path, rescale: tuple[float, float] | None = None, series: str | int | None = None, needs_geometry: bool = True
) -> Stored:
    """What a file or folder holds; every error of a library becomes one line with the path."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    try:
        name = path.name.lower()
        if path.is_file() and name.endswith(FILES):
            if series is not None:
                raise ValueError(f"{path}: series={series} is for folders of DICOM files")
            from drr.io.itk import read_itk
            from drr.io.nifti import read_nifti

            return read_nifti(path) if name.endswith(NIFTI) else read_itk(path)
        from drr.io.dicom.files import is_dicom
        from drr.io.dicom.series import read_dicom

        if path.is_dir() or is_dicom(path):
            return read_dicom(path, series, rescale, needs_geometry)
    except (RuntimeError, MemoryError, AttributeError, KeyError, TypeError, NotImplementedError, EOFError) as error:
        raise ValueError(f"{path}: cannot be read ({' '.join(str(error).split()) or type(error).__name__})") from error
    raise ValueError(f"{path}: not a CT that can be read; give .nii, .nii.gz, .mha, .mhd, .nrrd or a DICOM folder")


def _callers_affine(affine: np.ndarray) -> np.ndarray:
    matrix = np.array(affine, dtype=np.float64)
    if fault := affine_fault(matrix):
        raise ValueError(f"affine: {fault}; give (4, 4), index (x, y, z) -> LPS mm")
    return matrix


def _check_rescale(rescale: tuple[float, float]) -> None:
    if len(rescale) != 2 or not np.isfinite(rescale).all() or rescale[0] == 0:
        raise ValueError(f"rescale is {tuple(rescale)}; (slope, intercept) are needed, finite, the slope not 0")


def _hu(stored: Stored, rescale: tuple[float, float] | None, path: Path) -> np.ndarray:
    """HU as int16; int16 without scaling is taken as it is, without a copy."""
    values, scale = stored.values, stored.scale if rescale is None else rescale
    if stored.is_hu:
        return values
    if values.dtype.kind not in "iuf":
        raise ValueError(f"{path}: voxels of type {values.dtype}; a CT has one number a voxel")
    if values.dtype.kind == "u" and scale[1] == 0:
        raise ValueError(
            f"{path}: unsigned voxels without an offset cannot be Hounsfield units; give rescale=(slope, intercept) "
            "(--rescale on the command line)"
        )
    if values.dtype == np.int16 and tuple(scale) == (1.0, 0.0):
        return values if values.flags.writeable else values.copy()
    hu = np.empty(values.shape, np.int16)
    for out, plane in zip(hu, values):  # slice by slice, so that no float copy of the volume arises
        to_int16(plane, scale, out, str(path))
    return hu


def _with_labels(
    volume: Volume, path: Path, structures: str | Path | None, ct: Stored, matrix: np.ndarray | None
) -> Volume:
    """The volume with its label map, whose voxels lie where the CT's do; matrix: the caller's affine, if any."""
    stored = _read(path)
    values, shape = stored.values, ct.values.shape
    if stored.scale != (1.0, 0.0):
        values = values * stored.scale[0] + stored.scale[1]
    alike = values.shape == shape and np.allclose(stored.affine, ct.affine, atol=0.01)
    if sorted(values.shape) != sorted(shape):
        raise ValueError(f"{path}: the label map has shape {values.shape}, the CT {shape}; they must be equal")
    if alike and not (stored.fault and matrix is None):
        label_map, _ = _to_lps_axes(values, ct.affine if matrix is None else matrix)
    else:
        label_map, turned = _to_lps_axes(values, stored.affine)
        same = label_map.shape == volume.hu.shape and np.allclose(turned, volume.affine, atol=0.01)
        if matrix is not None or stored.fault or not same:
            raise ValueError(
                f"{path}: the label map lies on another grid than {volume.source}; resample it to the CT's"
            )
    return volume.replace(labels=_to_uint8(label_map, path), structures=_structures(path, structures))


def _to_uint8(label_map: np.ndarray, path: str | Path) -> np.ndarray:
    if label_map.min() < 0 or label_map.max() > 255 or (label_map != np.rint(label_map)).any():
        raise ValueError(
            f"{path}: a label map holds whole numbers from 0 to 255; {label_map.dtype} voxels out of range"
        )
    return label_map.astype(np.uint8, copy=False)


def _to_lps_axes(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Permute and flip the axes so that x, y, z run most nearly along +L, +P, +S; contiguous result and its affine."""
    order, flips = patient_axes(affine)
    affine = affine[:, [*order, 3]]
    array = array.transpose([2 - order[2 - k] for k in range(3)])
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (array.shape[2 - axis] - 1)
        affine[:3, axis] *= -1
    if not (array.flags.c_contiguous and array.flags.writeable):
        return np.ascontiguousarray(np.flip(array, tuple(2 - axis for axis in flips))), affine
    in_plane = tuple(1 - axis for axis in flips if axis < 2)
    if in_plane:  # slice by slice in place: a second volume would cost more than the flip
        for plane in array:
            plane[:] = np.flip(plane, in_plane).copy()
    if 2 in flips:
        for k in range(len(array) // 2):
            array[[k, -1 - k]] = array[[-1 - k, k]]
    return array, affine


def _structures(labels: Path, table: str | Path | None) -> dict[int, str]:
    beside = labels.with_name("structures.csv")
    source: Any = Path(table) if table else beside if beside.exists() else files("drr") / "data" / "structures.csv"
    names: dict[int, str] = {}
    for line, row in read_rows(source, ("id", "structure")):
        if not row["id"].strip().isdecimal() or names.setdefault(int(row["id"]), row["structure"]) != row["structure"]:
            raise ValueError(f"{source}, line {line}: id '{row['id']}'; a whole number, each only once, is needed")
    return names
