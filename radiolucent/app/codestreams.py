"""Compressed DICOM whose JPEG says another size than its header: a decoder would reserve what the JPEG says."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

J2K_START, J2K_SIZE = b"\xff\x4f\xff\x51", 8  # SOC, SIZ; where Xsiz begins: after Lsiz and Rsiz
JP2_START = b"\x00\x00\x00\x0cjP  "
FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # SOF of every JPEG process, and of JPEG-LS
ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a segment


def check_codestreams(path: Path, name: str) -> None:
    """Refuse a DICOM file in one of JPEG's transfer syntaxes in which a frame contradicts Rows and Columns.

    Args:
        path: A DICOM file; one that is not compressed, or not by JPEG, is let through.
        name: What the visitor called it.

    Raises:
        ValueError: A frame of another size than the header says, or one in which no size is found.
    """
    from pydicom import dcmread
    from pydicom.encaps import generate_frames
    from pydicom.uid import AllTransferSyntaxes

    known = {uid for uid in AllTransferSyntaxes if "JPEG" in uid.name}
    try:
        data = dcmread(path, force=True)
        syntax = data.file_meta.get("TransferSyntaxUID") if hasattr(data, "file_meta") else None
        if syntax not in known or "PixelData" not in data:
            return
        promised = int(data.get("Rows") or 0), int(data.get("Columns") or 0)
        frames = list(generate_frames(data.PixelData, number_of_frames=int(data.get("NumberOfFrames") or 1)))
    except Exception as error:  # pydicom raises whatever a damaged byte leads to
        raise ValueError(f"{name}: a damaged DICOM file ({' '.join(str(error).split())})") from None
    for frame in frames:
        size = codestream_size(frame)
        if size != promised:
            said = "no size" if size is None else f"{size[0]} x {size[1]} pixels"
            raise ValueError(
                f"{name}: its header promises {promised[0]} x {promised[1]} pixels and its compressed picture says "
                f"{said}"
            )


def codestream_size(frame: bytes) -> tuple[int, int] | None:
    """(H, W) that a JPEG, JPEG-LS or JPEG 2000 stream says of itself; None if it says nothing.

    Args:
        frame: One frame's bytes; only markers are read, nothing is decoded.

    Returns:
        Pixels, as the decoder would reserve them.
    """
    if frame.startswith(JP2_START):
        frame = frame[max(0, frame.find(J2K_START)) :]
    if frame.startswith(J2K_START):
        if len(frame) < J2K_SIZE + 16:
            return None
        right, bottom, left, top = struct.unpack_from(">4I", frame, J2K_SIZE)
        return bottom - top, right - left
    for marker, place in _segments(frame):
        if marker in FRAMES and len(frame) >= place + 9:
            height, width = struct.unpack_from(">2H", frame, place + 5)
            return height, width
    return None


def _segments(frame: bytes) -> Iterator[tuple[int, int]]:
    """(marker, place) of a JPEG's segments, up to its first scan."""
    place = 0
    while place + 4 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker == 0xFF:  # filling
            place += 1
            continue
        yield marker, place
        if marker == 0xDA:
            return
        place += 2 if marker in ALONE else 2 + int.from_bytes(frame[place + 2 : place + 4], "big")
