"""What visitors send, checked before anything reads it: by content, with bounds on what it unpacks to.

A file's own name opens nothing here: it is put into its visitor's folder under a name of ours.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from radiographs.io import radiograph_size
from radiographs.kinds import HEAD_BYTES, kind_of, what_else
from radiographs.pictures import PICTURES
from radiolucent.app.codestreams import check_codestreams
from radiolucent.app.limits import INPUT, MIB, Limits
from radiolucent.app.store import Entry

CHUNK = 1 << 20
SHOWN = 80  # letters of a file's name
VOLUMES = (".nii.gz", ".nii", ".mha", ".nrrd")
DEFLATED = "1.2.840.10008.1.2.1.99"


def shown_name(path: str | Path) -> str:
    """The last part of a name that a browser gave, without what no terminal or page should show.

    Args:
        path: As it was sent, with slashes of either kind.

    Returns:
        At most SHOWN letters; the middle of a longer name is left out.
    """
    name = re.split(r"[\\/]", str(path))[-1]
    name = "".join(letter for letter in name if letter.isprintable())
    return name if len(name) <= SHOWN else f"{name[: SHOWN - 12]}...{name[-9:]}"


def take(entry: Entry, sent: str | Path, most: int, suffix: str = "") -> Path:
    """Put a file that was sent into its visitor's folder, as a link to it.

    gradio gives equal files one place, whoever sent them, and others may wait there: the sweep deletes it later.

    Args:
        entry: The visitor's.
        sent: Where the server put it.
        most: Bytes it may have.
        suffix: What its name ends in there, for readers that go by it.

    Returns:
        Its place in the visitor's folder.

    Raises:
        ValueError: It was not sent to this page, or is larger; then it is deleted.
    """
    sent = require_upload(entry, sent)
    size = sent.stat().st_size
    if size > most:
        sent.unlink()
        raise ValueError(f"{entry.name}: {size / MIB:.0f} MB, where at most {most / MIB:.0f} MB are taken here")
    here = entry.folder / f"{INPUT}{suffix}"
    os.link(sent, here)
    return here


def require_upload(entry: Entry, sent: str | Path) -> Path:
    """The file, if it is one that was sent: below the server's folder for that, and no link out of it.

    Args:
        entry: The visitor's.
        sent: Where the file lies, as the browser says.

    Returns:
        The same place, links resolved.

    Raises:
        ValueError: A browser named some other file.
    """
    path, uploads = Path(sent).resolve(), entry.uploads.resolve()
    if not (path.is_relative_to(uploads) and path.is_file()):
        raise ValueError(f"{entry.name}: it was not sent to this page")
    return path


def check_radiograph(path: Path, name: str, limits: Limits) -> None:
    """Refuse what is no radiograph's file, or promises more pixels than any detector has.

    Args:
        path: The file, under a name of ours.
        name: What the visitor calls it, for messages.
        limits: Of pixels, and of what a deflated DICOM file unpacks to.

    Raises:
        ValueError: With what arrived and what is taken.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    kind = kind_of(head)
    if kind is None:
        raise ValueError(f"{name}: {what_else(head)}; a radiograph as PNG, JPEG, TIFF or DICOM is needed")
    if kind == "dicom":
        check_deflated(path, name, limits.radiograph)
        check_codestreams(path, name)
    height, width = radiograph_size(path) if kind == "dicom" else _promised(path, name)
    if not 0 < height * width <= limits.pixels:
        raise ValueError(
            f"{name}: its header promises {height} x {width} pixels, where 1 to {limits.pixels // 10**6} million "
            "are taken here"
        )


def _promised(path: Path, name: str) -> tuple[int, int]:
    """(H, W) that a picture's header promises; nothing of it is unpacked, as Pillow does in search of EXIF."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=PICTURES) as picture:
            return picture.height, picture.width
    except Image.DecompressionBombError as error:
        raise ValueError(f"{name}: {error}") from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{name}: cannot be read ({' '.join(str(error).split())})") from None


def check_deflated(path: Path, name: str, most: int) -> None:
    """Refuse a DICOM file in the deflated transfer syntax that unpacks to more than `most` bytes.

    Args:
        path: Any file; one that is no deflated DICOM is let pass.
        name: What the visitor calls it, for messages.
        most: Bytes; unpacking stops there, so that no more is ever held.

    Raises:
        ValueError: It does, or is damaged.
    """
    from pydicom.filereader import read_file_meta_info

    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return
    try:
        meta = read_file_meta_info(path)
        length = 132 + 12 + int(meta.get("FileMetaInformationGroupLength", 0))
        deflated = meta.get("TransferSyntaxUID") == DEFLATED
    except Exception as error:  # pydicom raises whatever a damaged byte leads to
        raise ValueError(f"{name}: a damaged DICOM file ({' '.join(str(error).split())})") from None
    if not deflated:
        return
    unpack, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    try:
        with path.open("rb") as file:
            file.seek(length)
            while chunk := file.read(CHUNK):
                while chunk:
                    total += len(unpack.decompress(chunk, CHUNK))
                    chunk = unpack.unconsumed_tail
                    if total > most:
                        raise ValueError(f"{name}: unpacks to more than {most / MIB:.0f} MB, the most taken here")
    except zlib.error as error:
        raise ValueError(f"{name}: a damaged DICOM file ({error})") from None


def volume_suffix(name: str) -> str:
    """The suffix by which a CT's file is read, "" for none of them.

    Args:
        name: Of the file, in any case.

    Returns:
        One of VOLUMES, with its dot.
    """
    return next((suffix for suffix in VOLUMES if name.lower().endswith(suffix)), "")


def check_volume(path: Path, name: str, limits: Limits) -> None:
    """Refuse a NIfTI, MHA or NRRD file whose header promises more voxels than are held here.

    Args:
        path: The file, whose suffix says which format it is.
        name: What the visitor calls it, for messages.
        limits: Of voxels, and through them of bytes.

    Raises:
        ValueError: It does, or has no such header.
    """
    if volume_suffix(path.name).startswith(".nii"):
        from drr.io.nifti import read_header

        header = read_header(path)
        shape: tuple[int, ...] = header.shape
        size = header.dtype.itemsize
    else:
        import SimpleITK

        _check_voxels_inside(path, name)
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(path))
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise ValueError(f"{name}: its header cannot be read ({str(error).split(':')[-1].strip()})") from None
        shape, size = reader.GetSize(), 2
    voxels = 1
    for side in shape:
        voxels *= int(side)
    if voxels * size > 4 * limits.voxels or voxels > limits.voxels:
        sides = " x ".join(str(side) for side in shape)
        raise ValueError(
            f"{name}: its header promises {sides} voxels ({voxels * size / 1e9:.1f} GB), where at most "
            f"{limits.voxels / 1e6:.0f} million are taken here"
        )


def check_slices(path: Path, name: str, limits: Limits) -> None:
    """Refuse DICOM slices, a folder of them or one file, whose headers promise more voxels than are held here.

    Args:
        path: The folder or file; what is no DICOM image in it is let pass.
        name: What the visitor calls it, for messages.
        limits: Of voxels, and of what a deflated file unpacks to.

    Raises:
        ValueError: They do, or are damaged.
    """
    from drr.io.dicom.files import read_image

    voxels = 0
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        check_deflated(file, name, limits.radiograph)
        image = read_image(file)
        if image is not None:
            check_codestreams(file, name)
            voxels += int(image.header.get("Rows") or 0) * int(image.header.get("Columns") or 0) * image.frames
        if voxels > limits.voxels:
            raise ValueError(
                f"{name}: its headers promise more than {limits.voxels / 1e6:.0f} million voxels, the most taken here"
            )


def _check_voxels_inside(path: Path, name: str) -> None:
    """Refuse an MHA or NRRD header that takes its voxels from another file: that would open a path of the sender's."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    if head.startswith(b"NRRD"):
        end = re.search(rb"\r?\n\r?\n", head)
        inside = end is not None and not re.search(rb"(?mi)^data ?file\s*:", head[: end.start()])
    else:
        where = re.search(rb"(?mi)^ElementDataFile\s*=[ \t]*([^\r\n]*)", head)
        inside = where is not None and where[1].strip().upper() == b"LOCAL"
    if not inside:
        raise ValueError(f"{name}: its voxels lie in another file; a file that holds them itself is needed")


def take_folder(entry: Entry, role: str, sent: Sequence[str], limits: Limits) -> Path:
    """Put a folder of radiographs that was sent into its visitor's, as links; hidden files are left out.

    Args:
        entry: The visitor's.
        role: Name of the new folder, also in messages.
        sent: Files, as the server put them; of their own folders nothing is kept.
        limits: Of their number, their bytes in all, and each one's pixels.

    Returns:
        The new folder.

    Raises:
        ValueError: No files, too many, two of one name (of folders in it), or one that is no radiograph.
    """
    folder = entry.folder / role
    folder.mkdir()
    names: set[str] = set()
    files = [require_upload(entry, path) for path in sent]
    if len(files) > limits.images:
        raise ValueError(f"{role}: {len(files)} files, where at most {limits.images} are taken here")
    for path in files:
        name = re.sub(r"[^\w .()+-]", "_", shown_name(path))
        if name.startswith("."):
            continue
        if name in names:
            raise ValueError(f"{role}: two files are called {name}; images are matched by name, so each needs its own")
        names.add(name)
        os.link(path, folder / name)
        check_radiograph(folder / name, f"{role}/{name}", limits)
    if not names:
        raise ValueError(f"{role}: no images arrived; choose a folder of radiographs")
    if entry.bytes() > limits.images_bytes:
        raise ValueError(f"{role}: more than {limits.images_bytes / MIB:.0f} MB in all, the most taken here")
    return folder
