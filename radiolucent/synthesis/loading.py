"""The generator of a folder, ours or diffusers', and the measure of how long its texts may be."""

from __future__ import annotations

import functools

from radiographs.vocabulary import VIEWS
from radiolucent.synthesis.generator import OWN, Generator, GeneratorOptions, Lengths, pipeline_class
from radiolucent.synthesis.own_generator import OwnGenerator, known_views, own_lengths, refuse_own_size


@functools.lru_cache(maxsize=1)
def load_generator(options: GeneratorOptions) -> Generator:
    """The generator on its device, loaded once in each process.

    Args:
        options: The model's folder decides which kind it is.

    Returns:
        What draws; equal options give the same object.
    """
    from diffusers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    if pipeline_class(options.checkpoint) == OWN:
        return OwnGenerator(options)
    from radiolucent.synthesis.diffusers_generator import DiffusersGenerator

    return DiffusersGenerator(options)


def drawn_views(checkpoint: str) -> tuple[str, ...]:
    """The views that may be asked of a folder: those that our model knows; a text-to-image model takes them as text.

    Args:
        checkpoint: The model's folder.

    Returns:
        Names as in radiographs.vocabulary.
    """
    return known_views(checkpoint) if pipeline_class(checkpoint) == OWN else VIEWS


def check_size(options: GeneratorOptions) -> None:
    """Refuse a --size that the model cannot draw, before its weights are read.

    Args:
        options: The model's folder and the size; None, the model's own, is always right.

    Raises:
        ValueError: The size is no multiple of what the model needs.
    """
    if options.size is None:
        return
    if pipeline_class(options.checkpoint) == OWN:
        refuse_own_size(options.checkpoint, options.size)
        return
    from radiolucent.synthesis.diffusers_generator import refuse_size

    refuse_size(options.checkpoint, options.size)


def load_lengths(options: GeneratorOptions) -> Lengths | None:
    """The measure of a text's length; None for a model that reads no text.

    Args:
        options: The model's folder and, for our own, its text encoder.

    Returns:
        text -> (its tokens, how many the encoder takes).
    """
    if pipeline_class(options.checkpoint) == OWN:
        return own_lengths(options)
    from radiolucent.synthesis.diffusers_generator import tokenizer_lengths

    return tokenizer_lengths(options.checkpoint)
