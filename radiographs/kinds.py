"""What a file is, by its content: names lie (a PNG named .dcm, a DICOM file without a suffix, macOS's ._ files)."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from radiographs.png import SIGNATURE as PNG_SIGNATURE

FORMATS = {
    ".png": "png",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".dcm": "dicom",
    ".dicom": "dicom",
}
THREADS = 8  # that look into files at once: the time is the storage's
HEAD_BYTES = 132  # enough to recognise each format
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
APPLE_DOUBLE = b"\x00\x05\x16\x07"
FIRST_GROUPS = (0x0002, 0x0008)  # with which a DICOM file without a preamble begins
LONGEST_FIRST_ELEMENT = 1 << 16


def kind_of(head: bytes) -> str | None:
    """The format of a file from its first bytes.

    DICOM without its preamble of 128 bytes (as old archives keep it) is recognised by its first element.

    Args:
        head: The first `HEAD_BYTES` bytes.

    Returns:
        "png", "tiff", "jpeg", "dicom", or None for another.
    """
    if head[128:132] == b"DICM":
        return "dicom"
    if head.startswith(PNG_SIGNATURE):
        return "png"
    if head.startswith(TIFF_SIGNATURES):
        return "tiff"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    return "dicom" if _begins_with_an_element(head) else None


def kind_of_file(path: Path) -> str | None:
    """`kind_of` a file.

    Args:
        path: The file.

    Returns:
        The format, or None.

    Raises:
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        return kind_of(file.read(HEAD_BYTES))


def what_else(head: bytes) -> str:
    """Words for a file that is none of the formats, for a message.

    Args:
        head: The file's first bytes, as many as `kind_of` looks at.

    Returns:
        A noun phrase, such as "an empty file".
    """
    if not head:
        return "an empty file"
    if head.startswith(APPLE_DOUBLE):
        return "macOS's notes on a file, not the file"
    if kind := kind_of(head):
        return f"a {kind.upper()} file that is damaged, or of a variant that is not read: save it anew as PNG"
    return "neither PNG, TIFF, JPEG nor DICOM, or damaged"


def _begins_with_an_element(head: bytes) -> bool:
    if len(head) < 8:
        return False
    for order in "<>":
        group, element = struct.unpack_from(f"{order}HH", head)
        if group not in FIRST_GROUPS or element > 0x3000:
            continue
        length = struct.unpack_from(f"{order}I", head, 4)[0]
        if (head[4:6].isalpha() and head[4:6].isupper()) or length < LONGEST_FIRST_ELEMENT:
            return True
    return False


def radiographs_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files in a folder and below it, in order.

    A file is a radiograph by its content, or by its suffix alone: what a damaged .png holds must be reported, not
    passed over. Among the others are hidden files (.DS_Store, macOS's ._scan.png), DICOMDIR, __MACOSX and linked
    folders.

    Args:
        folder: Where to look.

    Returns:
        Those that are or claim to be radiographs, and the others.
    """
    found: list[Path] = []
    others: list[Path] = []
    unclear: list[Path] = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            others += [path] if path.is_symlink() else []  # a linked folder, which is not searched, or a dead link
            continue
        inside = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in inside)
        if hidden or path.name.upper().startswith("DICOMDIR"):
            others.append(path)
        else:
            (found if _claims(path) else unclear).append(path)
    with ThreadPoolExecutor(THREADS) as pool:
        for path, is_one in zip(unclear, pool.map(_is_one, unclear)):
            (found if is_one else others).append(path)
    return sorted(found), sorted(others)


def _claims(path: Path) -> bool:
    return path.suffix.lower() in FORMATS


def _is_one(path: Path) -> bool:
    try:
        return kind_of_file(path) is not None
    except OSError:
        return True  # so that the batch says why it cannot be read


def output_name(path: Path, name: str) -> str:
    """The name of a result, in the format that a file has by its content; a suffix that says so is kept.

    JPEG becomes .png, so that nothing is lost twice; DICOM without a suffix gets .dcm behind its name, since a dot in a
    UID begins no suffix. A file of no known format keeps its name: reading it will say why.

    Args:
        path: The file.
        name: Its name in the results, with its suffix.

    Returns:
        The name, with the suffix to write.
    """
    try:
        kind = kind_of_file(path)
    except OSError:
        kind = None
    suffix = FORMATS.get(Path(name).suffix.lower())
    if kind is None:
        return str(Path(name).with_suffix(".png")) if suffix == "jpeg" else name if suffix else f"{name}.png"
    if kind == "dicom":
        return name if suffix == "dicom" else f"{name}.dcm"
    wanted = "png" if kind == "jpeg" else kind
    if suffix == wanted:
        return name
    return str(Path(name).with_suffix(f".{wanted}")) if suffix else f"{name}.{wanted}"
