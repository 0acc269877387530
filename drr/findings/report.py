"""Findings with known truth: what was put into a CT, where a view shows it, its labels and its report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from drr.anatomy.structures import Projection, project_mask
from drr.geometry import ConeBeam
from drr.volume import Volume
from radiographs import vocabulary
from radiographs.vocabulary import CHEXPERT

# a label's parents in CheXpert's hierarchy (Irvin et al., 2019, figure 1) hold with it
LABELS = {
    "nodule": ("Lung Lesion", "Lung Opacity"),
    "consolidation": ("Consolidation", "Lung Opacity"),
    "pleural effusion": ("Pleural Effusion",),
    "pneumothorax": ("Pneumothorax",),
    "cardiomegaly": ("Cardiomegaly", "Enlarged Cardiomediastinum"),
}
FRONTAL, LATERAL = (*vocabulary.FRONTAL, "drr-rate", "RAO", "LAO"), (*vocabulary.LATERAL, "drr-rate-lateral")
OBLIQUE = {"RAO": "Right anterior oblique", "LAO": "Left anterior oblique"}


@dataclass(frozen=True, eq=False)
class Finding:
    """One finding that was put into a volume.

    Attributes:
        kind: A key of LABELS.
        side: "right", "left" or "".
        place: In words, such as "right upper lobe".
        mask: bool (D, H, W), the voxels that it fills.
        size: Its measures, named with their units.
    """

    kind: str
    side: str
    place: str
    mask: np.ndarray
    size: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Truth:
    """What one view shows.

    Attributes:
        findings: Those in the picture.
        projections: One a finding.
        labels: CheXpert's; 1 present, 0 absent, None not known.
        report: In words.
    """

    findings: list[Finding]
    projections: list[Projection]
    labels: dict[str, int | None]
    report: str


def truth(volume: Volume, findings: Iterable[Finding], beam: ConeBeam, view: str, backend: str = "auto") -> Truth:
    """The truth about one view; findings outside of the picture are left out of it.

    Args:
        volume: With what was put in.
        findings: What was put in.
        beam: The view.
        view: The preset's name, which decides what the report can say.
        backend: See `project`.

    Returns:
        Findings, projections, labels and report.
    """
    pairs = [(finding, project_mask(volume, finding.mask, beam, backend)) for finding in findings]
    shown = [(finding, projection) for finding, projection in pairs if projection.box is not None]
    seen = [finding for finding, _ in shown]
    return Truth(seen, [projection for _, projection in shown], chexpert_labels(seen), report(seen, view))


def chexpert_labels(findings: Iterable[Finding]) -> dict[str, int | None]:
    """The 14 CheXpert labels.

    Args:
        findings: What was put in.

    Returns:
        {label: 1 if put in, None if not known, because nobody has read the CT it was put into}; "No Finding" is 0 as
        soon as there is one.
    """
    present = {label for finding in findings for label in LABELS[finding.kind]}
    labels: dict[str, int | None] = {name: 1 if name in present else None for name in CHEXPERT}
    labels["No Finding"] = 0 if present else None
    return labels


def report(findings: Iterable[Finding], view: str) -> str:
    """A short report in plain radiology English that says what was put in, as far as the view tells.

    Args:
        findings: In the picture.
        view: The preset's name; a lateral tells no side.

    Returns:
        One or more sentences.

    Raises:
        ValueError: An unknown view.
    """
    if view not in FRONTAL + LATERAL:
        raise ValueError(f"no view is called {view!r}; give one of {', '.join(FRONTAL + LATERAL)}")
    lateral = view in LATERAL
    findings = list(findings)
    technique = "Lateral" if lateral else OBLIQUE.get(view, "AP" if view != "PA" else "PA")
    if not findings:
        text = "No finding was added to the underlying examination."
        return f"{technique} chest radiograph.\nFINDINGS: {text}\nIMPRESSION: {text}"
    say = _on_lateral if lateral else _on_frontal
    sentences, conclusions = zip(*(say(finding, technique) for finding in findings))
    return f"{technique} chest radiograph.\nFINDINGS: {' '.join(sentences)}\nIMPRESSION: {' '.join(conclusions)}"


def _on_frontal(finding: Finding, technique: str) -> tuple[str, str]:
    """(sentence for the findings, sentence for the impression)."""
    size, side, place = finding.size, finding.side, finding.place
    if finding.kind == "nodule":
        return (
            f"There is {with_article(nodule_words(finding))} in the {place}.",
            f"{place.capitalize()} {lump(finding)} of {size['diameter_mm']:.0f} mm.",
        )
    if finding.kind == "consolidation":
        return (
            f"There is airspace opacity in the {place}.",
            f"{extent(finding)} consolidation in the {place}.",
        )
    if finding.kind == "pleural effusion":
        return (
            f"The {side} costophrenic angle is blunted by fluid with a meniscus along the lateral chest wall.",
            f"{amount(finding)} {side} pleural effusion.",
        )
    if finding.kind == "pneumothorax":
        return (
            f"A visceral pleural line is seen on the {side}, without lung markings beyond it; "
            f"the gap at the apex measures {size['gap_mm']:.0f} mm.",
            f"{gap_size(finding)} {side} pneumothorax.",
        )
    ratio = f"The cardiac silhouette is enlarged, with a cardiothoracic ratio of {size['cardiothoracic_ratio']:.2f}"
    return ratio + (", allowing for AP magnification." if technique == "AP" else "."), "Cardiomegaly."


def _on_lateral(finding: Finding, technique: str) -> tuple[str, str]:
    size = finding.size
    where = finding.place.removeprefix(finding.side).strip()
    if finding.kind == "nodule":
        return (
            f"{with_article(nodule_words(finding)).capitalize()} projects over the {where}; "
            "its side is not determined on this view.",
            f"{lump(finding).capitalize()} of {size['diameter_mm']:.0f} mm projecting over the {where}.",
        )
    if finding.kind == "consolidation":
        return (
            f"Airspace opacity projects over the {where}; its side is not determined on this view.",
            f"{extent(finding)} consolidation projecting over the {where}.",
        )
    if finding.kind == "pleural effusion":
        return (
            "A posterior costophrenic angle is blunted by fluid with a meniscus; its side is not determined.",
            f"{amount(finding)} pleural effusion.",
        )
    if finding.kind == "pneumothorax":
        return (
            "A visceral pleural line is seen without lung markings beyond it; its side is not determined.",
            f"{gap_size(finding)} pneumothorax.",
        )
    return "The cardiac silhouette is enlarged, with less retrosternal and retrocardiac space.", "Cardiomegaly."


def nodule_words(finding: Finding) -> str:
    """Such as "12 mm spiculated nodule".

    Args:
        finding: A nodule, with diameter_mm, spiculation (0 .. 1) and hu as its size.

    Returns:
        Without an article; a nodule that is neither calcified nor ground-glass has no word for its density.
    """
    edge = "spiculated " if finding.size["spiculation"] > 0.3 else ""
    hu = finding.size["hu"]
    kind = "calcified " if hu >= 200 else "ground-glass " if hu <= -300 else ""
    return f"{finding.size['diameter_mm']:.0f} mm {edge}{kind}{lump(finding)}"


def with_article(words: str) -> str:
    """With "a" or "an", also before a number.

    Args:
        words: A noun phrase in lower case, or one that begins with a number such as "8 mm".

    Returns:
        The phrase, with its article.
    """
    return f"{'an' if words.startswith(('8', '11 ', '18 ', 'a', 'e', 'i', 'o', 'u')) else 'a'} {words}"


def lump(finding: Finding) -> str:
    """More than 30 mm are called a mass (Fleischner Society's glossary: Hansell et al., Radiology 2008).

    Args:
        finding: A nodule.

    Returns:
        "mass" or "nodule".
    """
    return "mass" if finding.size["diameter_mm"] > 30 else "nodule"


def extent(finding: Finding) -> str:
    """Of a consolidation: extensive is more than half of the lobe.

    Args:
        finding: A consolidation.

    Returns:
        "Extensive" or "Patchy".
    """
    return "Extensive" if finding.size["lobe_fraction"] > 0.5 else "Patchy"


def amount(finding: Finding) -> str:
    """Of an effusion, by its volume.

    Args:
        finding: An effusion, with its volume_ml as its size.

    Returns:
        "Small" under 300 ml, "Moderate" under 1000 ml, or "Large".
    """
    ml = finding.size["volume_ml"]
    return "Small" if ml < 300 else "Moderate" if ml < 1000 else "Large"


def gap_size(finding: Finding) -> str:
    """Small and large as the American College of Chest Physicians draws the line (Baumann et al., 2001).

    Args:
        finding: A pneumothorax, with its gap_mm as its size.

    Returns:
        "Small" under 30 mm, or "Large".
    """
    return "Small" if finding.size["gap_mm"] < 30 else "Large"
