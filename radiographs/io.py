"""Radiographs in and out of files, in one convention: float32 (H, W) in [-1, 1], bones bright.

-1 is the file's lowest grey level and 1 its highest. Reading and writing again gives back the same levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radiographs.dicom.derived import encode_dicom
from radiographs.dicom.read import decode_dicom, dicom_size
from radiographs.files import atomic_path
from radiographs.kinds import FORMATS, HEAD_BYTES, kind_of, kind_of_file
from radiographs.pictures import decode_picture, encode_picture, picture_size

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Integer, UInt

PART_PIXELS = 1 << 15
DISCLAIMER = "Research use only"


@dataclass(frozen=True, eq=False)
class Radiograph:
    """A radiograph and what is needed to write one like it.

    Attributes:
        pixels: float32 (H, W) in [-1, 1], bones bright.
        bits: Grey levels in the file are 0 .. 2**bits - 1.
        format: "png", "tiff", "jpeg" or "dicom".
        header: For DICOM, the attributes that a derived image keeps, as a pydicom Dataset; else None.
        container_bits: That a level takes in a picture's file; more than `bits` if the upper ones are not used. None:
            as `bits`.
        warnings: What a person should know about how the file was read, a sentence each.
    """

    pixels: Float32[np.ndarray, "height width"]
    bits: int
    format: str
    header: Any = None
    container_bits: int | None = None
    warnings: tuple[str, ...] = ()

    @property
    def has_unused_bits(self) -> bool:
        """Whether the file's levels could be larger than those in use."""
        return self.container_bits is not None and self.container_bits > self.bits


def to_unit(levels: Integer[np.ndarray, "*shape"], bits: int) -> Float32[np.ndarray, "*shape"]:
    """Grey levels on the scale of the package.

    Args:
        levels: (H, W) in 0 .. 2**bits - 1.
        bits: Of a level.

    Returns:
        float32 (H, W) in [-1, 1].
    """
    return (levels.astype(np.float32) * np.float32(2 / (2**bits - 1)) - np.float32(1)).clip(-1, 1)


def to_levels(pixels: Float[np.ndarray, "*shape"], bits: int) -> UInt[np.ndarray, "*shape"]:
    """The nearest grey levels; values outside of [-1, 1] are clipped.

    Args:
        pixels: (H, W) in [-1, 1].
        bits: Of a level.

    Returns:
        (H, W), uint8 for up to 8 bits and uint16 above.

    Raises:
        ValueError: Values that are not finite.
    """
    if not np.isfinite(pixels).all():
        raise ValueError("the image holds values that are not finite numbers: it was not written")
    flat = np.ascontiguousarray(pixels).reshape(-1)
    levels = np.empty(flat.shape, np.uint8 if bits <= 8 else np.uint16)
    for first in range(0, flat.size, PART_PIXELS):  # float64 takes room: parts that stay in the processor's cache
        part = np.clip(flat[first : first + PART_PIXELS], -1, 1).astype(np.float64)
        part += 1
        part *= (2**bits - 1) / 2
        levels[first : first + PART_PIXELS] = np.rint(part, out=part)
    return levels.reshape(pixels.shape)


def read_radiograph(path: str | Path) -> Radiograph:
    """Read a grey PNG, TIFF or JPEG (8 or 16 bit) or a DICOM radiograph; its content says what it is, not its name.

    DICOM: the modality LUT or rescale, the first VOI LUT or window, MONOCHROME1 and Presentation LUT Shape are applied
    as PS3.3 C.11 says. Pictures are turned as EXIF says. 8 to 14 bits in use of 16 are taken for the whole range, and
    `warnings` say so; for images that belong together see `at_one_depth`.

    Args:
        path: The file.

    Returns:
        The radiograph.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Not one grey image (colour, several frames, floats, damage), with the file's name and the reason.

    Example:
        >>> image = read_radiograph("radiograph.png")  # doctest: +SKIP
        >>> write_radiograph("copy.png", image.pixels, image.bits, source=image)  # doctest: +SKIP
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    data = path.read_bytes()
    if kind_of(data[:HEAD_BYTES]) == "dicom":
        decoded = decode_dicom(data, str(path))
        return Radiograph(decoded.pixels, decoded.bits, "dicom", decoded.header, warnings=decoded.warnings)
    picture = decode_picture(data, path)
    if not picture.levels.size:
        raise ValueError(f"{path}: an image without pixels")
    pixels = to_unit(picture.levels, picture.bits)
    return Radiograph(
        pixels, picture.bits, picture.kind, container_bits=picture.container_bits, warnings=picture.warnings
    )


def at_one_depth(radiographs: Sequence[Radiograph]) -> list[Radiograph]:
    """Images that belong together (a radiograph and its soft tissue) on one scale.

    Each alone may use another number of its file's 16 bits, a dim soft-tissue image fewer than its radiograph. All
    whose file has 16 bits a level get the largest depth in use among them.

    Args:
        radiographs: As `read_radiograph` gives them.

    Returns:
        They in the same order, rescaled if needed.
    """
    deep = [image.bits for image in radiographs if image.container_bits == 16]
    bits = max(deep, default=16)
    return [_at_depth(image, bits) if image.has_unused_bits else image for image in radiographs]


def read_together(paths: Mapping[str, str | Path]) -> dict[str, Radiograph]:
    """`read_radiograph` of images that belong together, on one scale (see `at_one_depth`).

    Args:
        paths: Files by role.

    Returns:
        Radiographs by role.

    Raises:
        FileNotFoundError: As `read_radiograph`.
        ValueError: As `read_radiograph`.
    """
    return dict(zip(paths, at_one_depth([read_radiograph(path) for path in paths.values()])))


def _at_depth(image: Radiograph, bits: int) -> Radiograph:
    if image.bits == bits:
        return image
    scale = np.float32((2**image.bits - 1) / (2**bits - 1))
    return replace(image, pixels=(image.pixels + 1) * scale - 1, bits=bits)


def radiograph_size(path: str | Path) -> tuple[int, int]:
    """Height and width from the file's header alone.

    Args:
        path: The file.

    Returns:
        (H, W) as the image is shown.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As `read_radiograph`, as far as the header shows it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    return dicom_size(path) if kind_of_file(path) == "dicom" else picture_size(path)


def write_radiograph(
    path: str | Path,
    pixels: Float[np.ndarray, "height width"],
    bits: int = 16,
    *,
    source: Radiograph | None = None,
    description: str = "",
    keep_identity: bool = False,
    uid_key: str = "",
) -> None:
    """Write an image as PNG, TIFF, JPEG or DICOM, by the suffix of `path`, in one step.

    Args:
        path: The file; its folder is made.
        pixels: float32 (H, W), clipped to [-1, 1].
        bits: Levels 0 .. 2**bits - 1. PNG and TIFF hold 8 or 16 bits (more than 8 are spread over 16, but for a source
            in whose file they were not), JPEG holds 8.
        source: The radiograph that it was made from; a DICOM file refers to it.
        description: What was done, for the metadata, after "Research use only".
        keep_identity: DICOM only: keep the patient's identity and the study; otherwise both are left out.
        uid_key: DICOM only: the secret of this run that the source's UIDs are replaced by (see `deidentify`).

    Raises:
        ValueError: An image of another shape, not finite, or that the format does not hold.
    """
    path = Path(path)
    pixels = np.asarray(pixels)
    if pixels.ndim != 2 or not pixels.size:
        raise ValueError(f"{path}: an image of shape {pixels.shape} where (H, W) was expected")
    if not 1 <= bits <= 16:
        raise ValueError(f"{path}: {bits} bits where 1 to 16 were expected")
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"{path}: unknown suffix '{path.suffix}': use one of {', '.join(FORMATS)}")
    note = f"{DISCLAIMER}. {description}".strip()
    if kind == "dicom":
        header = None if source is None else source.header
        content = encode_dicom(to_levels(pixels, bits), bits, header, note, keep_identity, uid_key)
    else:
        if kind == "jpeg" and bits > 8:
            raise ValueError(f"{path}: JPEG holds 8 bits and the image has {bits}: write PNG, TIFF or DICOM")
        if kind != "jpeg" and source is not None and source.has_unused_bits and source.bits == bits:
            # the levels as in the source's file
            levels = to_levels(pixels, bits).astype(np.uint16)
            content = encode_picture(levels, kind, note, highest=2**bits - 1)
        else:
            content = encode_picture(to_levels(pixels, 8 if bits <= 8 else 16), kind, note)
    with atomic_path(path) as part:
        part.write_bytes(content)
