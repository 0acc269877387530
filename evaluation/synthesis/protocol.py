"""The synthesis protocol: distances of distributions, image and text, labels and views, as one report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from evaluation.distributions import frd, radiomics
from evaluation.distributions.by_finding import by_finding, finding_masks
from evaluation.distributions.fid import FEWEST, fid, fid_by_count
from evaluation.distributions.inception_score import SPLITS, inception_score
from evaluation.distributions.kid import kid
from evaluation.distributions.prdc import PRDC, prdc
from evaluation.features.extract import TRANSFORMS, Extracted, Extractor, extract
from evaluation.inputs import ImageSet, check_pair, check_set
from evaluation.reporting.cells import Cell, Interval
from evaluation.reporting.report import Chart, Report, Table
from evaluation.synthesis.options import SynthesisProtocol
from evaluation.synthesis.prompts import add_entities, add_label_agreement, add_text, add_views

CHECK = Extractor("check", nn.AdaptiveAvgPool2d(1), TRANSFORMS["unit"], "check")  # reads images where nothing else does

NOTES = [
    "Real against real: the real set cut into random halves, what a perfect generator would reach at half the count.",
    "FID depends on the counts; its limit is the extrapolation to endless images (Chong and Forsyth 2020).",
]


def evaluate_synthesis(
    real: ImageSet, synthetic: ImageSet, protocol: SynthesisProtocol, settings: dict[str, Any]
) -> Report:
    """All that the protocol names.

    Args:
        real: The real images.
        synthetic: What is judged.
        protocol: What is computed.
        settings: The options, for the page.

    Returns:
        The report.

    Raises:
        BadInputs: Sets that cannot be compared.
        ValueError: Labels or prompts that the protocol needs are missing.
    """
    asked = (protocol.clip, protocol.classifier, protocol.view_classifier, protocol.radgraph)
    images = bool(protocol.features) or protocol.radiomics or protocol.frd
    if not images and all(part is None for part in asked):
        raise ValueError(
            "nothing to compute: give --features, --frd, --radiomics, --clip, --classifier, --view-classifier or "
            "--radgraph"
        )
    if protocol.by_finding and not protocol.features:
        raise ValueError("--by-finding compares --features of the images of each finding: give some")
    masks = finding_masks(real, synthetic, protocol.classes, protocol.missing) if protocol.by_finding else {}
    report = Report("Synthesis", settings, notes=list(NOTES))
    report.settings |= {"real images": len(real.paths), "synthetic images": len(synthetic.paths)}
    features = {n: _both(report, real, synthetic, extractor, protocol) for n, extractor in protocol.features.items()}
    if features:
        _distributions(report, features, protocol)
    if protocol.frd:
        frd.load_pyradiomics()  # else every image would say that it is absent
        _radiomics(report, "FRD", frd.frd, *_both(report, real, synthetic, frd.EXTRACTOR, protocol), protocol)
    if protocol.radiomics:
        vectors = _both(report, real, synthetic, radiomics.EXTRACTOR, protocol)
        _radiomics(report, "Radiomics distance", radiomics.radiomics_distance, *vectors, protocol)
    if not images:
        _both(report, real, synthetic, CHECK, protocol)
    if protocol.clip is not None:
        add_text(report, synthetic, protocol.clip, protocol)
    if protocol.by_finding:
        _by_finding(report, masks, features, protocol)
    if protocol.classifier is not None:
        add_label_agreement(report, synthetic, protocol.classifier, protocol)
    if protocol.view_classifier is not None:
        add_views(report, synthetic, protocol.view_classifier, protocol)
    add_entities(report, synthetic, protocol)
    return report


def _both(
    report: Report, real: ImageSet, synthetic: ImageSet, extractor: Extractor, protocol: SynthesisProtocol
) -> tuple[np.ndarray, np.ndarray]:
    """Features of both sets, which are checked; what made them is noted."""
    name = extractor.name
    ours = extract(real, extractor, protocol.reading, f"{name}, real")
    theirs = extract(synthetic, extractor, protocol.reading, f"{name}, synthetic")
    check_all(real, ours, synthetic, theirs, protocol.accept)
    return ours.features, theirs.features


def check_all(real: ImageSet, ours: Extracted, synthetic: ImageSet, theirs: Extracted, accept: Sequence[str]) -> None:
    """The checks of both sets and of the two together.

    Args:
        real: The real images.
        ours: What was read off them.
        synthetic: What is judged.
        theirs: What was read off it.
        accept: See `evaluation.inputs.check_set`.
    """
    check_set(real, ours.thumbnails, ours.sizes, accept)
    check_set(synthetic, theirs.thumbnails, theirs.sizes, accept)
    check_pair(real, ours.thumbnails, synthetic, theirs.thumbnails)


def halves(features: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two random halves.

    Args:
        features: (N, D), one row an image.
        seed: Of the split: an image falls into the same half whatever its features are.

    Returns:
        (N // 2, D) and the rest.
    """
    order = np.random.default_rng(seed).permutation(len(features))
    return features[order[: len(order) // 2]], features[order[len(order) // 2 :]]


def _distributions(
    report: Report, features: Mapping[str, tuple[np.ndarray, np.ndarray]], protocol: SynthesisProtocol
) -> None:
    rows: list[list[Cell]] = []
    report.tables.append(Table("Distributions", ["features", "sets", "FID ↓", "FID limit ↓", "KID ↓", *PRDC], rows))
    for name, (real, synthetic) in features.items():
        extractor = protocol.features[name]
        report.settings |= {f"{name}: input": repr(extractor.transform), f"{name}: sha256": extractor.digest}
        rows += _distribution(report, name, real, synthetic, protocol)
        if extractor.head is not None:
            _inception_score(report, name, synthetic, extractor.head.numpy(), protocol.seed)
    report.notes.append("KID: mean over random subsets, plus and minus one standard deviation of them.")


def _distribution(
    report: Report, name: str, real: np.ndarray, synthetic: np.ndarray, protocol: SynthesisProtocol
) -> list[list[Cell]]:
    """The rows of one kind of features."""
    device, seed = protocol.reading.device, protocol.seed
    limit = None
    report.data[name] = {}
    if min(len(real), len(synthetic)) >= FEWEST:
        curve = fid_by_count(real, synthetic, seed=seed, device=device)
        limit = Interval(curve.limit, curve.low, curve.high)
        x, title = [1 / n for n in curve.counts], f"FID by sample count, {name}"
        report.charts.append(Chart(title, x, curve.values, (curve.limit, curve.slope), "1 / images", "FID"))
        report.data[name]["FID by count"] = vars(curve)
    fewest = min(len(real), len(synthetic)) // 4
    if fewest < real.shape[1]:
        report.notes.append(
            f"{name}: {real.shape[1]} features and as few as {fewest} images in its curve: FID and its limit are not "
            "reliable; take more images, or KID."
        )
    rows: list[list[Cell]] = []
    for label, a, b in (("synthetic", real, synthetic), ("real against real", *halves(real, seed))):
        values = prdc(a, b, protocol.k, device)
        mean, spread = kid(a, b, protocol.kid_subset, seed=seed, device=device)
        distance = fid(a, b, device)
        interval = Interval(mean, mean - spread, mean + spread)
        rows.append([name, label, distance, None if rows else limit, interval, *(values[key] for key in PRDC)])
        if label == "synthetic":
            report.data[name] |= {"FID": distance, "KID": mean, **values}
    return rows


def _inception_score(report: Report, name: str, synthetic: np.ndarray, head: np.ndarray, seed: int) -> None:
    if len(synthetic) < SPLITS:
        report.notes.append(f"{name}: fewer than {SPLITS} synthetic images, so no Inception Score.")
        return
    score, spread = inception_score(synthetic @ head.T, seed=seed)
    published, other = inception_score(synthetic, seed=seed)
    rows: list[list[Cell]] = [
        ["of the classes", Interval(score, score - spread, score + spread)],
        ["of the features, as CheXGenBench computes it", Interval(published, published - other, published + other)],
    ]
    note = "Plus and minus one standard deviation over ten parts. ImageNet's classes are no radiographs'."
    report.tables.append(Table(f"Inception Score, {name}", ["", "score ↑"], rows, note))
    report.data[name] |= {"Inception Score": score, "Inception Score (CheXGenBench)": published}


def _radiomics(
    report: Report,
    title: str,
    distance: Callable[[np.ndarray, np.ndarray], float],
    real: np.ndarray,
    synthetic: np.ndarray,
    protocol: SynthesisProtocol,
) -> None:
    values = {"synthetic": distance(real, synthetic), "real against real": distance(*halves(real, protocol.seed))}
    note = {
        "FRD": "Logarithm of the squared Frechet distance of pyradiomics' features (Konz et al. 2026), as frd-score.",
        "Radiomics distance": "66 texture features of this project, standardised by the real set; not FRD's numbers.",
    }[title]
    report.tables.append(
        Table(title, ["sets", "distance ↓"], [[label, value] for label, value in values.items()], note)
    )
    report.data[title] = {"distance": values["synthetic"], "real against real": values["real against real"]}


def _by_finding(
    report: Report,
    masks: Mapping[str, tuple[np.ndarray, np.ndarray]],
    features: Mapping[str, tuple[np.ndarray, np.ndarray]],
    protocol: SynthesisProtocol,
) -> None:
    table, found = by_finding(masks, features, protocol.k, protocol.kid_subset, protocol.seed, protocol.reading.device)
    for finding, (_, asked) in masks.items():
        if finding in found and "alignments" in report.data:
            found[finding]["alignment"] = float(report.data["alignments"][asked].mean())
    report.tables.append(table)
    report.data["by finding"] = found
