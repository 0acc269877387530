"""Labels of images from a CSV, and how well a classifier finds them again."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from evaluation.features.extract import TRANSFORMS, Extractor
from evaluation.features.networks import load_torchscript
from evaluation.inputs import ImageSet
from radiographs import vocabulary

if TYPE_CHECKING:
    from jaxtyping import Float

DICT_COLUMNS = ("labels_dict", "chexpert_labels")  # SynthCheX-75K and CheXGenBench
CHEXPERT = tuple(sorted(vocabulary.CHEXPERT))  # the order of most classifiers' outputs, and of MIMIC-CXR's tables


def read_labels(
    images: ImageSet, classes: Sequence[str], missing: str = "unknown"
) -> Float[np.ndarray, "count labels"]:
    """Labels from columns of the classes' names or a column that holds a dict of them.

    Args:
        images: N images with their table.
        classes: Names of the L labels.
        missing: What an empty value is: "unknown" (NaN) or "negative" (0), as CheXpert's labeller means it.

    Returns:
        float (N, L) of 0, 1 and NaN; -1 (CheXpert's "uncertain") is NaN.

    Raises:
        ValueError: Other values, or classes that are nowhere.
    """
    columns = next(iter(images.rows.values()), {})
    dicts = next((name for name in DICT_COLUMNS if name in columns), None)
    places = [getattr(images.rows.get(image), "where", images.source) for image in images.paths]  # file and line
    rows = [_dict(text, place) for text, place in zip(images.column(dicts), places)] if dicts else None
    labels = np.empty((len(images.paths), len(classes)))
    for index, name in enumerate(classes):
        if name in columns:
            values: list = images.column(name)
        elif rows is not None:
            values = [row.get(name) for row in rows]
        else:
            raise ValueError(
                f"{images.source}: no column '{name}' and none of {', '.join(DICT_COLUMNS)} for the labels"
            )
        labels[:, index] = [_value(value, name, place, missing) for value, place in zip(values, places)]
    return labels


def has_labels(images: ImageSet, classes: Sequence[str]) -> bool:
    """Whether a set's table has a column of each of the classes, or one that holds a dict of them.

    Args:
        images: Judged by its first row: a table has the same columns in all.
        classes: Names of the columns that would all have to be there.

    Returns:
        False for a folder, which has no table.
    """
    columns = next(iter(images.rows.values()), {})
    return any(name in columns for name in DICT_COLUMNS) or all(name in columns for name in classes)


def _dict(text: object, source: str) -> dict[str, object]:
    if isinstance(text, dict):  # a struct of Parquet
        return text
    text = "" if text is None else str(text)
    try:
        found = ast.literal_eval(re.sub(r"\bnan\b", "None", text)) if text else {}
    except (ValueError, SyntaxError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{source}: '{text[:40]}' where a dict of labels was expected")
    return found


def _value(value: object, name: str, source: str, missing: str) -> float:
    text = "" if value is None else str(value).strip()
    if text.lower() in ("", "nan", "none"):
        return 0.0 if missing == "negative" else float("nan")
    known = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "-1": float("nan"), "-1.0": float("nan")}
    known |= {"true": 1.0, "false": 0.0}
    if text.lower() not in known:
        raise ValueError(f"{source}: label '{text}' of {name} where 0, 1, -1 or nothing was expected")
    return known[text.lower()]


def load_classifier(path: str, transform: str | None, classes: Sequence[str]) -> Extractor:
    """A TorchScript classifier as an Extractor of logits.

    Args:
        path: The file, (B, C, S, S) -> logits (B, len(classes)).
        transform: One of `evaluation.features.networks.TRANSFORMS`.
        classes: What the logits stand for.

    Returns:
        The classifier with its transform, named after the file.

    Raises:
        FileNotFoundError: No such file.
        ValueError: No known transform, another number of logits, or a file that is no TorchScript.
    """
    network = load_torchscript(Path(path))
    if transform not in TRANSFORMS:
        raise ValueError(f"--transform {transform}: a classifier needs one of {', '.join(TRANSFORMS)}")
    chosen = TRANSFORMS[transform]
    with torch.inference_mode():
        shape = tuple(network(torch.zeros(1, chosen.channels, chosen.size, chosen.size)).shape)
    if shape != (1, len(classes)):
        raise ValueError(
            f"{path} gives {shape} for one image where {len(classes)} classes were named: {', '.join(classes)}"
        )
    return Extractor(Path(path).name, network, chosen, hashlib.sha256(Path(path).read_bytes()).hexdigest())


def accuracy_by_class(
    truth: Sequence[str], logits: Float[np.ndarray, "count classes"], classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the largest logit is the true class.

    Args:
        truth: Class of each of the N images.
        logits: (N, C).
        classes: What the logits stand for.

    Returns:
        (N,) bool, and the confusion counts (C, C), by true and found class.

    Raises:
        ValueError: Classes in `truth` that the classifier does not know, all listed.
    """
    unknown = sorted(set(truth) - set(classes))
    if unknown:
        raise ValueError(
            f"classes {', '.join(unknown)} that the classifier does not know; it knows {', '.join(classes)}"
        )
    true, found = np.array([classes.index(name) for name in truth]), logits.argmax(axis=1)
    confusion = np.zeros((len(classes), len(classes)), int)
    np.add.at(confusion, (true, found), 1)
    return true == found, confusion
