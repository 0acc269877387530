"""What draws images from rows: our SynthesisPipeline or any text-to-image folder of diffusers, behind one protocol.

An image depends on its row alone. Its noise comes from its own seed, drawn on the CPU; the networks always see the same
number of images at once (`micro_batch`, the last ones filled up), because floating-point sums change with a matrix's
size; and on a CPU one process uses one thread, because they change with the number of threads too.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from radiolucent.synthesis.prompts import Row

if TYPE_CHECKING:
    from radiolucent.synthesis.decode_ahead import Overlap

OWN = "SynthesisPipeline"

TEXTS_KEPT = 2048  # rows are sorted by prompt, so that equal ones lie together

_held: list[Any] = []  # lock files of the GPUs that this process works on


@dataclass(frozen=True)
class GeneratorOptions:
    """All that an image depends on besides its row.

    Attributes:
        checkpoint: The model's folder.
        steps: Of sampling.
        guidance: (condition, scale) for our own model, ("", scale) for diffusers'.
        size: Side in pixels, None for the model's own.
        micro_batch: Images that go through the networks at once.
        dtype: float32, bfloat16 or float16.
        device: cpu or cuda.
        lora: A file, or None.
        lora_scale: What its change of the weights is multiplied by.
        negative_prompt: For diffusers' models.
        template: How `{prompt}` and `{view}` make the text.
        text_encoder: Its folder, if the model's does not say it.
        cut: Texts beyond the encoder's limit are cut.
    """

    checkpoint: str
    steps: int
    guidance: tuple[tuple[str, float], ...]
    size: int | None = None
    micro_batch: int = 1
    dtype: str = "float32"
    device: str = "cpu"
    lora: str | None = None
    lora_scale: float = 1.0
    negative_prompt: str = ""
    template: str = "{prompt}"
    text_encoder: str | None = None
    cut: bool = False

    def text(self, row: Row) -> str:
        """What the text encoder reads.

        Args:
            row: One without a view leaves the place of `{view}` empty.

        Returns:
            The template filled in, without spaces at either end.
        """
        return self.template.replace("{view}", row.view or "").replace("{prompt}", row.prompt).strip()


class Generator(Protocol):
    """Draws images; `rows` are always `micro_batch` many. Two threads may call at once: `overlap` keeps them apart."""

    overlap: Overlap

    def generate(self, rows: Sequence[Row]) -> np.ndarray:
        """Draw one micro-batch of images.

        Args:
            rows: `micro_batch` of them; the caller fills the last ones up and throws the surplus away.

        Returns:
            float32 (len(rows), H, W) in [-1, 1], bones bright, in the order of the rows.
        """
        ...


class Lengths(Protocol):
    """Knows how long a text may be."""

    def __call__(self, text: str) -> tuple[int, int]:
        """A text's tokens and the encoder's limit."""
        ...


def pipeline_class(checkpoint: str | Path) -> str:
    """The class of a pipeline's folder.

    Args:
        checkpoint: The folder.

    Returns:
        The name in its model_index.json.

    Raises:
        FileNotFoundError: There is no such index.
        ValueError: It is damaged, or names no class.
    """
    from diffusion.folders import INDEX, class_name, read_index

    name = class_name(read_index(checkpoint))
    if name is None:
        raise ValueError(f"{Path(checkpoint) / INDEX} names no pipeline class: give the folder of a saved pipeline")
    return name


def read_guidance(given: Sequence[str], own: bool) -> tuple[tuple[str, float], ...]:
    """Scales of guidance as a user gives them.

    Args:
        given: 4.5 or report=4.5; a number alone is the report's scale of our own model.
        own: Whether it is our own model.

    Returns:
        (condition, scale).

    Raises:
        ValueError: No number, or a condition that the model does not have.
    """
    from diffusion.networks.conditions import CONDITIONS

    found = {}
    for text in given:
        name, equals, number = text.rpartition("=")
        try:
            scale = float(number)
        except ValueError:
            scale = float("nan")
        if not abs(scale) < 1e6:
            raise ValueError(f"--guidance {text}: expected a number, or CONDITION=NUMBER")
        if not own and equals:
            raise ValueError(f"--guidance {text}: a diffusers pipeline has one guidance scale; give the number alone")
        if own and equals and name not in CONDITIONS:
            raise ValueError(f"--guidance {text}: the conditions are {', '.join(CONDITIONS)}")
        found[name or ("report" if own else "")] = scale
    return tuple(sorted(found.items()))


def draw(generator: Generator, rows: Sequence[Row], micro_batch: int) -> Iterator[tuple[Row, np.ndarray]]:
    """Each row with its image; the last micro-batch is filled up with its last row.

    Args:
        generator: Of `load_generator`.
        rows: What is asked for.
        micro_batch: Images at once.

    Yields:
        (row, image float32 (H, W) in [-1, 1]).
    """
    lots = [list(rows[start : start + micro_batch]) for start in range(0, len(rows), micro_batch)]
    full = [lot + lot[-1:] * (micro_batch - len(lot)) for lot in lots]
    for lot, images in zip(lots, generator.overlap.map(generator.generate, full)):
        yield from zip(lot, images)


@contextmanager
def one_thread(device: str) -> Iterator[None]:
    """On a CPU, one thread for torch inside the block.

    Args:
        device: "cpu"; on a GPU nothing changes.

    Yields:
        Nothing; the number of threads is as before when the block ends.
    """
    import torch

    before = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def claim_device(device: str) -> str:
    """`cpu`, or a GPU that no other process of this program works on, until this one ends; all taken: shared.

    Args:
        device: "cpu" or "cuda", as chosen for the whole run.

    Returns:
        "cpu", or "cuda:" and the GPU's number. The claim is a lock on a temporary file of this user.
    """
    import fcntl

    import torch

    if device == "cpu":
        return device
    count = torch.cuda.device_count()
    for index in range(count):
        uuid = getattr(torch.cuda.get_device_properties(index), "uuid", index)
        path = Path(tempfile.gettempdir()) / f"radiolucent-{os.getuid()}-gpu-{uuid}.lock"
        file = open(path, "w")  # noqa: SIM115 (held, with its lock, for the life of the process)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        _held.append(file)
        return f"cuda:{index}"
    return f"cuda:{os.getpid() % count}"
