"""CT volumes from files: NIfTI, DICOM folder, MHA, NRRD."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from .volume import Volume

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 has 348
PACKED_HEADER = 1 << 16  # bytes that hold a header, compressed or not


def read_ct(
    path: str | Path,
    labels: str | Path | None = None,
    structures: str | Path | None = None,
    rescale: tuple[float, float] | None = None,
    affine: np.ndarray | None = None,
) -> Volume:
    """Read a CT and, if given, its label map.

    path: .nii, .nii.gz, .mha, .mhd, .nrrd or a folder of one DICOM series.
    labels: label map on the same grid; structures: CSV with columns `id` and `structure` (default: structures.csv
        beside the label map, else the packaged TotalSegmentator table).
    rescale: (slope, intercept) that turn stored values into HU, in place of the header's.
    affine: (4, 4) index (x, y, z) -> LPS mm for the voxels as stored, in place of the header's.

    Returns int16 HU with the axes turned so that x, y, z run most nearly to the patient's left, back and head
    (the affine says exactly how), whatever the handedness on disk.
    FileNotFoundError, ValueError: missing, truncated or 2-D file, NaN, no spacing, values that cannot be HU.
    """
    path = Path(path)
    values, stored_affine, scale = _read(path)
    hu = _to_int16(values, scale if rescale is None else rescale, path)
    del values
    matrix = stored_affine if affine is None else np.asarray(affine, dtype=np.float64)
    _check_spacing(matrix, path)
    hu, turned = _to_lps_axes(hu, matrix)
    if labels is None:
        return Volume(hu, turned, source=path.name)
    label_map, label_affine, _ = _read(Path(labels))
    if label_map.shape != hu.shape and label_map.size != hu.size:
        raise ValueError(f"{labels}: the label map has shape {label_map.shape}, the CT {hu.shape}; they must be equal")
    if not np.allclose(label_affine, stored_affine, atol=0.01):
        raise ValueError(f"{labels}: the label map lies on another grid than {path.name}; resample it to the CT's")
    label_map, _ = _to_lps_axes(label_map, matrix)
    return Volume(hu, turned, _to_uint8(label_map, labels), _structures(Path(labels), structures), source=path.name)


def sample_ct() -> Volume:
    """The packaged chest CT (LIDC-IDRI-0001, 2.5 mm, 133 x 144 x 144) with its label map; see drr/data/README.md."""
    with as_file(files("drr") / "data") as folder:
        return read_ct(folder / "lidc_idri_0001_ct_2p5mm.nii.gz", folder / "lidc_idri_0001_mask_2p5mm.nii.gz")


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Stored values (D, H, W), LPS affine, (slope, intercept)."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if path.is_dir():
        return _read_dicom(path)
    if path.name.endswith((".nii", ".nii.gz")):
        return _read_nifti(path)
    if path.name.endswith((".mha", ".mhd", ".nrrd", ".nhdr")):
        return _read_simpleitk(path)
    raise ValueError(f"{path}: not a CT that can be read; give .nii, .nii.gz, .mha, .mhd, .nrrd or a DICOM folder")


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """A NIfTI file as it is stored: no scaling, no float copy."""
    import nibabel

    raw: Any = np.fromfile(path, np.uint8)  # numpy's memory comes in large pages: a third of the time of read_bytes
    packed = path.suffix == ".gz"
    try:
        start = raw[:PACKED_HEADER].tobytes()
        if packed:
            start = zlib.decompressobj(31).decompress(start, HEADER_BYTES)
        kind = nibabel.Nifti2Header if start[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nibabel.Nifti1Header
        header = kind.from_fileobj(io.BytesIO(start), check=False)  # the check would repair silently
        dtype = header.get_data_dtype()
    except (zlib.error, nibabel.spatialimages.HeaderDataError, nibabel.wrapstruct.WrapStructError) as error:
        raise ValueError(f"{path}: not a NIfTI file ({error})") from error
    if bytes(header["magic"])[:3] not in (b"n+1", b"n+2"):
        raise ValueError(f"{path}: not a NIfTI file of one part (magic {bytes(header['magic'])!r})")
    shape = tuple(int(n) for n in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 2:
        raise ValueError(f"{path}: an image of shape {shape}; a 3-D CT is needed")
    offset = int(header["vox_offset"])
    size = offset + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if packed:
        raw = _gunzip(raw, size, path)
    if len(raw) != size:
        raise ValueError(
            f"{path}: holds {len(raw)} bytes, its header promises {size} for shape {shape} of {dtype}; "
            "the file is truncated or its header is wrong"
        )
    values = np.frombuffer(raw, dtype, offset=offset).reshape(shape[::-1])
    slope, intercept = header.get_slope_inter()
    if (header["pixdim"][1:4] == 0).any():
        raise ValueError(f"{path}: a voxel spacing of {header['pixdim'][1:4]} mm; give the affine or repair the header")
    affine = LPS_FROM_RAS @ header.get_best_affine()
    return values, affine, (1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept))


def _gunzip(raw: bytes, size: int, path: Path) -> Any:
    """Decompress by libdeflate into `size` bytes; files of several gzip members go through Python's gzip."""
    import deflate

    try:
        data = deflate.gzip_decompress(raw, size)
        if len(data) == size:
            return data
    except deflate.DeflateError:
        pass
    try:
        with gzip.open(io.BytesIO(raw)) as stream:
            return bytearray(stream.read(size + 1))  # one more shows a file that is longer than its header says
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: damaged or truncated gzip ({error})") from error


def _read_dicom(folder: Path) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    import SimpleITK as sitk

    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not series:
        raise ValueError(f"{folder}: no DICOM series in this folder")
    if len(series) > 1:
        raise ValueError(f"{folder}: {len(series)} DICOM series in this folder; give a folder with one")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0]))
    reader.MetaDataDictionaryArrayUpdateOn()
    values, affine, scale = _from_simpleitk(reader, folder)
    places = [_numbers(reader.GetMetaData(i, "0020|0032")) for i in range(len(values))]
    steps = np.linalg.norm(np.diff(np.array(places), axis=0), axis=1)
    if steps.max() > 1.5 * np.median(steps):
        raise ValueError(
            f"{folder}: slices are missing (a step of {steps.max():g} mm where {np.median(steps):g} is usual)"
        )
    return values, affine, scale


def _read_simpleitk(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    return _from_simpleitk(reader, path)


def _from_simpleitk(reader: Any, path: Path) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """SimpleITK applies the rescale slope and intercept of the file itself."""
    import SimpleITK as sitk

    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise ValueError(f"{path}: cannot be read ({str(error).strip().splitlines()[-1]})") from error
    if image.GetDimension() != 3 or min(image.GetSize()) < 2 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(f"{path}: an image of size {image.GetSize()}; a 3-D CT of one channel is needed")
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), affine, (1.0, 0.0)


def _to_int16(values: np.ndarray, scale: tuple[float, float], path: Path) -> np.ndarray:
    """HU as int16; int16 without scaling is taken as it is, without a copy."""
    if values.dtype.kind not in "iuf":
        raise ValueError(f"{path}: voxels of type {values.dtype}; a CT has one number a voxel")
    if values.dtype.kind == "u" and scale[1] == 0:
        raise ValueError(
            f"{path}: unsigned voxels without an offset cannot be Hounsfield units; give rescale=(slope, intercept)"
        )
    if values.dtype == np.int16 and scale == (1.0, 0.0):
        return values if values.flags.writeable else values.copy()
    hu = np.empty(values.shape, np.int16)
    for out, plane in zip(hu, values):  # slice by slice, so that no float copy of the volume arises
        scaled = plane * np.float32(scale[0]) + np.float32(scale[1])
        if not np.isfinite(scaled).all():
            raise ValueError(f"{path}: NaN or infinite voxels; repair the file")
        np.copyto(out, np.rint(np.clip(scaled, -32768, 32767)), casting="unsafe")
    return hu


def _to_uint8(label_map: np.ndarray, path: str | Path) -> np.ndarray:
    if label_map.min() < 0 or label_map.max() > 255 or (label_map != np.rint(label_map)).any():
        raise ValueError(
            f"{path}: a label map holds whole numbers from 0 to 255; {label_map.dtype} voxels out of range"
        )
    return label_map.astype(np.uint8, copy=False)


def _to_lps_axes(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Permute and flip the axes so that x, y, z run most nearly along +L, +P, +S; contiguous result and its affine."""
    from scipy.optimize import linear_sum_assignment

    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    order = linear_sum_assignment(-np.abs(cosines))[1]  # order[world axis] = index axis
    affine = affine[:, [*order, 3]]
    array = array.transpose([2 - order[2 - k] for k in range(3)])
    flips = [axis for axis in range(3) if affine[axis, axis] < 0]
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


def _check_spacing(affine: np.ndarray, path: Path) -> None:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or spacing.min() <= 0 or np.linalg.matrix_rank(affine[:3, :3]) < 3:
        raise ValueError(f"{path}: a voxel spacing of {spacing} mm; give the affine or repair the header")


def _structures(labels: Path, table: str | Path | None) -> dict[int, str]:
    beside = labels.with_name("structures.csv")
    source: Any = Path(table) if table else beside if beside.exists() else files("drr") / "data" / "structures.csv"
    with source.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or not {"id", "structure"} <= rows[0].keys():
        raise ValueError(f"{source}: a table of structures has the columns id and structure")
    return {int(row["id"]): row["structure"] for row in rows}


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split("\\")]
