"""Distances of distributions for the images of one finding each, as CheXGenBench's "conditional" analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.distributions.fid import fid
from evaluation.distributions.kid import kid
from evaluation.distributions.prdc import PRDC, prdc
from evaluation.features.labels import read_labels
from evaluation.inputs import ImageSet
from evaluation.reporting.cells import Cell
from evaluation.reporting.report import Table

FEWEST = 2  # images of each set for a distance


def finding_masks(
    real: ImageSet, synthetic: ImageSet, classes: Sequence[str], missing: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Which images show each finding.

    Args:
        real: N images with labels.
        synthetic: M images, labelled by their own CSV or, if that has no labels, counted for a finding if their prompt
            is that of a real image with it, as in the benchmark.
        classes: The findings.
        missing: What an empty label means, see `evaluation.features.labels.read_labels`.

    Returns:
        {finding: (which real images have it (N,), which synthetic ones were asked for it (M,))}, bool.

    Raises:
        ValueError: Neither labels nor prompts of the synthetic images are known.
    """
    ours = read_labels(real, classes, missing) == 1
    try:
        theirs = read_labels(synthetic, classes, missing) == 1
    except ValueError as without:
        try:
            asked, known = np.array(synthetic.prompts), np.array(real.prompts)
        except ValueError:
            raise ValueError(
                f"--by-finding needs labels of the synthetic images, or prompts in both: {without}"
            ) from None
        theirs = np.stack([np.isin(asked, known[ours[:, i]]) for i in range(len(classes))], axis=1)
    return {name: (ours[:, i], theirs[:, i]) for i, name in enumerate(classes)}


def by_finding(
    masks: Mapping[str, tuple[np.ndarray, np.ndarray]],
    features: Mapping[str, tuple[np.ndarray, np.ndarray]],
    k: int,
    kid_subset: int,
    seed: int,
    device: str,
) -> tuple[Table, dict[str, dict[str, Any]]]:
    """Distances between the real and the synthetic images of each finding.

    A finding of fewer than 2 images in either set has no distance; one of k or fewer has no precision, recall, density
    and coverage.

    Args:
        masks: Of `finding_masks`.
        features: {name: (real (N, D), synthetic (M, D))}.
        k: Of the nearest neighbours, see `evaluation.distributions.prdc`.
        kid_subset: See `evaluation.distributions.kid`.
        seed: Of KID's subsets.
        device: Where distances are computed.

    Returns:
        The table, and {finding: {features' name: {"FID": ..., "KID": ..., precision, ...}}}.
    """
    rows: list[list[Cell]] = []
    found: dict[str, dict[str, Any]] = {}
    for finding, (ours, theirs) in masks.items():
        counts = int(ours.sum()), int(theirs.sum())
        if min(counts) < FEWEST:
            rows.append([finding, *counts, None, *(None,) * (2 + len(PRDC))])
            continue
        found[finding] = {"real": counts[0], "synthetic": counts[1]}
        for name, (real, synthetic) in features.items():
            a, b = real[ours], synthetic[theirs]
            values = {"FID": fid(a, b, device), "KID": kid(a, b, kid_subset, seed=seed, device=device)[0]}
            values |= prdc(a, b, k, device) if min(counts) > k else {}
            rows.append([finding, *counts, name, *(values.get(key) for key in ("FID", "KID", *PRDC))])
            found[finding][name] = values
    columns = ["finding", "real", "synthetic", "features", "FID ↓", "KID ↓", *PRDC]
    note = "FID rises as images get fewer: compare it between methods at one count, not between findings; KID does not."
    return Table("By finding", columns, rows, note), found
