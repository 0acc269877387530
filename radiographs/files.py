"""Files that are either whole or absent."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PART = ".part-"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Write a file so that it is whole or absent.

    When the block raises, the temporary file is removed and `path` stays as it was. A process killed inside the block
    leaves a hidden file whose name begins with `PART`. Missing parent folders are made.

    Args:
        path: The file.

    Yields:
        A temporary path beside it (same suffix) to write to; it becomes `path` in one step at the block's end.

    Example:
        >>> with atomic_path("table.csv") as part:  # doctest: +SKIP
        ...     part.write_text("a,b")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{PART}{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path, replace: bool = False) -> Iterator[Path]:
    """Write a folder so that there is the old one or the new one, whole.

    When the block raises, the new folder is removed and `path` stays as it was. A process killed inside the block
    leaves a hidden folder whose name begins with `PART`.

    Args:
        path: The folder.
        replace: Whether a folder that is there and is not empty is replaced.

    Yields:
        An empty folder beside it to write to; it becomes `path` at the block's end.

    Raises:
        OSError: Something is there that is not to be replaced.
    """
    path = Path(path)
    key = uuid.uuid4().hex[:12]
    part, old = (path.with_name(f"{PART}{key}-{path.name}{end}") for end in ("", ".old"))
    part.mkdir(parents=True)
    try:
        yield part
        if replace and path.is_dir():
            os.replace(path, old)
        try:
            os.replace(part, path)
        except OSError:
            if old.exists():
                os.replace(old, path)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def printable(text: str) -> str:
    r"""`text` as every screen and UTF-8 file takes it: a byte of a file name that is no UTF-8 is \udce4.

    Args:
        text: Such as a path; Python keeps bytes that are no UTF-8 as surrogates in it.

    Returns:
        Text that any encoder of UTF-8 accepts; unlike a path, it does not lead back to the file.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON file's object.

    Args:
        path: The file, UTF-8 with or without a byte order mark.

    Returns:
        The object.

    Raises:
        ValueError: It is damaged, or JSON of another kind.
        OSError: It cannot be read.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path}: no JSON, or damaged ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: JSON of another kind where an object, {{...}}, was expected")
    return found
