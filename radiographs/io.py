"""Radiographs in and out of files, in one convention: float32 (H, W) in [-1, 1], bones bright.

-1 is the file's lowest grey level and 1 its highest. Reading and writing again gives back the same levels.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radiographs.dicom import SIGNATURE, decode_dicom, dicom_size, encode_dicom
from radiographs.files import atomic_path
from radiographs.png import encode_png

PICTURES = ("PNG", "TIFF", "JPEG")
DISCLAIMER = "Research use only"
FORMATS = {
    ".png": "png",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".dcm": "dicom",
    ".dicom": "dicom",
}


@dataclass(frozen=True, eq=False)
class Radiograph:
    """A radiograph and what is needed to write one like it.

    pixels: float32 (H, W) in [-1, 1], bones bright.
    bits: grey levels in the file are 0 .. 2**bits - 1.
    format: "png", "tiff", "jpeg" or "dicom".
    header: for DICOM, the attributes that a derived image keeps, as a pydicom Dataset; else None.
    """

    pixels: np.ndarray
    bits: int
    format: str
    header: Any = None


def to_unit(levels: np.ndarray, bits: int) -> np.ndarray:
    """Grey levels 0 .. 2**bits - 1 -> float32 in [-1, 1]."""
    return (levels.astype(np.float32) * np.float32(2 / (2**bits - 1)) - np.float32(1)).clip(-1, 1)


def to_levels(pixels: np.ndarray, bits: int) -> np.ndarray:
    """[-1, 1] -> the nearest grey level, uint8 for up to 8 bits and uint16 above. Values outside are clipped."""
    if not np.isfinite(pixels).all():
        raise ValueError("the image holds values that are not finite numbers: it was not written")
    scaled = (np.clip(pixels, -1, 1).astype(np.float64) + 1) * ((2**bits - 1) / 2)
    return np.rint(scaled).astype(np.uint8 if bits <= 8 else np.uint16)


def read_radiograph(path: str | Path) -> Radiograph:
    """Read a grey PNG, TIFF or JPEG (8 or 16 bit) or a DICOM radiograph; what it is, is told from its content.

    DICOM: the modality LUT or rescale, the first VOI LUT or window, and MONOCHROME1 are applied as PS3.3 C.11 says.
    Raises FileNotFoundError, or ValueError for what is not one grey image (colour, several frames, floats, damage).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    data = path.read_bytes()
    if data[128:132] == SIGNATURE:
        pixels, bits, header = decode_dicom(data, str(path))
        return Radiograph(pixels, bits, "dicom", header)
    levels, bits, kind = _decode_picture(data, path)
    if not levels.size:
        raise ValueError(f"{path}: an image without pixels")
    return Radiograph(to_unit(levels, bits), bits, kind)


def radiograph_size(path: str | Path) -> tuple[int, int]:
    """(H, W) from the file's header alone. Errors as in `read_radiograph`, as far as the header shows them."""
    from PIL import Image, UnidentifiedImageError

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    with open(path, "rb") as file:
        if file.read(132)[128:] == SIGNATURE:
            return dicom_size(path)
    try:
        with Image.open(path, formats=PICTURES) as picture:
            return picture.height, picture.width
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError):
        raise ValueError(f"{path}: neither PNG, TIFF, JPEG nor DICOM, or damaged") from None


def _decode_picture(data: bytes, path: Path) -> tuple[np.ndarray, int, str]:
    """The levels (H, W) uint8 or uint16, the bits and the format of a PNG, TIFF or JPEG."""
    from PIL import Image, UnidentifiedImageError

    try:
        picture = Image.open(io.BytesIO(data), formats=PICTURES)
        pages = getattr(picture, "n_frames", 1)
        if pages != 1:
            raise ValueError(f"{path}: {pages} pages where one image was expected: save the page alone")
        mode, kind = picture.mode, str(picture.format).lower()
        picture.load()  # Pillow, unlike OpenCV, refuses a file that was cut short
    except UnidentifiedImageError:
        raise ValueError(f"{path}: neither PNG, TIFF, JPEG nor DICOM, or damaged") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    tags = getattr(picture, "tag_v2", {})
    if mode in ("1", "L"):
        return np.array(picture.convert("L")), 8, kind
    if mode.startswith("I;16"):
        levels = np.array(picture).astype(np.uint16)
        white_is_zero = tags.get(262) == 0  # Pillow turns 8-bit TIFFs with this tag, but not 16-bit ones
        return (np.uint16(65535) - levels if white_is_zero else levels), 16, kind
    if mode in ("I", "F") or mode not in ("P", "LA", "RGB", "RGBA"):
        raise ValueError(f"{path}: pixels of kind '{mode}' where 8 or 16 bit grey was expected: convert it first")
    if mode in ("RGB", "RGBA") and (data[24] == 16 if kind == "png" else tags.get(258, (8,))[0] == 16):
        import cv2

        deep = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)  # Pillow would make it 8 bit
        if deep is None:
            raise ValueError(f"{path}: cannot be read")
        return _one_channel(deep, path), 16, kind
    colour = np.array(picture.convert("RGB") if mode == "P" else picture)
    return _one_channel(colour, path), 8, kind


def _one_channel(colour: np.ndarray, path: Path) -> np.ndarray:
    """The grey image in (H, W, C) of equal colour channels and an opaque alpha channel."""
    channels = colour.shape[-1]
    shades = colour[..., : channels - 1] if channels in (2, 4) else colour
    opaque = channels == 3 or (colour[..., -1] == np.iinfo(colour.dtype).max).all()
    if not opaque or (shades != shades[..., :1]).any():
        raise ValueError(
            f"{path}: {channels} channels that differ, where a grey image (1 channel, or equal channels) was expected"
        )
    return np.ascontiguousarray(shades[..., 0])


def write_radiograph(
    path: str | Path,
    pixels: np.ndarray,
    bits: int = 16,
    *,
    source: Radiograph | None = None,
    description: str = "",
    keep_identity: bool = False,
) -> None:
    """Write float32 (H, W) in [-1, 1] as PNG, TIFF, JPEG or DICOM, by the suffix of `path`, in one step.

    bits: levels 0 .. 2**bits - 1. PNG and TIFF hold 8 or 16 bits (more than 8 are spread over 16), JPEG holds 8.
    source: the radiograph that it was made from; a DICOM file refers to it.
    description: what was done, for the metadata, after "Research use only".
    keep_identity: DICOM only: keep the patient's identity and the study; otherwise both are left out.
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
        content = encode_dicom(to_levels(pixels, bits), bits, header, note, keep_identity)
    else:
        if kind == "jpeg" and bits > 8:
            raise ValueError(f"{path}: JPEG holds 8 bits and the image has {bits}: write PNG, TIFF or DICOM")
        content = _encode_picture(to_levels(pixels, 8 if bits <= 8 else 16), kind, note)
    with atomic_path(path) as part:
        part.write_bytes(content)


def _encode_picture(levels: np.ndarray, kind: str, note: str) -> bytes:
    from PIL import Image

    if kind == "png":
        return encode_png(levels, {"Description": note, "Software": "Radiolucent"})
    picture = Image.fromarray(levels)
    content = io.BytesIO()
    if kind == "tiff":
        picture.save(content, "TIFF", compression="tiff_adobe_deflate", description=note, software="Radiolucent")
    else:
        picture.save(content, "JPEG", quality=95, comment=note.encode())
    return content.getvalue()
