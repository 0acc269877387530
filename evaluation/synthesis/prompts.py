"""What synthetic images show of what was asked for: image and text, findings, views, and RadGraph's entities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from evaluation.features.clip import Clip, alignment, observations
from evaluation.features.extract import Extractor, extract
from evaluation.features.labels import accuracy_by_class, has_labels, read_labels
from evaluation.inputs import ImageSet
from evaluation.reporting.cells import Cell, Interval
from evaluation.reporting.report import Report, Table
from evaluation.reporting.statistics import auroc_interval, bootstrap_mean
from evaluation.synthesis.radgraph import LEVELS, agreements, annotate, label_counts

if TYPE_CHECKING:
    from evaluation.synthesis.options import SynthesisProtocol

LOGIT_SCALE = 100.0  # CLIP's own temperature


def add_text(report: Report, synthetic: ImageSet, clip: Clip, protocol: SynthesisProtocol) -> None:
    """Alignment of images and prompts; findings by descriptive observations if labels are known.

    Args:
        report: What tables and data are added to.
        synthetic: The images.
        clip: The model.
        protocol: What is computed.
    """
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
    report.data["alignments"] = found["own"]
    if not has_labels(synthetic, list(protocol.descriptors)):
        report.notes.append("No labels of the synthetic images: descriptive observations are not scored.")
        return
    labels = read_labels(synthetic, list(protocol.descriptors), protocol.missing)
    scores = observations(images, clip.texts, protocol.descriptors, LOGIT_SCALE)
    table = auroc_table(
        "Findings by descriptive observations", labels, np.stack(list(scores.values()), 1), list(scores)
    )
    report.tables.append(table)


def auroc_table(title: str, labels: np.ndarray, scores: np.ndarray, classes: Sequence[str]) -> Table:
    """AUROC with its interval for each class.

    Args:
        title: Of the table.
        labels: (N, L) of 0, 1, NaN.
        scores: (N, L).
        classes: L names.

    Returns:
        The table.
    """
    rows: list[list[Cell]] = []
    for index, name in enumerate(classes):
        known = ~np.isnan(labels[:, index])
        truth, score = labels[known, index], scores[known, index]
        area = auroc_interval(truth, score) if known.any() else (float("nan"),) * 3
        rows.append([name, int(truth.sum()), int((truth == 0).sum()), Interval(*area)])
    areas = [row[3].value for row in rows if isinstance(row[3], Interval) and not np.isnan(row[3].value)]
    rows.append(["mean", None, None, float(np.mean(areas)) if areas else None])
    return Table(title, ["finding", "positive", "negative", "AUROC ↑"], rows)


def add_label_agreement(
    report: Report, synthetic: ImageSet, classifier: Extractor, protocol: SynthesisProtocol
) -> None:
    """How well a classifier finds the labels again.

    Args:
        report: What the table is added to.
        synthetic: The images.
        classifier: Extractor of logits of the protocol's classes.
        protocol: What is computed.
    """
    labels = read_labels(synthetic, protocol.classes, protocol.missing)
    logits = extract(synthetic, classifier, protocol.reading, "classifier").features
    table = auroc_table("Labels found again by the classifier", labels, logits, protocol.classes)
    report.tables.append(table)


def add_views(report: Report, synthetic: ImageSet, classifier: Extractor, protocol: SynthesisProtocol) -> None:
    """Whether a classifier finds the views that were asked for.

    Args:
        report: What the table is added to.
        synthetic: The images.
        classifier: Extractor of logits of the protocol's views.
        protocol: What is computed.
    """
    truth = synthetic.column(protocol.view_column)
    logits = extract(synthetic, classifier, protocol.reading, "views").features
    right, confusion = accuracy_by_class(truth, logits, list(protocol.views))
    rows: list[list[Cell]] = [[name, *map(int, counts)] for name, counts in zip(protocol.views, confusion)]
    accuracy = bootstrap_mean(right.astype(float))
    note = f"Accuracy {accuracy[0]:.4f} [{accuracy[1]:.4f}, {accuracy[2]:.4f}]."
    report.tables.append(Table("Views", ["asked for", *(f"found {name}" for name in protocol.views)], rows, note))
    report.data["view accuracy"] = accuracy


def add_entities(report: Report, synthetic: ImageSet, protocol: SynthesisProtocol) -> None:
    """RadGraph's entities in the prompts and, if the CSV has a column of reference reports, their agreement.

    Args:
        report: What the table is added to.
        synthetic: The images.
        protocol: With RadGraph's model.
    """
    if protocol.radgraph is None:
        return
    prompts = synthetic.prompts
    has_reports = protocol.reports_column in next(iter(synthetic.rows.values()), {})
    reports = synthetic.column(protocol.reports_column) if has_reports else []
    found = annotate(
        [*prompts, *reports], protocol.radgraph, lambda done, total: protocol.reading.progress("RadGraph", done, total)
    )
    ours, theirs = found[: len(prompts)], found[len(prompts) :]
    counts = label_counts(ours), label_counts(theirs)
    rows: list[list[Cell]] = [[label, *(part.get(label, 0) for part in counts)] for label in {**counts[0], **counts[1]}]
    report.tables.append(Table("RadGraph entities", ["label", "in the prompts", "in the reports"], rows))
    report.data["RadGraph"] = {"prompts": ours}
    if not reports:
        report.notes.append(f"No column '{protocol.reports_column}': RadGraph's entities were counted, not compared.")
        return
    scores = agreements(ours, theirs)
    rows = [[LEVELS[level], *(Interval(*bootstrap_mean(column)) for column in v.T)] for level, v in scores.items()]
    note = (
        "Prompts against the reports: entities alone, entities with whether they are related, and with each of their "
        "relations (Delbrouck et al. 2022). Means over images; 0 where a text has no entity."
    )
    report.tables.append(Table("RadGraph agreement", ["level", "precision ↑", "recall ↑", "F1 ↑"], rows, note))
    report.data["RadGraph"] |= {"reports": theirs, "F1": {level: v[:, 2] for level, v in scores.items()}}
