"""What a reader of a data set gives: images with view, report and split; and the values of its tables, checked."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radiographs.tables import Row

VIEWS = ("PA", "AP", "LL", "LATERAL", "RL")  # LL left lateral, RL right lateral, LATERAL a lateral of either side
SEXES = {"f": "F", "female": "F", "m": "M", "male": "M"}
UNKNOWN_SEXES = ("", "unknown", "u", "other", "o", "nan", "none")
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class ReportedImage:
    """path and name (unique in its data set) of an image; its view; its report, "" for none; patient and study.

    age in years, sex F or M, split train, validation or test: None where the data do not tell.
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


@dataclass
class Reading:
    """images, in the order of the table; set_aside: how many were left out, by reason; first: the first of each."""

    images: list[ReportedImage] = field(default_factory=list)
    set_aside: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, image: ReportedImage) -> None:
        """Keep an image if its file is there."""
        if image.path.is_file():
            self.images.append(image)
        else:
            self.skip("the image file is missing", str(image.path))

    def skip(self, reason: str, what: str) -> None:
        """Count an image, or a report, that is left out."""
        self.set_aside[reason] += 1
        self.first.setdefault(reason, what)

    def skipped(self) -> str:
        """What was left out, for a message: each reason with its count and its first instance."""
        return ", ".join(
            f"{count} x {reason}" + (f" (such as {self.first[reason]})" if reason in self.first else "")
            for reason, count in self.set_aside.items()
        )


def plain_text(value: Any) -> str:
    """A cell with its white space made single; "" for None and NaN."""
    return "" if value is None or value != value else " ".join(str(value).split())


def joined(*parts: Any) -> str:
    """The cells that are not empty, as one text."""
    return " ".join(text for text in map(plain_text, parts) if text)


def parse_age(value: Any) -> float | None:
    """Years from 0 to 120; CheXpert's 0 stands for unknown."""
    try:
        years = float(value)
    except (TypeError, ValueError):
        return None
    return years if 0 < years <= 120 else None


def checked_age(row: Row) -> float | None:
    """The column age, if there is one; ValueError with the line for what is no age."""
    text = plain_text(row.get("age"))
    if text and parse_age(text) is None and text not in ("0", "0.0"):
        raise ValueError(
            f"{row.where}: the age is '{text}'; expected years from 1 to 120, or nothing (or 0) if unknown"
        )
    return parse_age(text)


def parse_sex(value: Any) -> str | None:
    """F, M or None."""
    return SEXES.get(plain_text(value).lower())


def checked_sex(row: Row) -> str | None:
    """The column sex, if there is one; ValueError with the line for an unknown word."""
    text = plain_text(row.get("sex"))
    if parse_sex(text) is None and text.lower() not in UNKNOWN_SEXES:
        raise ValueError(f"{row.where}: the sex is '{text}'; expected F or M, or nothing if unknown")
    return parse_sex(text)


def checked_split(value: Any, row: Row) -> str:
    """train, validation or test; ValueError with the line for any other word, and for none."""
    text = plain_text(value)
    if text.lower() not in SPLITS:
        raise ValueError(
            f"{row.where}: the split is '{text}'; expected one of {', '.join(SPLITS)} in every row (or no such column)"
        )
    return SPLITS[text.lower()]
