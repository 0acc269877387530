"""Synthesis for the page: a grid of seeds for one prompt, as `radiolucent synthesize` draws them."""

from __future__ import annotations

import threading
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from radiographs.regions import parse_regions
from radiolucent.app.limits import Limits
from radiolucent.app.store import Entry

if TYPE_CHECKING:
    from radiolucent.synthesis.generator import GeneratorOptions

LARGEST_SEED = 2**31 - 1


class Drawing:
    """What the Synthesise tab does, with one model for all visitors, loaded when it is first asked.

    Args:
        options: As `radiolucent synthesize` reads them.
        limits: Of prompt, steps and images.

    """

    def __init__(self, options: GeneratorOptions, limits: Limits) -> None:
        self.options, self.limits = options, limits
        self._model = threading.Lock()

    @classmethod
    def of(cls, folder: str, device: str, limits: Limits) -> Drawing:
        """Of the folder of any pipeline that `radiolucent synthesize` takes.

        Args:
            folder: The pipeline's, or its name on the Hugging Face hub.
            device: "auto", "cpu" or "cuda".
            limits: Of prompt, steps and images.

        Returns:
            What draws; its model is loaded when it is first asked.

        Raises:
            ValueError: It takes none such.
            OSError: There is no such folder.
        """
        from jsonargparse import ArgumentParser

        from radiolucent.commands.synthesize import add_arguments, read_options

        parser = ArgumentParser(exit_on_error=False)
        add_arguments(parser)
        words = ["--prompts", "-", "--checkpoint", folder, "--out", "-", "--device", device]
        return cls(read_options(parser.parse_args(words)), limits)

    @property
    def takes_places(self) -> bool:
        """Whether the model can be told where findings shall be."""
        from radiolucent.synthesis.generator import OWN, pipeline_class
        from radiolucent.synthesis.own_generator import takes

        return pipeline_class(self.options.checkpoint) == OWN and takes(self.options.checkpoint, "regions")

    @property
    def views(self) -> tuple[str, ...]:
        """Those that the model draws."""
        from radiolucent.synthesis.loading import drawn_views

        return drawn_views(self.options.checkpoint)

    def draw(
        self, entry: Entry, prompt: str, view: str, seed: int, steps: int, count: int, boxes: str = ""
    ) -> list[int]:
        """Draw `count` images, of one seed after another, into the entry's folder as SEED.png.

        Args:
            entry: Of the visitor.
            prompt: What the images shall show.
            view: Of `views`, or "".
            seed: The first one.
            steps: Of sampling.
            count: Images.
            boxes: Where findings shall be, see radiographs.regions.

        Returns:
            The seeds, `seed` and those after it.

        Raises:
            ValueError: Something that this model cannot draw, or that is out of bounds.
        """
        from radiolucent.synthesis.drawing import write_image
        from radiolucent.synthesis.generator import draw, one_thread
        from radiolucent.synthesis.loading import load_generator, load_lengths
        from radiolucent.synthesis.prompts import Row

        self._check(prompt, view, seed, steps, count)
        if len(boxes) > self.limits.prompt:
            raise ValueError(f"places of {len(boxes)} letters: at most {self.limits.prompt} are read here")
        regions = parse_regions(boxes)
        if regions and not self.takes_places:
            raise ValueError("this model cannot be told where findings shall be: leave the places empty")
        options = replace(self.options, steps=steps)
        numbers = range(seed, seed + count)
        rows = [Row(f"{number}.png", prompt.strip(), view or None, number, (), regions) for number in numbers]
        with self._model, one_thread(options.device):
            measure = load_lengths(self.options)
            tokens, limit = measure(options.text(rows[0])) if measure else (0, 0)
            if tokens > limit:
                raise ValueError(f"the text has {tokens} tokens and the model reads {limit}: shorten it")
            generator = load_generator(self.options)
            generator.options = options  # type: ignore[attr-defined]  # the steps alone differ: nothing is loaded anew
            for row, image in draw(generator, rows, options.micro_batch):
                write_image(entry.folder, row, image, 8, "of the page")
        return [row.seed for row in rows]

    def _check(self, prompt: str, view: str, seed: int, steps: int, count: int) -> None:
        if len(prompt) > self.limits.prompt:
            raise ValueError(f"a prompt of {len(prompt)} letters: at most {self.limits.prompt} are read here")
        if view and view not in self.views:
            raise ValueError(f"view {view[:20]!r}: choose one of {', '.join(self.views)}, or none")
        bounds = {
            "seed": (seed, 0, LARGEST_SEED),
            "steps": (steps, 1, self.limits.steps),
            "images": (count, 1, self.limits.drawn),
        }
        for name, (value, low, high) in bounds.items():
            if not low <= value <= high:
                raise ValueError(f"{name} {value}: a whole number from {low} to {high} is needed")


def missing_for_text() -> str:
    """What is to be installed for models that read text; "" where nothing is.

    Returns:
        A pip command.
    """
    return "" if find_spec("transformers") else "pip install 'radiolucent[synthesis]'"
