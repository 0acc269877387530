"""The synthesis protocol: distances of distributions, image and text, labels and views, as one report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evaluation import radiomics
from evaluation.clip import DESCRIPTORS, Clip, alignment, observations
from evaluation.features import Extracted, Extractor, Reading, extract
from evaluation.frechet import FEWEST, fid, fid_by_count
from evaluation.inputs import ImageSet, check_pair, check_set
from evaluation.kernel import kid
from evaluation.labels import accuracy_by_class, read_labels
from evaluation.manifold import prdc
from evaluation.report import Cell, Chart, Interval, Report, Table
from evaluation.statistics import auroc_interval, bootstrap_mean

PRDC = ("precision", "recall", "density", "coverage")
LOGIT_SCALE = 100.0  # CLIP's own temperature
NOTES = [
    "Real against real: the real set cut into random halves, what a perfect generator would reach at half the count.",
    "FID depends on the counts; its limit is the extrapolation to endless images (Chong and Forsyth 2020).",
]


@dataclass
class SynthesisProtocol:
    """features: {name: Extractor}. classifier, view_classifier: extractors of logits with their classes.

    missing: what an empty label means, see `evaluation.labels.read_labels`. accept: see `evaluation.inputs.check_set`.
    """

    features: Mapping[str, Extractor]
    k: int = 5
    kid_subset: int = 1000
    radiomics: bool = False
    clip: Clip | None = None
    descriptors: Mapping[str, Sequence[str]] = field(default_factory=lambda: DESCRIPTORS)
    classifier: Extractor | None = None
    classes: Sequence[str] = ()
    view_classifier: Extractor | None = None
    views: Sequence[str] = ()
    view_column: str = "view"
    missing: str = "unknown"
    accept: Sequence[str] = ()
    seed: int = 0
    reading: Reading = field(default_factory=Reading)


def evaluate_synthesis(
    real: ImageSet, synthetic: ImageSet, protocol: SynthesisProtocol, settings: dict[str, Any]
) -> Report:
    """All that the protocol names; BadInputs for sets that cannot be compared."""
    if not (
        protocol.features or protocol.radiomics or protocol.clip or protocol.classifier or protocol.view_classifier
    ):
        raise ValueError("nothing to compute: give --features, --radiomics, --clip, --classifier or --view-classifier")
    report = Report("Synthesis", settings, notes=list(NOTES))
    report.settings |= {"real images": len(real.paths), "synthetic images": len(synthetic.paths)}
    table = Table("Distributions", ["features", "sets", "FID ↓", "FID limit ↓", "KID ↓", *PRDC], [])
    report.tables.append(table)
    for name, extractor in protocol.features.items():
        report.settings[f"{name}: input"] = repr(extractor.transform)
        report.settings[f"{name}: sha256"] = extractor.digest
        ours = extract(real, extractor, protocol.reading, f"{name}, real")
        theirs = extract(synthetic, extractor, protocol.reading, f"{name}, synthetic")
        check_all(real, ours, synthetic, theirs, protocol.accept)
        _distribution(report, table, name, ours.features, theirs.features, protocol)
    if protocol.radiomics:
        ours = extract(real, radiomics.EXTRACTOR, protocol.reading, "radiomics, real")
        theirs = extract(synthetic, radiomics.EXTRACTOR, protocol.reading, "radiomics, synthetic")
        check_all(real, ours, synthetic, theirs, protocol.accept)
        _radiomics(report, ours.features, theirs.features, protocol.seed)
    if protocol.clip is not None:
        _text(report, synthetic, protocol.clip, protocol)
    if protocol.classifier is not None:
        _label_agreement(report, synthetic, protocol.classifier, protocol)
    if protocol.view_classifier is not None:
        _views(report, synthetic, protocol.view_classifier, protocol)
    return report


def check_all(real: ImageSet, ours: Extracted, synthetic: ImageSet, theirs: Extracted, accept: Sequence[str]) -> None:
    """The checks of both sets and of the two together."""
    check_set(real, ours.thumbnails, ours.sizes, accept)
    check_set(synthetic, theirs.thumbnails, theirs.sizes, accept)
    check_pair(real, ours.thumbnails, synthetic, theirs.thumbnails)


def halves(features: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two random halves."""
    order = np.random.default_rng(seed).permutation(len(features))
    return features[order[: len(order) // 2]], features[order[len(order) // 2 :]]


def _distribution(
    report: Report, table: Table, name: str, real: np.ndarray, synthetic: np.ndarray, protocol: SynthesisProtocol
) -> None:
    device, seed = protocol.reading.device, protocol.seed
    first, second = halves(real, seed)
    limit = None
    if min(len(real), len(synthetic)) >= FEWEST:
        curve = fid_by_count(real, synthetic, seed=seed, device=device)
        limit = Interval(curve.limit, curve.low, curve.high)
        x, title = [1 / n for n in curve.counts], f"FID by sample count, {name}"
        report.charts.append(Chart(title, x, curve.values, (curve.limit, curve.slope), "1 / images", "FID"))
        report.data[name] = {"FID by count": vars(curve)}
    fewest = min(len(real), len(synthetic)) // 4
    if fewest < real.shape[1]:
        report.notes.append(
            f"{name}: {real.shape[1]} features and as few as {fewest} images in its curve: FID and its limit are not "
            "reliable; take more images, or KID."
        )
    for label, a, b in (("synthetic", real, synthetic), ("real against real", first, second)):
        values = prdc(a, b, protocol.k, device)
        mean, spread = kid(a, b, protocol.kid_subset, seed=seed, device=device)
        distance = fid(a, b, device)
        row: list[Cell] = [name, label, distance, limit if label == "synthetic" else None]
        row += [Interval(mean, mean - spread, mean + spread), *(values[key] for key in PRDC)]
        table.rows.append(row)  # type: ignore[attr-defined]
        if label == "synthetic":
            report.data[name] = {"FID": distance, "KID": mean, **values, **report.data.get(name, {})}
    if len(table.rows) == 2:
        report.notes.append("KID: mean over random subsets, plus and minus one standard deviation of them.")


def _radiomics(report: Report, real: np.ndarray, synthetic: np.ndarray, seed: int) -> None:
    distance = radiomics.radiomics_distance(real, synthetic)
    floor = radiomics.radiomics_distance(*halves(real, seed))
    pairs = (("synthetic", distance), ("real against real", floor))
    rows: list[list[Cell]] = [[label, value, float(np.log(value))] for label, value in pairs]
    note = "66 texture features of this project, standardised by the real set; not pyradiomics' numbers."
    report.tables.append(Table("Radiomics distance", ["sets", "distance ↓", "log"], rows, note))
    report.data["radiomics"] = {"distance": distance, "real against real": floor}


def _text(report: Report, synthetic: ImageSet, clip: Clip, protocol: SynthesisProtocol) -> None:
    prompts = synthetic.prompts
    images = clip.images(synthetic, protocol.reading)
    texts = clip.texts(prompts)
    found = alignment(images, texts, prompts)
    rows: list[list[Cell]] = [
        [label, Interval(*bootstrap_mean(found[key].astype(float)))]
        for key, label in (
            ("own", "cosine with the own prompt"),
            ("others", "cosine with the other prompts"),
            ("first", "own prompt is the nearest"),
            ("among five", "own prompt among the nearest five"),
        )
    ]
    different = len(set(prompts))
    note = f"{different} different prompts; by chance the own prompt is nearest for {1 / different:.4f} of the images."
    report.tables.append(Table("Image and text", ["", "mean"], rows, note))
    report.data["alignment"] = float(found["own"].mean())
    try:
        labels = read_labels(synthetic, list(protocol.descriptors), protocol.missing)
    except ValueError:
        report.notes.append("No labels of the synthetic images: descriptive observations are not scored.")
        return
    scores = observations(images, clip.texts, protocol.descriptors, LOGIT_SCALE)
    table = auroc_table(
        "Findings by descriptive observations", labels, np.stack(list(scores.values()), 1), list(scores)
    )
    report.tables.append(table)


def auroc_table(title: str, labels: np.ndarray, scores: np.ndarray, classes: Sequence[str]) -> Table:
    """AUROC with its interval for each class; labels (N, L) of 0, 1, NaN; scores (N, L)."""
    rows: list[list[Cell]] = []
    for index, name in enumerate(classes):
        known = ~np.isnan(labels[:, index])
        truth, score = labels[known, index], scores[known, index]
        area = auroc_interval(truth, score) if known.any() else (float("nan"),) * 3
        rows.append([name, int(truth.sum()), int((truth == 0).sum()), Interval(*area)])
    areas = [row[3].value for row in rows if isinstance(row[3], Interval) and not np.isnan(row[3].value)]
    rows.append(["mean", None, None, float(np.mean(areas)) if areas else None])
    return Table(title, ["finding", "positive", "negative", "AUROC ↑"], rows)


def _label_agreement(report: Report, synthetic: ImageSet, classifier: Extractor, protocol: SynthesisProtocol) -> None:
    labels = read_labels(synthetic, protocol.classes, protocol.missing)
    logits = extract(synthetic, classifier, protocol.reading, "classifier").features
    table = auroc_table("Labels found again by the classifier", labels, logits, protocol.classes)
    report.tables.append(table)


def _views(report: Report, synthetic: ImageSet, classifier: Extractor, protocol: SynthesisProtocol) -> None:
    truth = synthetic.column(protocol.view_column)
    logits = extract(synthetic, classifier, protocol.reading, "views").features
    right, confusion = accuracy_by_class(truth, logits, list(protocol.views))
    rows: list[list[Cell]] = [[name, *map(int, counts)] for name, counts in zip(protocol.views, confusion)]
    accuracy = bootstrap_mean(right.astype(float))
    note = f"Accuracy {accuracy[0]:.4f} [{accuracy[1]:.4f}, {accuracy[2]:.4f}]."
    report.tables.append(Table("Views", ["asked for", *(f"found {name}" for name in protocol.views)], rows, note))
    report.data["view accuracy"] = accuracy
