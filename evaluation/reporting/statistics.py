"""Bootstrap intervals and paired tests over images or, where an image is not independent, over patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
CHUNK = 1 << 20  # values that are drawn at once


def _clusters(values: np.ndarray, groups: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the values of each group."""
    if groups is None:
        return values, np.ones(len(values))
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    return np.bincount(index, weights=values), np.bincount(index).astype(float)


def bootstrap_mean(
    values: np.ndarray, groups: Sequence[str] | None = None, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """Mean of values and its percentile bootstrap interval.

    Args:
        values: (N,); NaN (a metric that is not defined for an image) is left out.
        groups: Each value's patient: whole patients are drawn, since the images of one are alike. With one group the
            interval is NaN.
        seed: Of the draws.
        level: Of the interval.

    Returns:
        Mean, low, high.

    Reference:
        Efron 1979, Annals of Statistics 7.
    """
    values = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(values)
    if not known.any():
        return float("nan"), float("nan"), float("nan")
    groups = None if groups is None else [group for group, keep in zip(groups, known) if keep]
    sums, sizes = _clusters(values[known], groups)
    mean = float(sums.sum() / sizes.sum())
    if len(sums) < 2 or not np.isfinite(sums).all():
        return mean, float("nan"), float("nan")
    random = np.random.default_rng(seed)
    rows = max(1, CHUNK // len(sums))
    means = []
    for start in range(0, RESAMPLES, rows):
        drawn = random.integers(0, len(sums), (min(rows, RESAMPLES - start), len(sums)))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return mean, float(low), float(high)


def bootstrap_median(
    values: np.ndarray, groups: Sequence[str] | None = None, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """As `bootstrap_mean`, of the median: for ratios, whose mean a few small denominators decide.

    Args:
        values: (N,); NaN is left out.
        groups: Each value's patient.
        seed: Of the draws.
        level: Of the interval.

    Returns:
        Median, low, high.
    """
    values = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(values)
    if not known.any():
        return float("nan"), float("nan"), float("nan")
    names = np.arange(len(values)) if groups is None else np.asarray(groups)
    _, member = np.unique(names[known], return_inverse=True)
    values, count = values[known], int(member.max()) + 1
    median = float(np.median(values))
    if count < 2:
        return median, float("nan"), float("nan")
    order = np.argsort(values)
    random = np.random.default_rng(seed)
    drawn = random.multinomial(count, np.full(count, 1 / count), RESAMPLES)  # how often each group is in each draw
    reached = np.cumsum(drawn[:, member[order]], axis=1)
    whole = reached[:, -1:]
    middle = [(2 * reached >= whole).argmax(axis=1), (2 * reached > whole).argmax(axis=1)]  # two values if N is even
    medians = values[order][middle].mean(axis=0)
    low, high = np.quantile(medians, [(1 - level) / 2, (1 + level) / 2])
    return median, float(low), float(high)


def paired_test(a: np.ndarray, b: np.ndarray, groups: Sequence[str] | None = None) -> dict[str, float]:
    """Wilcoxon's signed-rank test of a - b.

    Fewer than six different pairs cannot reach p < 0.05.

    Args:
        a: (N,), one method's values.
        b: (N,), another's, of the same images.
        groups: Each image's patient: their means are compared.

    Returns:
        Mean difference, interval, p, and the number of units.
    """
    from scipy.stats import wilcoxon

    with np.errstate(invalid="ignore"):
        difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    known = np.isfinite(difference)
    kept = None if groups is None else [group for group, keep in zip(groups, known) if keep]
    difference = difference[known]
    mean, low, high = bootstrap_mean(difference, kept)
    sums, sizes = _clusters(difference, kept)
    units = sums / sizes
    p = float(wilcoxon(units).pvalue) if np.any(units) else 1.0
    return {"difference": mean, "low": low, "high": high, "p": p, "units": len(units)}


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for their number.

    Args:
        p_values: As the tests gave them.

    Returns:
        Corrected ones, in the same order.

    Reference:
        Holm 1979, Scandinavian Journal of Statistics 6.
    """
    order = np.argsort(p_values)
    corrected = np.empty(len(p_values))
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected.tolist()


def auroc_interval(
    truth: np.ndarray, score: np.ndarray, groups: Sequence[str] | None = None, seed: int = 0, resamples: int = 1000
) -> tuple[float, float, float]:
    """Area under the ROC curve, with its bootstrap interval over the groups.

    Args:
        truth: (N,) of 0 and 1.
        score: (N,).
        groups: Each image's patient.
        seed: Of the draws; those without one of the two classes are left out.
        resamples: Draws.

    Returns:
        Area, low, high; NaN if there are no positives or no negatives.
    """
    members = np.arange(len(truth)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    value = auroc(truth, score)
    order = np.argsort(members, kind="stable")
    blocks = np.split(order, np.flatnonzero(np.diff(members[order])) + 1)
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        index = np.concatenate([blocks[i] for i in random.integers(0, len(blocks), len(blocks))])
        drawn.append(auroc(truth[index], score[index]))
    known = np.array([area for area in drawn if not np.isnan(area)])
    if not len(known):
        return value, float("nan"), float("nan")
    low, high = np.quantile(known, [0.025, 0.975])
    return value, float(low), float(high)


def auroc(truth: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve as the Mann-Whitney statistic.

    Args:
        truth: (N,) of 0 and 1.
        score: (N,).

    Returns:
        The area; NaN with one class only.
    """
    from scipy.stats import rankdata

    positive = np.asarray(truth) > 0.5
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))
