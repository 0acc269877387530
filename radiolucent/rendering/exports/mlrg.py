"""MLRG's annotation: each image as an anchor, the other views of its study, and the study before.

{"train": [...], "val": [], "test": []} with the fields that github.com/mk-runner/MLRG reads
(`tools/dataset/datasets_v0818_ab.py`): id, anchor_scan and auxiliary_references ({"image_path": [...],
"view_position": [...]}), findings, findings_factual_serialization (a sentence each), indication_pure and prior_study
({"latest_study": {image_path, view_position, findings, findings_factual_serialization}}, or null). It takes patient and
study from the second and third part of a path, as images/CT/STUDY/SHOT.png gives them. All studies are in
"train": split by CT, since the studies of one CT are of one patient.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from radiolucent.rendering.exports.common import Truth, is_pair, picture_id, write_json


def write_mlrg(truths: Callable[[], Iterable[Truth]], folder: Path) -> None:
    """folder/mlrg.json of all current pictures.

    Args:
        truths: Gives the truth of every picture, one after the other; it is called twice.
        folder: Of the exports.
    """
    images: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    priors: dict[str, dict[str, Any]] = {}
    for truth in truths():
        images[truth["ct"], truth["study"]].append((truth["image"], truth["view"]))
        if truth["time"] == "prior":
            priors[truth["image"]] = _study(truth)
    cells = [
        _cell(truth, images[truth["ct"], truth["study"]], priors[truth["prior_image"]])
        for truth in truths()
        if is_pair(truth)
    ]
    write_json(folder / "mlrg.json", {"train": cells, "val": [], "test": []})


def _cell(truth: Truth, study: list[tuple[str, str]], prior: dict[str, Any]) -> dict[str, Any]:
    others = [(image, view) for image, view in study if image != truth["image"]]
    compared = truth["comparison"]
    return {
        "id": picture_id(truth),
        "subject_id": truth["ct"],
        "study_id": truth["study"],
        "anchor_scan": {"image_path": [truth["image"]], "view_position": [truth["view"]]},
        "auxiliary_references": {
            "image_path": [image for image, _ in others],
            "view_position": [view for _, view in others],
        },
        "findings": compared["findings"],
        "findings_factual_serialization": _facts(truth, "change_phrase"),
        "impression": compared["impression"],
        "comparison": compared["comparison"],
        "indication": "",
        "indication_pure": "",
        "history_pure": "",
        "prior_study": {"latest_study": prior},
    }


def _study(truth: Truth) -> dict[str, Any]:
    return {
        "image_path": truth["image"],
        "view_position": truth["view"],
        "findings": truth["report"]["findings"],
        "impression": truth["report"]["impression"],
        "findings_factual_serialization": _facts(truth, "phrase"),
    }


def _facts(truth: Truth, phrase: str) -> list[str]:
    """A sentence a finding; the whole text where there is none, since MLRG drops a study without facts."""
    facts = [finding[phrase] for finding in truth["findings"] if finding[phrase]]
    text = truth["comparison"] if phrase == "change_phrase" else truth["report"]
    return facts or [text["findings"]]
