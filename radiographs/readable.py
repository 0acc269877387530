"""Which of many images cannot be read, found before hours of work: by their header and their end, without decoding."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from radiographs.io import radiograph_size, read_radiograph

THREADS = 8  # the time is the storage's
ENDS = {b"\x89PNG": b"IEND", b"\xff\xd8\xff": b"\xff\xd9"}  # what the last bytes of a whole PNG or JPEG hold
TAIL = 64  # bytes


def unreadable(paths: Sequence[Path]) -> dict[Path, str]:
    """Which images cannot be read.

    A PNG or JPEG that does not end as it should is decoded to be sure. What only the pixels show, such as colour, is
    not found.

    Args:
        paths: Files.

    Returns:
        {path: why}, in the order given.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        found = zip(paths, pool.map(why_unreadable, paths))
        return {path: problem for path, problem in found if problem}


def why_unreadable(path: Path) -> str:
    """Why one image cannot be read, as far as its header and its end show; "" if it can.

    Args:
        path: PNG, TIFF, JPEG or DICOM; it is decoded only if its end looks cut off.

    Returns:
        One line that names the file.
    """
    try:
        radiograph_size(path)
        if not _ends_well(path):
            read_radiograph(path)
    except (ValueError, OSError) as error:
        return " ".join(str(error).split())
    return ""


def _ends_well(path: Path) -> bool:
    with open(path, "rb") as file:
        start = file.read(4)
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
        tail = file.read()
    return all(end in tail for begin, end in ENDS.items() if start.startswith(begin))
