"""What a reader of a data set gives: images with view, report and split; and the values of its tables, checked."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radiographs.regions import Region
from radiographs.tables import Row

SEX_WORDS = {"f": "F", "female": "F", "m": "M", "male": "M"}
UNKNOWN_SEXES = ("", "unknown", "u", "other", "o", "nan", "none")
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class ReportedImage:
    """An image with what is known about it.

    Attributes:
        path: Its file.
        name: Unique in its data set.
        view: One of VIEWS, or None if the data do not tell.
        report: "" for none.
        patient: Of the image.
        study: Of the image.
        age: In years, or None.
        sex: F, M or None.
        split: train, validation, test or None.
        boxes: Where findings are, as far as the data tell.
        masks: Their outlines, likewise.
        prior: Name of the same patient's image of an earlier study, or "".
        comparison: What changed since, or "".
    """

    path: Path
    name: str
    view: str | None
    report: str
    patient: str
    study: str
    age: float | None = None
    sex: str | None = None
    split: str | None = None
    boxes: tuple[Region, ...] = ()
    masks: tuple[Region, ...] = ()
    prior: str = ""
    comparison: str = ""


@dataclass
class Reading:
    """What a reader found.

    Attributes:
        images: In the order of the table.
        set_aside: How many were skipped, by reason.
        first: The first of each reason.
    """

    images: list[ReportedImage] = field(default_factory=list)
    set_aside: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, image: ReportedImage) -> None:
        """Keep an image if its file is there.

        Args:
            image: Counted among what was skipped if its file is missing.
        """
        if image.path.is_file():
            self.images.append(image)
        else:
            self.skip("the image file is missing", str(image.path))

    def skip(self, reason: str, what: str) -> None:
        """Count an image, or a report, that is left out.

        Args:
            reason: Why.
            what: Its name; the first of each reason is kept.
        """
        self.set_aside[reason] += 1
        self.first.setdefault(reason, what)

    def skipped(self) -> str:
        """What was left out, for a message: each reason with its count and its first instance.

        Returns:
            Such as "2 x the image file is missing (such as a.png)"; "" if nothing was left out.
        """
        return ", ".join(
            f"{count} x {reason}" + (f" (such as {self.first[reason]})" if reason in self.first else "")
            for reason, count in self.set_aside.items()
        )


def plain_text(value: Any) -> str:
    """A cell with its white space made single; "" for None and NaN.

    Args:
        value: Text, a number, None or NaN, as pyarrow and csv give them.

    Returns:
        Text on one line, without white space at its ends.
    """
    return "" if value is None or value != value else " ".join(str(value).split())


def joined(*parts: Any) -> str:
    """The cells that are not empty, as one text.

    Args:
        *parts: Cells, each as `plain_text` takes it.

    Returns:
        The cells in their order with a space between two; "" if all are empty.
    """
    return " ".join(text for text in map(plain_text, parts) if text)


def parse_age(value: Any) -> float | None:
    """Years from 0 to 120; CheXpert's 0 stands for unknown.

    Args:
        value: A number, or text that holds nothing else.

    Returns:
        Years; None for anything that is no age above 0 and up to 120.
    """
    try:
        years = float(value)
    except (TypeError, ValueError):
        return None
    return years if 0 < years <= 120 else None


def checked_age(row: Row) -> float | None:
    """The column age, if there is one.

    Args:
        row: Of a table of any data set.

    Returns:
        Years; None if unknown: no such column, an empty cell or 0.

    Raises:
        ValueError: The cell holds something else than an age; with the line.
    """
    text = plain_text(row.get("age"))
    if text and parse_age(text) is None and text not in ("0", "0.0"):
        raise ValueError(
            f"{row.where}: the age is '{text}'; expected years from 1 to 120, or nothing (or 0) if unknown"
        )
    return parse_age(text)


def parse_sex(value: Any) -> str | None:
    """F, M or None.

    Args:
        value: A word such as "Female" or "m", in any case.

    Returns:
        "F" or "M"; None for anything else.
    """
    return SEX_WORDS.get(plain_text(value).lower())


def checked_sex(row: Row) -> str | None:
    """The column sex, if there is one.

    Args:
        row: Of a table of any data set.

    Returns:
        "F" or "M"; None if unknown: no such column, an empty cell or a word for unknown.

    Raises:
        ValueError: The cell holds any other word; with the line.
    """
    text = plain_text(row.get("sex"))
    if parse_sex(text) is None and text.lower() not in UNKNOWN_SEXES:
        raise ValueError(f"{row.where}: the sex is '{text}'; expected F or M, or nothing if unknown")
    return parse_sex(text)


def checked_split(value: Any, row: Row) -> str:
    """The split that a row names.

    Args:
        value: Its cell.
        row: For messages.

    Returns:
        train, validation or test.

    Raises:
        ValueError: With the line, for any other word, and for none.
    """
    text = plain_text(value)
    if text.lower() not in SPLIT_WORDS:
        raise ValueError(
            f"{row.where}: the split is '{text}'; expected one of {', '.join(SPLIT_WORDS)} in every row "
            "(or no such column)"
        )
    return SPLIT_WORDS[text.lower()]
