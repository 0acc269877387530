"""Keep an image only where a classifier or a CLIP-like model agrees with its prompt's labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Judge:
    """What judges images.

    Attributes:
        source: A TorchScript classifier's file, or a CLIP-like model's folder or hf://owner/name.
        threshold: Of the agreement, in [0, 1].
        classes: The classifier's, see evaluation.features.labels.
        transform: The classifier's, see evaluation.features.labels.
        device: Where it computes.
        workers: Processes that read the images.
    """

    source: str
    threshold: float = 0.5
    classes: tuple[str, ...] = ()
    transform: str = "torchxrayvision"
    device: str = "cpu"
    workers: int = 0


@dataclass(frozen=True)
class Verdict:
    """How far an image agrees with its prompt.

    Attributes:
        score: The probability that the judge gives to the label it doubts most; None if no label could be judged.
        label: That label.
        wanted: 1 or 0 as the prompt has it.
        probability: The judge's that it is present.
    """

    score: float | None
    label: str = ""
    wanted: int = 0
    probability: float = float("nan")


def agreement(labels: Mapping[str, int], probabilities: Mapping[str, float]) -> Verdict:
    """The worst of p (label 1) and 1 - p (label 0) over the labels that both know; uncertain labels (-1) do not count.

    Args:
        labels: Of the prompt.
        probabilities: The judge's.

    Returns:
        The verdict.

    Raises:
        ValueError: A probability is not a number.
    """
    worst = Verdict(None)
    for name, wanted in labels.items():
        if wanted not in (0, 1) or name not in probabilities:
            continue
        probability = probabilities[name]
        if not np.isfinite(probability):
            raise ValueError(f"the filter's probability of {name} is {probability}: it cannot judge")
        score = probability if wanted else 1 - probability
        if worst.score is None or score < worst.score:
            worst = Verdict(score, name, wanted, probability)
    return worst


def judge(paths: Mapping[str, Path], labels: Mapping[str, Mapping[str, int]], by: Judge) -> dict[str, Verdict]:
    """A verdict for each image.

    Args:
        paths: {name: file}.
        labels: {name: its prompt's}.
        by: The judge.

    Returns:
        {name: verdict}.

    Raises:
        ValueError: Not one label of the prompts is among those that `by` knows.
    """
    names, found = _probabilities(paths, by)
    if not any(name in names and value in (0, 1) for row in labels.values() for name, value in row.items()):
        raise ValueError(f"--filter: the prompts have no label that {by.source} knows ({', '.join(names)})")
    return {image: agreement(labels[image], dict(zip(names, map(float, row)))) for image, row in zip(paths, found)}


def _probabilities(paths: Mapping[str, Path], by: Judge) -> tuple[Sequence[str], np.ndarray]:
    """The labels that the judge knows, and its probabilities (N, labels)."""
    from evaluation.features.extract import HUB, Reading, extract
    from evaluation.features.labels import CHEXPERT, load_classifier
    from evaluation.inputs import ImageSet

    images = ImageSet("the synthetic images", dict(paths))
    reading = Reading(workers=by.workers, device=by.device)
    if by.source.startswith(HUB) or Path(by.source).is_dir():
        from evaluation.features.clip import DESCRIPTORS, Clip, observations

        clip = Clip(by.source, by.device)
        log_scale: Any = clip.model.logit_scale
        seen = observations(clip.images(images, reading), clip.texts, DESCRIPTORS, float(log_scale.detach().exp()))
        return list(DESCRIPTORS), np.stack([seen[name] for name in DESCRIPTORS], axis=1)
    classes = by.classes or CHEXPERT
    logits = extract(images, load_classifier(by.source, by.transform, classes), reading).features
    return classes, 1 / (1 + np.exp(-logits.astype(np.float64)))
