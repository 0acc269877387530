"""Reports in several phrasings, with the sentence of each finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from drr.findings.report import Finding, amount, extent, gap_size, lump, nodule_words, with_article
from drr.findings.wording import DENIALS, FRONTAL_WORDS, LATERAL_WORDS, NOTHING, is_lateral, technique


@dataclass(frozen=True)
class Written:
    """A report by its sections.

    Attributes:
        technique: What the view is.
        comparison: The study that it is compared with; "" if there is none.
        findings: Sentences on what is seen.
        impression: What is concluded.
        phrases: {number of a finding: its sentence in `findings`}.
    """

    technique: str
    comparison: str
    findings: str
    impression: str
    phrases: Mapping[int, str]

    @property
    def text(self) -> str:
        """The whole report."""
        compared = f"COMPARISON: {self.comparison}\n" if self.comparison else ""
        return f"{self.technique}\n{compared}FINDINGS: {self.findings}\nIMPRESSION: {self.impression}"


def write_report(
    findings: Mapping[int, Finding],
    view: str,
    rng: np.random.Generator,
    orbit_degrees: float = 0.0,
    known_absent: Sequence[str] = (),
) -> Written:
    """A report that says each finding, in one of several phrasings and in random order.

    Args:
        findings: {number: finding}, those that the picture shows.
        view: The preset's name, which decides what the report can say.
        rng: Of the phrasing.
        orbit_degrees: By which the view was turned.
        known_absent: Kinds that are known not to be in the CT itself; some of those not put in are denied.

    Returns:
        The report; the sentences of the denials stand last.
    """
    words = LATERAL_WORDS if is_lateral(view, orbit_degrees) else FRONTAL_WORDS
    order = [list(findings)[n] for n in rng.permutation(len(findings))]
    phrases, conclusions = {}, []
    for number in order:
        finding = findings[number]
        sentences, impressions = words[finding.kind]
        fields = _fields(finding)
        phrases[number] = str(rng.choice(sentences)).format(**fields)
        conclusions.append(str(rng.choice(impressions)).format(**fields))
    said = [*phrases.values(), *denials(known_absent, {f.kind for f in findings.values()}, rng)]
    return Written(
        technique(view, orbit_degrees), "", " ".join(said) or NOTHING, " ".join(conclusions) or NOTHING, phrases
    )


def denials(known_absent: Sequence[str], present: set[str], rng: np.random.Generator) -> list[str]:
    """Sentences that deny some of the kinds that are known to be absent.

    Args:
        known_absent: Kinds that the CT does not show.
        present: Kinds that were put in, and are not denied whatever the list says.
        rng: Of the phrasing, and of which are said: each with a probability of 0.7.

    Returns:
        A sentence each, in the order of `known_absent`.
    """
    return [str(rng.choice(DENIALS[kind])) for kind in known_absent if kind not in present and rng.random() < 0.7]


def _fields(finding: Finding) -> dict[str, str]:
    """What the sentences name of a finding."""
    size, words = finding.size, {"place": finding.place, "side": finding.side, "where": without_side(finding)}
    if finding.kind == "nodule":
        words |= {
            "nodule": with_article(nodule_words(finding)),
            "lump": lump(finding),
            "mm": f"{size['diameter_mm']:.0f}",
        }
    elif finding.kind == "consolidation":
        words |= {"extent": extent(finding)}
    elif finding.kind == "pleural effusion":
        words |= {"amount": amount(finding)}
    elif finding.kind == "pneumothorax":
        words |= {"size": gap_size(finding), "gap": f"{size['gap_mm']:.0f}"}
    else:
        words |= {"ratio": f"{size['cardiothoracic_ratio']:.2f}"}
    low = {f"{name}_low": value.lower() for name, value in words.items()}
    return {**words, **low, **{f"{name}_cap": value.capitalize() for name, value in words.items()}}


def without_side(finding: Finding) -> str:
    """Where a finding lies, as a view says it that does not tell right from left.

    Args:
        finding: With a place such as "right upper lobe".

    Returns:
        Such as "upper lobe".
    """
    return finding.place.removeprefix(finding.side).strip()
