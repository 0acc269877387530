"""Chest ImaGenome's scene graphs: anatomical locations as objects, findings as their attributes, changes as relations.

One ID_SceneGraph.json a picture with the fields of the silver data set (Wu et al., NeurIPS 2021; PhysioNet
"chest-imagenome" 1.0.0): objects have boxes in a picture letterboxed to 224 x 224 (x1, ...) and in the picture itself
(original_x1, ...); attributes are "category|yes|name" with cues; relationships compare a location on the current image
(subject_id) with the same on the prior one (object_id): improved, worsened or no change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from radiolucent.rendering.exports.common import Truth, finding_name, is_pair, picture_id, shown, write_json

SIDE = 224
ATTRIBUTES = {
    "nodule": ("mass/nodule (not otherwise specified)", "lung lesion", "lung opacity"),
    "mass": ("mass/nodule (not otherwise specified)", "lung lesion", "lung opacity"),
    "consolidation": ("consolidation", "airspace opacity", "lung opacity"),
    "pleural effusion": ("pleural effusion", "costophrenic angle blunting", "lung opacity"),
    "pneumothorax": ("pneumothorax",),
    "cardiomegaly": ("enlarged cardiac silhouette",),
}
COMPARED = {
    "new": "worsened",
    "grown": "worsened",
    "shrunk": "improved",
    "resolved": "improved",
    "unchanged": "no change",
}
PREDICATES = {"worsened": "Worsened", "improved": "Improved", "no change": "No status change"}
PHRASED = ("attributes", "attributes_ids", "phrases", "phrase_IDs", "sections")
CUES = ("comparison_cues", "temporal_cues", "severity_cues", "texture_cues")


def write_imagenome(truths: Callable[[], Iterable[Truth]], folder: Path) -> None:
    """folder/scene_graph/ID_SceneGraph.json of each picture.

    Args:
        truths: Gives the truth of every picture, with locations.
        folder: Of the exports.
    """
    for truth in truths():
        write_json(folder / "scene_graph" / f"{picture_id(truth)}_SceneGraph.json", scene_graph(truth))


def scene_graph(truth: Truth) -> dict[str, Any]:
    """The graph of one picture, whose locations were written (--structures).

    Args:
        truth: Of the picture.

    Returns:
        The graph's fields; what Radiolucent cannot know (gender, age, dates) is None. Relationships are there for a
        current picture with a prior alone.
    """
    name = picture_id(truth)
    return {
        "image_id": name,
        "viewpoint": truth["view"],
        "patient_id": truth["ct"],
        "study_id": truth["study"],
        "gender": None,
        "age_decile": None,
        "reason_for_exam": "",
        "StudyOrder": 2 if is_pair(truth) else 1,
        "StudyDateTime": None,
        "objects": [_object(name, where, part["box"], truth["size"]) for where, part in truth["locations"].items()],
        "attributes": _attributes(name, truth),
        "relationships": _relationships(name, truth) if is_pair(truth) else [],
    }


def _object(image: str, location: str, box: Sequence[int], size: Sequence[int]) -> dict[str, Any]:
    x1, y1, x2, y2 = box[0], box[1], box[2] + 1, box[3] + 1  # edges, so that the width is x2 - x1
    scale = SIDE / max(size)
    pad_x, pad_y = (SIDE - size[1] * scale) / 2, (SIDE - size[0] * scale) / 2
    small = [round(x1 * scale + pad_x), round(y1 * scale + pad_y), round(x2 * scale + pad_x), round(y2 * scale + pad_y)]
    return {
        "object_id": f"{image}_{location}",
        **dict(zip(("x1", "y1", "x2", "y2"), small)),
        "width": small[2] - small[0],
        "height": small[3] - small[1],
        "bbox_name": location,
        "synsets": [],
        "name": location.capitalize(),
        **dict(zip(("original_x1", "original_y1", "original_x2", "original_y2"), (x1, y1, x2, y2))),
        "original_width": x2 - x1,
        "original_height": y2 - y1,
    }


def _names(finding: Mapping[str, Any]) -> list[str]:
    return [f"anatomicalfinding|yes|{name}" for name in ATTRIBUTES[finding_name(finding)]]


def _attributes(image: str, truth: Truth) -> list[dict[str, Any]]:
    """One entry a location, with a phrase for each finding in it."""
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for finding in shown(truth):
        for location in finding["locations"]:
            found[location].append(finding)
    return [_attribute(image, location, findings) for location, findings in found.items()]


def _attribute(image: str, location: str, findings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    entry: dict[str, Any] = {location: True, "bbox_name": location, "synsets": [], "name": location.capitalize()}
    entry |= {key: [] for key in (*PHRASED, *CUES)}
    for finding in findings:
        names = [*_names(finding), "nlp|yes|abnormal"]
        entry["attributes"].append(names)
        entry["attributes_ids"].append(["" for _ in names])
        entry["phrases"].append(finding.get("change_phrase") or finding["phrase"])
        entry["phrase_IDs"].append(f"{image}|{finding['number']}")
        entry["sections"].append("finalreport")
        compared = [f"comparison|yes|{COMPARED[finding['change']]}"] if "change" in finding else []
        for cue in CUES:
            entry[cue].append(compared if cue == "comparison_cues" else [])
    return {**entry, "object_id": f"{image}_{location}"}


def _relationships(image: str, truth: Truth) -> list[dict[str, Any]]:
    prior = f"{truth['ct']}_{truth['prior_study']}_{Path(truth['prior_image']).stem}"
    relations = []
    for finding in truth["findings"]:
        compared = COMPARED[finding["change"]]
        for location in finding["locations"]:
            relations.append(
                {
                    "relationship_id": f"{image}|{finding['number']}_{location}",
                    "predicate": f"['{PREDICATES[compared]}']",
                    "synsets": [],
                    "relationship_names": [f"comparison|yes|{compared}"],
                    "relationship_contexts": [1.0],
                    "phrase": finding["change_phrase"],
                    "attributes": _names(finding),
                    "bbox_name": location,
                    "subject_id": f"{image}_{location}",
                    "object_id": f"{prior}_{location}",
                }
            )
    return relations
