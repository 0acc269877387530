"""PNG, TIFF and JPEG: the grey levels, how many bits they use, and the way they are shown."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radiographs.depth import depth_in_use, depth_warning
from radiographs.kinds import HEAD_BYTES, what_else
from radiographs.png import encode_png

if TYPE_CHECKING:
    from jaxtyping import UInt
    from PIL.Image import Image

PICTURES = ("PNG", "TIFF", "JPEG")
SOFTWARE = "Radiolucent"
HIGHEST = "MaxSampleValue"  # TIFF's name for the level of white; a text chunk in our PNG files
BITS_PER_SAMPLE, PHOTOMETRIC, ORIENTATION, MAX_SAMPLE_VALUE, TIFF_SOFTWARE = 258, 262, 274, 281, 305
TRANSPARENT = "an alpha channel that makes pixels transparent: save the image without it"
TURNED_BY_A_QUARTER = (5, 6, 7, 8)  # EXIF orientations that swap height and width


@dataclass(frozen=True)
class Picture:
    """What a picture file holds.

    Attributes:
        levels: uint8 or uint16 (H, W), upright as the file is shown, black is 0.
        bits: White is 2**bits - 1.
        container_bits: That a level takes in the file, 8 or 16; more than `bits` if the upper ones are not used.
        kind: "png", "tiff" or "jpeg".
        warnings: Sentences for a person.
    """

    levels: UInt[np.ndarray, "height width"]
    bits: int
    container_bits: int
    kind: str
    warnings: tuple[str, ...] = ()


def decode_picture(data: bytes, path: Path) -> Picture:
    """Read a grey PNG, TIFF or JPEG.

    An image in 16 bits that uses 8, 10, 12 or 14 of them has that many `bits`, and a warning says so; not if the
    file itself names its white (TIFF's MaxSampleValue) or was written by this package, which spreads over 16.

    Args:
        data: The file's bytes.
        path: Its name, for messages.

    Returns:
        The picture.

    Raises:
        ValueError: Not one grey image (colour, transparency, several pages, floats), or damaged.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        picture = Image.open(io.BytesIO(data), formats=PICTURES)
        pages = getattr(picture, "n_frames", 1)
        mode, kind, orientation = picture.mode, str(picture.format).lower(), picture.getexif().get(ORIENTATION, 1)
        tags = dict(getattr(picture, "tag_v2", {}))
        picture.load()  # Pillow, unlike OpenCV, refuses a file that was cut short
        text = dict(getattr(picture, "text", {}))
        upright = ImageOps.exif_transpose(picture)  # TIFF's tag was applied, and taken away, by load()
    except UnidentifiedImageError:
        raise ValueError(f"{path}: {what_else(data[:HEAD_BYTES])}") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    refuse_transparency(picture, path)
    if pages != 1:
        raise ValueError(f"{path}: {pages} pages where one image was expected: save the page alone")
    if mode in ("1", "L"):
        return Picture(np.array(upright.convert("L")), 8, 8, kind)
    if mode.startswith("I;16"):
        return _deep(np.array(upright).astype(np.uint16, copy=False), kind, tags, text)
    if mode in ("I", "F") or mode not in ("P", "LA", "RGB", "RGBA"):
        raise ValueError(f"{path}: pixels of kind '{mode}' where 8 or 16 bit grey was expected: convert it first")
    if mode != "P" and (data[24] == 16 if kind == "png" else _first(tags.get(BITS_PER_SAMPLE, 8)) == 16):
        grey = one_channel(_decode_deep_colour(data, path, orientation), path)
        return _deep(grey, kind, tags, text, plain=False)
    colour = np.array(upright.convert("RGB") if mode == "P" else upright)
    return Picture(one_channel(colour, path), 8, 8, kind)


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width from a picture's header.

    Args:
        path: The file.

    Returns:
        (H, W) as the file is shown.

    Raises:
        ValueError: It is no PNG, TIFF or JPEG.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=PICTURES) as picture:
            size = picture.height, picture.width
            # TIFF's sides are swapped by Pillow already
            swapped = picture.format != "TIFF" and picture.getexif().get(ORIENTATION) in TURNED_BY_A_QUARTER
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path}: {error}") from None
    except (UnidentifiedImageError, OSError, SyntaxError):
        with open(path, "rb") as file:
            raise ValueError(f"{path}: {what_else(file.read(HEAD_BYTES))}") from None
    return size[::-1] if swapped else size


def encode_picture(levels: UInt[np.ndarray, "height width"], kind: str, note: str, highest: int | None = None) -> bytes:
    """The bytes of a grey picture.

    Args:
        levels: uint8 or uint16 (H, W).
        kind: "png", "tiff" or "jpeg".
        note: For its metadata.
        highest: White, if it is not the container's.

    Returns:
        A file's content.
    """
    from PIL import Image, TiffImagePlugin

    if kind == "png":
        text = {"Description": note, "Software": SOFTWARE}
        return encode_png(levels, text if highest is None else {**text, HIGHEST: str(highest)})
    picture = Image.fromarray(levels)
    content = io.BytesIO()
    if kind == "tiff":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        compression: str | None = "tiff_adobe_deflate"
        if highest is not None:
            tags[MAX_SAMPLE_VALUE] = highest
            compression = None  # libtiff, by which Pillow compresses, writes a 1 in its place
        options: dict[str, Any] = {"compression": compression, "description": note, "software": SOFTWARE}
        picture.save(content, "TIFF", tiffinfo=tags, **options)
    else:
        picture.save(content, "JPEG", quality=95, comment=note.encode())
    return content.getvalue()


def white_is_zero(picture: Image) -> bool:
    """Whether Pillow gives a TIFF's levels as they lie in the file, where 0 is white; those of 8 bits it inverts.

    Args:
        picture: A PIL image as it was opened.

    Returns:
        True for grey of more than 8 bits with this tag.
    """
    return picture.mode.startswith("I;16") and getattr(picture, "tag_v2", {}).get(PHOTOMETRIC) == 0


def _deep(levels: np.ndarray, kind: str, tags: dict[int, Any], text: dict[str, str], plain: bool = True) -> Picture:
    """A picture of more than 8 bits; plain: grey by its own, not by three equal channels."""
    container = _first(tags.get(BITS_PER_SAMPLE, 16))  # 12, packed, as film scanners write it, or 16
    named = _named_white(tags, text)
    bits: int = container
    warnings: tuple[str, ...] = ()
    highest = int(levels.max(initial=0))
    if named and highest < 2**named:
        bits = named
    elif container == 16 and SOFTWARE not in (text.get("Software"), tags.get(TIFF_SOFTWARE)):
        bits = depth_in_use(highest, 16)
        warnings = (depth_warning(bits, 16),) if bits < 16 else ()
    if (
        plain and tags.get(PHOTOMETRIC) == 0
    ):  # white is zero: Pillow turns 8-bit TIFFs with this tag, but not deeper ones
        levels = (2**bits - 1 - levels.astype(np.int32)).astype(np.uint16)
    return Picture(levels, bits, 16 if container == 16 else bits, kind, warnings)


def _named_white(tags: dict[int, Any], text: dict[str, str]) -> int | None:
    """The bits of the white that a file names; None where it names none, or one that is not 2**bits - 1."""
    try:
        white = int(_first(tags.get(MAX_SAMPLE_VALUE, 0)) or text.get(HIGHEST, 0))
    except ValueError:
        return None
    bits = white.bit_length()
    return bits if 8 <= bits <= 16 and white == 2**bits - 1 else None


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) else value


def _decode_deep_colour(data: bytes, path: Path, orientation: int) -> np.ndarray:
    """(H, W, C) uint16 of 16-bit channels, which Pillow would make 8-bit ones; upright."""
    import cv2

    deep = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if deep is None or deep.ndim != 3 or deep.dtype != np.uint16:
        raise ValueError(f"{path}: 16-bit channels that cannot be read: save it as 16 bit grey")
    if orientation != 1:
        raise ValueError(f"{path}: 16-bit channels with EXIF orientation {orientation}: save it upright")
    return deep


def refuse_transparency(picture: Image, path: Path) -> None:
    """Refuse an image in which a grey, a colour or an entry of the palette is transparent, as PNG can have it (tRNS).

    Args:
        picture: A PIL image, loaded. An alpha channel is left to `one_channel`.
        path: For messages.

    Raises:
        ValueError: A pixel is transparent.
    """
    clear = picture.info.get("transparency")
    if clear is None or picture.mode in ("LA", "RGBA"):
        return
    if picture.mode == "P":
        transparent = np.asarray(picture.convert("RGBA"))[..., 3] < np.iinfo(np.uint8).max
    else:  # one grey, or one colour
        levels = np.asarray(picture)
        if levels.ndim == 3 and max(clear) > np.iinfo(np.uint8).max:  # Pillow makes 8 bits of 16, but for this
            clear = tuple(level >> 8 for level in clear)
        transparent = levels == clear if levels.ndim == 2 else (levels == np.asarray(clear)).all(axis=-1)
    if transparent.any():
        raise ValueError(f"{path}: {TRANSPARENT}")


def one_channel(colour: UInt[np.ndarray, "height width channels"], path: Path) -> UInt[np.ndarray, "height width"]:
    """The grey image in equal colour channels and an opaque alpha channel.

    Args:
        colour: (H, W, C).
        path: For messages.

    Returns:
        (H, W).

    Raises:
        ValueError: The channels differ, or something is transparent.
    """
    channels = colour.shape[-1]
    shades = colour[..., : channels - 1] if channels in (2, 4) else colour
    opaque = channels == 3 or (colour[..., -1] == np.iinfo(colour.dtype).max).all()
    if not opaque:
        raise ValueError(f"{path}: {TRANSPARENT}")
    if (shades != shades[..., :1]).any():
        raise ValueError(
            f"{path}: {channels} channels that differ, where a grey image (1 channel, or equal channels) was expected"
        )
    return np.ascontiguousarray(shades[..., 0])
