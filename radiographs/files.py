"""Files that are either whole or absent."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PART = ".part-"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix) to write to; it becomes `path` in one step at the block's end.

    When the block raises, the temporary file is removed and `path` stays as it was. A process killed inside the block
    leaves a hidden file whose name begins with `PART`. Missing parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{PART}{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def printable(text: str) -> str:
    """`text` as every screen and UTF-8 file takes it: a byte of a file name that is no UTF-8 is \\udce4."""
    return text.encode("utf-8", "backslashreplace").decode()


def read_json(path: str | Path) -> dict[str, Any]:
    """A JSON file's object; ValueError with the file's name for what is none, OSError where it cannot be read."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path}: no JSON, or damaged ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: JSON of another kind where an object, {{...}}, was expected")
    return found
