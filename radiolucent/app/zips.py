"""Zips that visitors send: bounded in files and bytes, and unpacked under names of ours."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from radiolucent.app.limits import MIB, Limits
from radiolucent.app.uploads import CHUNK, shown_name, volume_suffix


def unpack_series(path: Path, folder: Path, name: str, limits: Limits) -> Path:
    """Unpack a zip of DICOM slices, or of one volume, under names of ours; the zip is deleted.

    Args:
        path: The zip.
        folder: Where its files go.
        name: How the visitor calls it.
        limits: Of files and bytes; the bytes are counted while they are unpacked, since a header can lie.

    Returns:
        The folder of slices, or the volume's file.

    Raises:
        ValueError: A damaged zip, an encrypted one, one with paths that lead out of it, or one that is too large.
    """
    most = 4 * limits.voxels
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _check_members(members, name, most, limits)
            volumes = [m for m in members if volume_suffix(m.filename) and not _hidden(m.filename)]
            members = volumes[:1] if volumes else [m for m in members if not _hidden(m.filename)]
            folder.mkdir(parents=True)
            left = most
            for number, member in enumerate(members):
                inside = folder / f"{number:05d}{volume_suffix(member.filename)}"
                left -= _unpack(archive, member, inside, left, name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error) as error:
        raise ValueError(f"{name}: a damaged zip, or of a kind that is not read ({error})") from None
    path.unlink()
    if not members:
        raise ValueError(f"{name}: a zip without files; a series of DICOM slices is needed")
    return next(folder.iterdir()) if volumes else folder


def _check_members(members: Sequence[zipfile.ZipInfo], name: str, most: int, limits: Limits) -> None:
    if len(members) > limits.slices:
        raise ValueError(f"{name}: {len(members)} files, where at most {limits.slices} are taken here")
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0]:
            raise ValueError(f"{name}: holds a path that leads out of it ({shown_name(member.filename)}): zip it anew")
        if member.flag_bits & 1:
            raise ValueError(f"{name}: is encrypted: zip it without a password")
    total = sum(member.file_size for member in members)
    if total > most:
        raise ValueError(f"{name}: unpacks to {total / MIB:.0f} MB, where at most {most / MIB:.0f} MB are taken here")


def _hidden(filename: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(filename).parts)


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, to: Path, left: int, name: str) -> int:
    """Write a member; its bytes. ValueError beyond `left` of them."""
    size = 0
    with archive.open(member) as packed, to.open("wb") as file:
        while chunk := packed.read(CHUNK):
            size += len(chunk)
            if size > left:
                raise ValueError(f"{name}: unpacks to more than is taken here")
            file.write(chunk)
    return size
