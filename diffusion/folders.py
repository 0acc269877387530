"""The index of a pipeline's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_model_index(path: Path) -> dict[str, Any]:
    """A model_index.json; ValueError with its name for what is no JSON object, OSError where it cannot be read."""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: damaged ({error}): copy the folder again") from None
    if not isinstance(index, dict):
        raise ValueError(f"{path}: no index of a pipeline: give the folder that training wrote")
    return index
