"""A synthetic dataset once its images are drawn: which are there, which the filter keeps, and the files beside them."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radiographs.files import atomic_path
from radiolucent.synthesis.dataset_card import write_card
from radiolucent.synthesis.dataset_formats import FORMATS, IMAGES, Example, write_tables
from radiolucent.synthesis.prompts import Row
from radiolucent.synthesis.quality_filter import Judge, Verdict, judge
from radiolucent.synthesis.view_filter import SOURCE, judge_asked

DROPPED = "dropped"
TABLES = ("metadata.csv", "chexgenbench.csv", "dropped.csv", "README.md")


def find_image(out: Path, row: Row) -> Path | None:
    """Where the image of exactly this row lies, kept or dropped.

    Args:
        out: The dataset's folder.
        row: Its digest must end the PNG's Description: an image of other settings or another prompt does not count.

    Returns:
        The file; None if it has to be drawn.
    """
    from PIL import Image

    for folder in (IMAGES, DROPPED):
        path = out / folder / row.name
        try:
            with Image.open(path, formats=["PNG"]) as picture:
                if picture.info.get("Description", "").endswith(f"row {row.digest}"):
                    return path
        except (OSError, SyntaxError):
            continue
    return None


def dataset_files(rows: Sequence[Row], formats: Sequence[str]) -> list[str]:
    """What a dataset of these rows may write into its folder, for the batch to claim: files, and folders of shards.

    Args:
        rows: What was asked for.
        formats: Keys of dataset_formats.FORMATS.

    Returns:
        Paths relative to the dataset's folder; not all of them will exist.
    """
    images = [f"{folder}/{row.name}" for folder in (IMAGES, DROPPED) for row in rows]
    extra = {"webdataset": "webdataset", "parquet": "parquet", "llava": "llava.json"}
    return [*TABLES, *images, *(extra[name] for name in formats)]


@dataclass(frozen=True)
class Finish:
    """How a dataset is finished.

    Attributes:
        model: What the card calls it.
        settings: What the images depend on.
        formats: See dataset_formats.
        shard_size: See dataset_formats.
        cut: {name: tokens that the model did not see}.
        refused: Rows skipped before drawing.
        judge: The filter, if any.
        about: What the model says of its training, for the card.
    """

    model: str
    settings: Mapping[str, Any]
    formats: Sequence[str]
    shard_size: int
    cut: Mapping[str, int]
    refused: int
    judge: Judge | None
    about: str = ""


def finish_dataset(out: Path, rows: Sequence[Row], ask: Finish) -> None:
    """Filter the images that are there and write the dataset's tables, card and further formats.

    Args:
        out: The folder.
        rows: What was asked for.
        ask: How.

    Raises:
        ValueError: No image is there, or none is kept.
    """
    by_name = {row.name: row for row in sorted(rows, key=lambda row: row.name)}
    found = {name: path for name, row in by_name.items() if (path := find_image(out, row)) is not None}
    if not found:
        raise ValueError(f"no image could be drawn: see {out / 'errors.csv'}")
    verdicts: dict[str, Verdict] = dict.fromkeys(found, Verdict(None))
    if ask.judge is not None and ask.judge.source == SOURCE:
        verdicts = judge_asked(found, {name: by_name[name].view for name in found})
    elif ask.judge is not None:
        verdicts = judge(found, {name: dict(by_name[name].labels) for name in found}, ask.judge)
    least = 0.0 if ask.judge is None else ask.judge.threshold
    dropped = {name: v for name, v in verdicts.items() if v.score is not None and v.score < least}
    for name, path in found.items():
        home = out / (DROPPED if name in dropped else IMAGES) / name
        if path != home:
            home.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, home)
    quality = "" if ask.judge is None else _said(ask.judge, verdicts, dropped)
    _list_dropped(out / "dropped.csv", dropped, ask.judge is not None)
    examples = [
        Example(by_name[name], ask.cut.get(name, 0), v.score) for name, v in verdicts.items() if name not in dropped
    ]
    if not examples:
        raise ValueError(f"the filter dropped all {len(found)} images: see {out / 'dropped.csv'}")
    write_tables(examples, out)
    for name in ask.formats:
        FORMATS[name](examples, out, ask.shard_size)
    missing = ask.refused + len(rows) - len(found)
    write_card(
        out,
        examples,
        ask.settings,
        model=f"{ask.model}. {ask.about}" if ask.about else ask.model,
        formats=ask.formats,
        missing=missing,
        quality=quality,
    )
    print(f"{len(examples)} images in {out}. {quality}".strip())
    there = (path.relative_to(out / IMAGES).as_posix() for path in (out / IMAGES).rglob("*.png"))
    if others := sorted(set(there) - {example.row.name for example in examples}):
        print(f"{len(others)} other images lie in {out / IMAGES} and are in no table, such as {others[0]}")


def _said(by: Judge, verdicts: Mapping[str, Verdict], dropped: Mapping[str, Verdict]) -> str:
    unjudged = sum(verdict.score is None for verdict in verdicts.values())
    if by.source == SOURCE:
        return (
            f"{len(dropped)} of {len(verdicts)} images were dropped, since the packaged view classifier gave the view "
            f"asked for, upright and with bright bones, less than {by.threshold:g}; {unjudged} without one were kept."
        )
    return (
        f"{len(dropped)} of {len(verdicts)} images were dropped, since {Path(by.source).name} gave one of the prompt's "
        f"labels less than {by.threshold:g}; {unjudged} without a label that it knows were kept."
    )


def _list_dropped(path: Path, dropped: Mapping[str, Verdict], filtered: bool) -> None:
    if not filtered:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["filename", "score", "label", "wanted", "probability"])
        for name, verdict in dropped.items():
            writer.writerow([name, f"{verdict.score:.6f}", verdict.label, verdict.wanted, f"{verdict.probability:.6f}"])
