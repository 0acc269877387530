"""The synthesis model that comes with the package, and prompts to try it with."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

FOLDER, PROMPTS = "synthesis_model", "synthesis_prompts.csv"


def packaged_synthesis_model() -> str:
    """Folder of the packaged SynthesisPipeline.

    Returns:
        Its path in the installed package.

    Raises:
        FileNotFoundError: This installation lacks it.
    """
    folder = _resource(FOLDER)
    if not (folder / "model_index.json").is_file():
        raise FileNotFoundError(
            "no synthesis model came with this installation of radiolucent: give --checkpoint, a pipeline's folder or "
            "a name on the Hugging Face hub (OWNER/NAME)"
        )
    return str(folder)


def packaged_prompts() -> str:
    """A CSV of eight prompts with views and seeds, as `radiolucent synthesize --prompts` reads it.

    Returns:
        Its path in the installed package.
    """
    return str(_resource(PROMPTS))


def _resource(name: str) -> Path:
    return Path(str(importlib.resources.files("radiolucent"))) / name
