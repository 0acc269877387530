"""What became of findings between two studies, and the report of that in the field's wording.

The words of change (new, increased, decreased, improved, worsened, resolved, unchanged, "compared with the prior") are
those of MIMIC-CXR's reports that Libra's temporal score looks for (Zhang et al., ACL 2025; Bannur et al., CVPR 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from drr.findings.phrases import Written, denials, without_side
from drr.findings.plan import CHANGES, MEASURES
from drr.findings.report import Finding, amount, gap_size, lump, nodule_words
from drr.findings.wording import NOTHING, is_lateral, technique

SAME = 0.05  # two sizes that differ by no more are one
CHANGE_WORDS = {
    "new": ("There is a new {thing}.", "Compared with the prior radiograph, there is a new {thing}.", "New {thing}."),
    "grown": (
        "Compared with the prior radiograph, the {thing} has increased{by}.",
        "The {thing} has increased in the interval{by}.",
        "The {thing} has worsened since the prior study{by}.",
    ),
    "shrunk": (
        "Compared with the prior radiograph, the {thing} has decreased{by}.",
        "The {thing} has decreased in the interval{by}.",
        "The {thing} has improved since the prior study{by}.",
    ),
    "resolved": (
        "The previously seen {thing} has resolved.",
        "Compared with the prior radiograph, the {thing} has resolved.",
        "Interval resolution of the {thing}.",
    ),
    "unchanged": (
        "The {thing} is unchanged.",
        "Compared with the prior radiograph, the {thing} is unchanged.",
        "The {thing} is stable since the prior study.",
    ),
}
IMPRESSIONS = {
    "new": "New",
    "grown": "Increased",
    "shrunk": "Decreased",
    "resolved": "Resolved",
    "unchanged": "Unchanged",
}


@dataclass(frozen=True, eq=False)
class Change:
    """What became of one finding between two studies.

    Attributes:
        change: One of CHANGES.
        prior: The finding in the prior study; None if that does not have it.
        current: The finding in the current study; None if that does not have it.
    """

    change: str
    prior: Finding | None
    current: Finding | None

    @property
    def finding(self) -> Finding:
        """As it is now, or as it was where it has resolved."""
        found = self.current or self.prior
        assert found is not None
        return found


def compare(prior: Mapping[int, Finding], current: Mapping[int, Finding]) -> dict[int, Change]:
    """What became of the findings of two studies of one body; sizes that differ by 5% or less are unchanged.

    Args:
        prior: {number: finding}.
        current: {number: finding}, by the same numbers.

    Returns:
        {number: Change}.
    """
    found = {}
    for number in sorted(prior.keys() | current.keys()):
        before, now = prior.get(number), current.get(number)
        if before is None or now is None:
            found[number] = Change("new" if before is None else "resolved", before, now)
            continue
        main = MEASURES[now.kind][0]
        ratio = now.size[main] / before.size[main]
        change = "unchanged" if abs(ratio - 1) <= SAME else "grown" if ratio > 1 else "shrunk"
        found[number] = Change(change, before, now)
    return found


def write_comparison(
    changes: Mapping[int, Change],
    view: str,
    rng: np.random.Generator,
    orbit_degrees: float = 0.0,
    known_absent: Sequence[str] = (),
) -> Written:
    """A report of the current study against the prior one: each finding, and what became of it.

    Args:
        changes: {number: Change}, of what either picture shows.
        view: Of both pictures, as `write_report` takes it.
        rng: Of the phrasing.
        orbit_degrees: Of both pictures, as `write_report` takes them.
        known_absent: See `write_report`.

    Returns:
        The report with its parts.
    """
    lateral = is_lateral(view, orbit_degrees)
    order = [list(changes)[n] for n in rng.permutation(len(changes))]
    phrases = {number: _changed(changes[number], lateral, rng) for number in order}
    ranked = sorted(order, key=lambda number: CHANGES.index(changes[number].change))
    conclusions = [_concluded(changes[number], lateral) for number in ranked]
    kinds = {change.finding.kind for change in changes.values()}
    said = " ".join([*phrases.values(), *denials(known_absent, kinds, rng)])
    how = technique(view, orbit_degrees)
    return Written(
        how,
        "Prior " + (how if how[1].isupper() else how[0].lower() + how[1:]),
        said or NOTHING,
        " ".join(conclusions) or NOTHING,
        phrases,
    )


def _changed(change: Change, lateral: bool, rng: np.random.Generator) -> str:
    sentence = str(rng.choice(CHANGE_WORDS[change.change]))
    words = thing(change.finding, lateral, change.change == "new")
    if change.finding.kind in ("cardiomegaly", "consolidation"):  # words without an article
        sentence = sentence.replace("a new {thing}", "new {thing}")
    if change.finding.kind == "cardiomegaly":
        words = "enlargement of the cardiac silhouette"
    return sentence.format(thing=words, by=_by(change, lateral))


def _concluded(change: Change, lateral: bool) -> str:
    finding = change.finding
    name = "cardiomegaly" if finding.kind == "cardiomegaly" else thing(finding, lateral, with_size=False)
    return f"{IMPRESSIONS[change.change]} {name}."


def thing(finding: Finding, lateral: bool, with_size: bool) -> str:
    """A finding as a noun: "right pleural effusion", "12 mm nodule in the right upper lobe".

    Args:
        finding: The finding.
        lateral: Whether the view tells no side.
        with_size: Whether its size is said.

    Returns:
        Without an article, as it stands in the middle of a sentence.
    """
    side = "" if lateral or not finding.side else f"{finding.side} "
    where = f"over the {without_side(finding)}" if lateral else f"in the {finding.place}"
    if finding.kind == "nodule":
        return f"{nodule_words(finding) if with_size else lump(finding)} {where}"
    if finding.kind == "consolidation":
        return f"consolidation {where}"
    if finding.kind == "pleural effusion":
        return f"{amount(finding).lower()} {side}pleural effusion" if with_size else f"{side}pleural effusion"
    if finding.kind == "pneumothorax":
        return f"{gap_size(finding).lower()} {side}pneumothorax" if with_size else f"{side}pneumothorax"
    return "cardiac silhouette"


def _by(change: Change, lateral: bool) -> str:
    """Such as " from 10 to 16 mm", where the finding has a length; else ""."""
    if change.prior is None or change.current is None or change.change == "unchanged":
        return ""
    was, now = change.prior.size, change.current.size
    if change.current.kind == "nodule":
        return f" from {was['diameter_mm']:.0f} to {now['diameter_mm']:.0f} mm"
    if change.current.kind == "pneumothorax" and not lateral:
        return f" from {was['gap_mm']:.0f} to {now['gap_mm']:.0f} mm at the apex"
    if change.current.kind == "pleural effusion" and amount(change.prior) != amount(change.current):
        return f", now {amount(change.current).lower()}"
    return ""
