"""Rows that cannot be drawn as they are asked for, found before a model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from radiolucent.synthesis.prompts import Row

if TYPE_CHECKING:
    from radiolucent.synthesis.generator import GeneratorOptions


def check_lengths(rows: Sequence[Row], options: GeneratorOptions) -> tuple[list[Row], dict[str, int], dict[str, str]]:
    """Find the rows whose text is longer than the model's encoder reads; notes for all of them are printed.

    Args:
        rows: All that are asked for.
        options: The model, the template of its texts, and whether long ones may be cut.

    Returns:
        The rows to draw; {name: tokens that are cut}; {name: reason} of those that are skipped as too long.
    """
    from radiolucent.synthesis.generator import OWN, pipeline_class
    from radiolucent.synthesis.loading import load_lengths

    measure = load_lengths(options)
    if measure is None and any(row.prompt for row in rows):
        print("This model reads no text: the images follow the views alone.")
    if any(row.view for row in rows) and "{view}" not in options.template and pipeline_class(options.checkpoint) != OWN:
        print("This model reads text alone: the column view changes no image unless --template holds {view}.")
    kept: list[Row] = []
    cut: dict[str, int] = {}
    bad: dict[str, str] = {}
    for row in rows:
        tokens, limit = measure(options.text(row)) if measure else (0, 0)
        if tokens > limit and not options.cut:
            bad[row.name] = (
                f"the text has {tokens} tokens and the encoder takes {limit}: shorten it, or allow --long-prompts cut"
            )
            continue
        kept.append(row)
        if tokens > limit:
            cut[row.name] = tokens - limit
    if cut:
        print(f"{len(cut)} of {len(rows)} texts are longer than the encoder's limit and are cut: see tokens_cut")
    return kept, cut, bad


def refuse_tokens(rows: Sequence[Row], formats: Sequence[str]) -> tuple[list[Row], dict[str, str]]:
    """Find prompts that one of the dataset's formats would take for something else than text.

    Args:
        rows: All that are asked for.
        formats: Names of dataset_formats; only "llava" has such words.

    Returns:
        The rows to draw, and {name: reason} of the others.
    """
    from radiolucent.synthesis.dataset_formats import MEDIA_TOKEN

    bad = {
        row.name: f"the prompt holds {found[0]}, which loaders of --format llava take for a picture: change the prompt"
        for row in rows
        if "llava" in formats and (found := MEDIA_TOKEN.search(row.prompt))
    }
    return [row for row in rows if row.name not in bad], bad


def refuse_unknown(rows: Sequence[Row], options: GeneratorOptions) -> tuple[list[Row], dict[str, str]]:
    """Find rows that ask for what the model cannot know: places, or a prior.

    A prior's view comes from the column prior_view, or is the row's own; without either the model would not see it.

    Args:
        rows: All that are asked for.
        options: The model; one of diffusers' takes neither.

    Returns:
        The rows to draw, and {name: reason} of the others.
    """
    from radiolucent.synthesis.generator import OWN, pipeline_class
    from radiolucent.synthesis.own_generator import takes

    own = pipeline_class(options.checkpoint) == OWN
    places, priors = (own and takes(options.checkpoint, condition) for condition in ("regions", "priors"))
    bad = {}
    for row in rows:
        what = "boxes or masks" if row.regions and not places else "a prior" if row.prior and not priors else ""
        if what:
            bad[row.name] = (
                f"the row has {what}, and this model takes none: leave it out, or use a model trained with it"
            )
        elif row.prior and not (row.prior[1] or row.view):
            bad[row.name] = "the row has a prior and no view: give prior_view, or view"
    return [row for row in rows if row.name not in bad], bad
