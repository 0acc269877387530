"""Which views pictures show, beside the views that were asked for, and which pictures are turned or negative."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.inputs import ImageSet
from evaluation.reporting.cells import Cell, Interval
from evaluation.reporting.report import Report, Table
from evaluation.views.classifier import CLASSES, Verdict, ViewNet, judge_views
from radiographs.io import read_radiograph
from radiographs.suitability import assess
from radiographs.vocabulary import VIEWS

BATCH = 32
LISTED = 40  # pictures that are not what they should be, in the page; views.csv has all
NOTE = (
    "Trained on radiographs rendered from CT; it was tried on seven real frontals only, where `other` says little. "
    "PA and AP differ by the beam's side and distance alone: mostly it is unsure which, and then disagrees with "
    "neither."
)


@dataclass(frozen=True)
class Judged:
    """One picture: what it shows, what was asked for, and what `suppress` would warn of.

    Attributes:
        name: Of the image.
        asked: One of `radiographs.vocabulary.VIEWS`; "" if nobody says.
        verdict: The classifier's.
        warnings: As `radiographs.suitability.assess` words them.
    """

    name: str
    asked: str
    verdict: Verdict
    warnings: tuple[str, ...]

    @property
    def agrees(self) -> bool | None:
        """Whether the view may be the one asked for; None where none was. LATERAL is either lateral.

        A frontal view that is reported as unsure between PA and AP agrees with both.
        """
        return not self.verdict.denies(self.asked) if self.asked else None


def judge_set(
    images: ImageSet,
    column: str,
    progress: Callable[[str, int, int], None] | None = None,
    model: ViewNet | None = None,
) -> list[Judged]:
    """Judge every picture of a set.

    Args:
        images: A folder, or a table whose column names the view that was asked for.
        column: That column; without it in the table nothing is compared.
        progress: Called with what is being done, how many are done, of how many.
        model: By default the packaged classifier.

    Returns:
        In the order of the set.

    Raises:
        ValueError: A picture that cannot be read, a view that nobody knows.
    """
    asked = [_asked(images, name, column) for name in images.names]
    judged: list[Judged] = []
    paths: list[tuple[str, Path]] = list(images.paths.items())
    for start in range(0, len(paths), BATCH):
        part = paths[start : start + BATCH]
        pictures = [read_radiograph(path).pixels for _, path in part]
        for (name, _), pixels, verdict in zip(part, pictures, judge_views(pictures, model)):
            judged.append(Judged(name, asked[len(judged)], verdict, assess(pixels).warnings))
        if progress is not None:
            progress("views", len(judged), len(paths))
    return judged


def _asked(images: ImageSet, name: str, column: str) -> str:
    view = str(images.rows.get(name, {}).get(column) or "").strip().upper()
    if view and view not in VIEWS:
        raise ValueError(f"{images.source}: {name} has the view {view!r}; known are {', '.join(VIEWS)}")
    return view


def view_report(judged: Sequence[Judged], settings: dict[str, Any]) -> Report:
    """Tables of views found, of agreement with what was asked for, and of pictures to look at.

    Args:
        judged: Of one set, one picture at least.
        settings: Shown at the top of the page.

    Returns:
        The page; the table of agreement is there only if a view was asked for, that of odd pictures if there are any.
    """
    report = Report("Views", {**settings, "images": len(judged)}, notes=[NOTE])
    found = Counter(one.verdict.view for one in judged)
    turned = sum(one.verdict.turn_degrees != 0 for one in judged)
    negative = sum(one.verdict.negative for one in judged)
    rows: list[list[Cell]] = [[name, found[name], found[name] / len(judged)] for name in CLASSES]
    unsure = sum(one.verdict.unsure for one in judged)
    rows += [["PA or AP, unsure which", unsure, unsure / len(judged)]]
    rows += [["turned", turned, turned / len(judged)], ["negative", negative, negative / len(judged)]]
    report.tables.append(Table("What the pictures show", ["", "pictures", "part"], rows))
    asked = [one for one in judged if one.asked]
    if asked:
        report.tables.append(_agreement(asked))
    odd = [one for one in judged if not _as_it_should_be(one)]
    if odd:
        lines: list[list[Cell]] = [
            [one.name, one.asked, one.verdict.view, one.verdict.probability, one.verdict.turn_degrees, _said(one)]
            for one in odd[:LISTED]
        ]
        columns = ["picture", "asked", "view", "probability", "turned", ""]
        report.tables.append(Table(f"To look at: {len(odd)} pictures", columns, lines, "All are in views.csv."))
    right = sum(bool(one.agrees) for one in asked)
    report.data = {"found": dict(found), "unsure": unsure, "turned": turned, "negative": negative}
    report.data |= {"asked": len(asked), "agree": right}
    return report


def _agreement(asked: Sequence[Judged]) -> Table:
    """A row for each view asked for: how many, how many agree, and what was found."""
    rows: list[list[Cell]] = []
    for view in dict.fromkeys([*VIEWS, "all"]):
        own = [one for one in asked if view in (one.asked, "all")]
        if own:
            right = sum(bool(one.agrees) for one in own)
            counts = Counter(one.verdict.view for one in own)
            rows.append([view, len(own), _part(right, len(own)), *(counts[name] for name in CLASSES)])
    return Table("Asked for and found", ["asked", "pictures", "right", *CLASSES], rows)


def _part(right: int, count: int) -> Interval:
    """A part with Wilson's 95% interval (Wilson, JASA 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(right, count).proportion_ci(0.95, method="wilson")
    return Interval(right / count, float(interval.low), float(interval.high))


def _as_it_should_be(one: Judged) -> bool:
    verdict = one.verdict
    return one.agrees is not False and verdict.view != "other" and not verdict.turn_degrees and not verdict.negative


def _said(one: Judged) -> str:
    return "; ".join([*(["negative"] if one.verdict.negative else []), *one.warnings])


def table_rows(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """views.csv: a row a picture, with the probability of each class.

    Args:
        judged: Of one set.

    Returns:
        The columns image, asked, view, probability, unsure, agrees, turned_degrees, negative, p_CLASS and suitability.
    """
    return [
        {
            "image": one.name,
            "asked": one.asked,
            "view": one.verdict.view,
            "probability": f"{one.verdict.probability:.6f}",
            "unsure": int(one.verdict.unsure),
            "agrees": "" if one.agrees is None else int(one.agrees),
            "turned_degrees": one.verdict.turn_degrees,
            "negative": int(one.verdict.negative),
            **{f"p_{name}": f"{value:.6f}" for name, value in one.verdict.probabilities.items()},
            "suitability": "; ".join(one.warnings),
        }
        for one in judged
    ]
