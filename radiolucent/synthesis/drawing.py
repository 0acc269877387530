"""Rows of prompts in batches, drawn and written while the next ones are drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radiolucent.synthesis.prompts import Row

if TYPE_CHECKING:
    import numpy as np

    from radiolucent.synthesis.generator import GeneratorOptions

WRITERS = 2  # threads


def in_batches(rows: Sequence[Row], size: int) -> list[tuple[str, Sequence[Row]]]:
    """(key, rows) of each batch; the key tells what is in it.

    Args:
        rows: All that are to be drawn, in their order.
        size: Rows a batch, 1 or more; the last batch may have fewer.

    Returns:
        Keys that stay the same from run to run, as long as the batch holds the same rows.
    """
    batches = []
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        digest = hashlib.sha256("".join(row.digest for row in batch).encode()).hexdigest()[:12]
        more = f" and {len(batch) - 1} more" if len(batch) > 1 else ""
        batches.append((f"{batch[0].name}{more} [{digest}]", batch))
    return batches


def draw_rows(
    payload: Sequence[Row] | str, *, out: str, options: GeneratorOptions, bits: int, settings: str, about: str = ""
) -> dict[str, Any]:
    """Draw those of a batch's rows that are not there yet; threads write while the next ones are drawn.

    Args:
        payload: Rows, or the reason why a row is skipped.
        out: The folder.
        options: All that an image depends on besides its row.
        bits: 8 or 16.
        settings: Their hash, for the images' descriptions.
        about: What the model was trained on, in a sentence.

    Returns:
        The record for the manifest.

    Raises:
        ValueError: The row is skipped.
    """
    from radiolucent.synthesis.dataset import find_image
    from radiolucent.synthesis.dataset_formats import IMAGES
    from radiolucent.synthesis.generator import draw, one_thread
    from radiolucent.synthesis.loading import load_generator

    if isinstance(payload, str):
        raise ValueError(payload)
    todo = [row for row in payload if find_image(Path(out), row) is None]
    if todo:
        with one_thread(options.device), ThreadPoolExecutor(WRITERS) as writer:
            drawn = draw(load_generator(options), todo, options.micro_batch)
            written = {
                row.name: writer.submit(write_image, Path(out), row, image, bits, settings, about)
                for row, image in drawn
            }
        broken = [f"{name}: {error}" for name, future in written.items() if (error := future.exception())]
        if broken:
            raise ValueError("; ".join(broken))
    return {"outputs": [f"{IMAGES}/{row.name}" for row in payload]}


def write_image(out: Path, row: Row, pixels: np.ndarray, bits: int, settings: str, about: str = "") -> None:
    """Write images/NAME.png, with what made it in its Description.

    Args:
        out: The dataset's folder.
        row: What was asked for.
        pixels: (H, W) in [-1, 1].
        bits: 8 or 16.
        settings: Their hash.
        about: What the model was trained on, in a sentence.

    Raises:
        ValueError: Pixels that are not finite.
    """
    from radiographs import write_radiograph
    from radiolucent.synthesis.dataset import DROPPED
    from radiolucent.synthesis.dataset_formats import IMAGES

    origin = f" {about}" if about else ""
    note = f"Synthetic radiograph by Radiolucent.{origin} Seed {row.seed}, settings {settings}, row {row.digest}"
    write_radiograph(out / IMAGES / row.name, pixels, bits, description=note)
    (out / DROPPED / row.name).unlink(missing_ok=True)  # of an earlier prompt of this name
