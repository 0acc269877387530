"""What tells one state of a batch's input from any other: of a file, of a folder, of a row of a table."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def file_identity(path: str | Path, **more: Any) -> dict[str, Any]:
    """What tells one state of an input from any other, in JSON values.

    Args:
        path: a file, or a folder, whose files' names, sizes and times count.
        more: what else the result depends on, such as a row of a table (JSON values), kept as a digest each. None is
            what was not given: a result that was made with it stands.

    Returns:
        `path_sha256`, a digest, since folders are named after patients; size and time of change (of a folder: of its
        files), unless it cannot be looked at: the work will say what is wrong; NAME_sha256 for each of `more`.
    """
    resolved = Path(path).resolve()
    identity: dict[str, Any] = {"path_sha256": _digest(os.fsencode(resolved))}
    try:
        if resolved.is_dir():
            files = [file for file in sorted(resolved.rglob("*")) if file.is_file()]
            states = [(str(file.relative_to(resolved)), *_state(file)) for file in files]
            identity |= {"files": len(files), "files_sha256": _digest(json.dumps(states).encode())}
        else:
            size, modified = _state(resolved)
            identity |= {"bytes": size, "modified_ns": modified}
    except OSError:
        pass
    for name, value in more.items():
        identity[f"{name}_sha256"] = None if value is None else _digest(json.dumps(value, sort_keys=True).encode())
    return identity


def stands_for(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> bool:
    """Whether a result of one input stands for another.

    Args:
        before: Identity of the input that the result was made of; None: it had no file.
        now: Of the input that a result is wanted for. What is None in it may have been anything.

    Returns:
        Whether all that is said of both is the same.
    """
    if before is None or now is None:
        return before is now
    return before.keys() == now.keys() and all(value in (None, before[name]) for name, value in now.items())


def _state(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
