"""NIfTI files, as the header says and no more: nothing is repaired or filled in without a word."""

from __future__ import annotations

import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drr.io.stored import FILLED_IN, Stored, affine_fault, is_filled_in

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 has 348
PACKED_HEADER = 1 << 16  # bytes that hold a header, compressed or not
MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # metres and micrometres; 2 is mm, and 0, unknown, is taken for mm as ITK does
GZIP = b"\x1f\x8b"
MOST_PACKED = 1032  # deflate's largest ratio: a header that promises more is wrong


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What a NIfTI header says.

    Attributes:
        shape: (x, y, z).
        dtype: Of a voxel.
        offset: Of the voxels in bytes.
        affine: As in `Stored`.
        scale: As in `Stored`.
        fault: As in `Stored`.
        notes: As in `Stored`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    affine: np.ndarray
    scale: tuple[float, float]
    fault: str
    notes: tuple[str, ...]

    @property
    def end(self) -> int:
        """Bytes of the whole file, unpacked."""
        return self.offset + int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def read_header(path: Path) -> NiftiHeader:
    """The header alone.

    Args:
        path: .nii or .nii.gz.

    Returns:
        The header.

    Raises:
        FileNotFoundError: No such file.
        ValueError: No NIfTI file, or a header that describes no 3-D image.
    """
    with path.open("rb") as stream:
        return _parse(stream.read(PACKED_HEADER), path)


def read_nifti(path: Path) -> Stored:
    """A file as it is stored: no scaling, no float copy.

    Args:
        path: .nii or .nii.gz.

    Returns:
        Voxels and geometry.

    Raises:
        ValueError: No NIfTI file, truncated, or not 3-D.
    """
    raw: Any = np.fromfile(path, np.uint8)  # numpy's memory comes in large pages: a third of the time of read_bytes
    header = _parse(raw[:PACKED_HEADER].tobytes(), path)
    size, held = header.end, len(raw)
    if raw[:2].tobytes() == GZIP:  # whatever the name says
        raw = _gunzip(raw, size, path) if size <= MOST_PACKED * held else raw[:0]
        held = len(raw)
    if held != size:
        there = f"{held} bytes" if held else "far less"
        raise ValueError(
            f"{path}: holds {there}, its header promises {size} for shape {header.shape} of {header.dtype}; "
            "the file is truncated or its header is wrong"
        )
    values = np.frombuffer(raw, header.dtype, offset=header.offset).reshape(header.shape[::-1])
    return Stored(values, header.affine, header.scale, header.fault, header.notes)


def _parse(start: bytes, path: Path) -> NiftiHeader:
    """The header in a file's first bytes, packed or not."""
    import nibabel

    broken = (zlib.error, nibabel.spatialimages.HeaderDataError, nibabel.wrapstruct.WrapStructError, ValueError)
    try:
        if start[:2] == GZIP:
            start = zlib.decompressobj(31).decompress(start, HEADER_BYTES)
        kind = nibabel.Nifti2Header if start[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nibabel.Nifti1Header
        header: Any = kind.from_fileobj(io.BytesIO(start), check=False)  # the check would repair silently
        dtype = header.get_data_dtype()
        shape = tuple(int(n) for n in header.get_data_shape())
        slope, intercept = header.get_slope_inter()
        offset = int(header["vox_offset"])
    except (*broken, OverflowError) as error:
        raise ValueError(f"{path}: not a NIfTI file ({' '.join(str(error).split())})") from None
    except KeyError as error:
        raise ValueError(f"{path}: not a NIfTI file (unknown data type {error})") from None
    if dtype.kind not in "iuf":
        raise ValueError(f"{path}: voxels of type {dtype}; a CT has one number a voxel")
    if bytes(header["magic"])[:3] not in (b"n+1", b"n+2"):
        raise ValueError(f"{path}: not a NIfTI file of one part (magic {bytes(header['magic'])!r})")
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 2:
        raise ValueError(f"{path}: an image of shape {shape}; a 3-D CT is needed")
    if offset < header.sizeof_hdr:
        raise ValueError(f"{path}: its voxels begin at byte {offset}, within the header; the header is wrong")
    scale = (1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept))
    affine, fault, notes = _geometry(header)
    return NiftiHeader(shape, dtype, offset, affine, scale, fault, notes)


def _geometry(header: Any) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """(affine to LPS mm, why it cannot be believed, notes). The sform counts before the qform, as in nibabel."""
    import nibabel

    if header["pixdim"][0] == 0:
        header["pixdim"][0] = 1  # nifti1.h: "if qfac is 0, use 1"
    zooms = np.array(header["pixdim"][1:4], np.float64)
    by_sform, by_qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    if not (by_sform or by_qform):
        spacing = ", ".join(f"{mm:g}" for mm in zooms)
        return np.eye(4), f"the header gives no orientation (sform and qform have code 0; spacing {spacing})", ()
    try:
        affine = LPS_FROM_RAS @ (header.get_sform() if by_sform else header.get_qform())
    except (nibabel.spatialimages.HeaderDataError, ValueError) as error:
        return np.eye(4), f"the header's qform cannot be read ({error})", ()
    affine[:3] *= MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    fault = affine_fault(affine) or (FILLED_IN if is_filled_in(affine) else "")
    notes = []
    spacing = np.linalg.norm(header.get_sform()[:3, :3], axis=0)
    if by_sform and not fault and (zooms > 0).all() and not np.allclose(zooms, spacing, rtol=0.01):
        said = [", ".join(f"{mm:.4g}" for mm in of) for of in (spacing, zooms)]
        notes.append(f"spacing: ({said[0]}) by the header's sform, ({said[1]}) by its pixdim; the sform was taken")
    return affine, fault, tuple(notes)


def _gunzip(raw: Any, size: int, path: Path) -> Any:
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
