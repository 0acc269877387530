r"""RadVLM's conversations: reports, labels, and the grounding of regions, abnormalities and phrases.

One list of {"id", "image", "conversations": [{"from": "human" | "gpt", "value"}]}, as RadVLM's data set is built
(github.com/uzh-dqbm-cmi/RadVLM, `radvlm/data/create_instructions.py`: `create_json_cell_llava`, `format_boxes`): the
first question begins with "<image>\n", boxes are [x1, y1, x2, y2] in 0..1 with two decimals, several are joined by
commas and "and". The questions' and answers' wording is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from radiolucent.rendering.exports.common import (
    Truth,
    finding_name,
    picture_id,
    picture_rng,
    shown,
    unit_box,
    write_json,
)

REGIONS = 3  # of a picture that are asked for
REPORT = (
    "Please write the report of this chest X-ray.",
    "Describe this chest X-ray in a radiology report.",
    "What would the report of this radiograph say?",
    "Report the findings of this chest X-ray.",
)
LABELS = (
    "Which abnormalities does this chest X-ray show?",
    "List the abnormal findings of this radiograph.",
    "Is anything abnormal on this chest X-ray?",
)
LABELS_SAID = ("This radiograph shows {}.", "The abnormal findings are: {}.", "I see {}.")
REGION = (
    "Where is the {} on this chest X-ray?",
    "Give the bounding box of the {}.",
    "Please locate the {} on this image.",
)
REGION_SAID = ("The {} is located at {}.", "The bounding box of the {} is {}.", "The {} lies at {} on this image.")
ABNORMAL = (
    "Which abnormalities are there, and where are they?",
    "Find each abnormality of this chest X-ray and give its location.",
    "Locate all abnormal findings on this radiograph.",
)
ABNORMAL_SAID = ("I find {}.", "There is {}.", "The image shows {}.")
PHRASE = (
    "Where on the image is this seen: {}",
    "Please give the location of the following observation: {}",
    "Which part of the radiograph does this sentence describe: {}",
)
PHRASE_SAID = ("It is seen at {}.", "This observation is located at {}.", "The bounding box is {}.")
NOTHING = ("No abnormality is seen.", "This chest X-ray shows no abnormality.")


def write_radvlm(truths: Callable[[], Iterable[Truth]], folder: Path) -> None:
    """folder/radvlm.json of all pictures.

    Args:
        truths: Gives the truth of every picture.
        folder: Of the exports.
    """
    cells: list[dict[str, Any]] = []
    for truth in truths():
        for task, question, answer in conversations(truth):
            cells.append(_cell(truth, task, question, answer, len(cells)))
    write_json(folder / "radvlm.json", cells)


def conversations(truth: Truth) -> list[tuple[str, str, str]]:
    """(task, question, answer) of a picture.

    Where nothing was put in, that nothing is there is said only if the CT is known to be without each kind.

    Args:
        truth: Of the picture.

    Returns:
        Tasks are "report", "labels", "abnormality", "phrase" (one for each finding) and "region" (at most REGIONS); the
        wording is drawn from `picture_rng`.
    """
    rng, found = picture_rng(truth), shown(truth)
    report = truth["report"]
    said = [("report", _one(REPORT, rng), f"{report['findings']} {report['impression']}")]
    names = list(dict.fromkeys(finding_name(finding) for finding in found))
    clear = not found and all(truth["labels"].get(label) == 0 for label in CLEAR)
    if names:
        said.append(("labels", _one(LABELS, rng), _one(LABELS_SAID, rng).format(_joined([_a(n) for n in names]))))
        where = [f"{_a(name)} located at {_boxes_of(found, name, truth['size'])}" for name in names]
        said.append(("abnormality", _one(ABNORMAL, rng), _one(ABNORMAL_SAID, rng).format("; ".join(where))))
    elif clear:
        said.append(("labels", _one(LABELS, rng), _one(NOTHING, rng)))
        said.append(("abnormality", _one(ABNORMAL, rng), _one(NOTHING, rng)))
    for finding in found:
        box = format_boxes([unit_box(finding["box"], truth["size"])])
        said.append(("phrase", _one(PHRASE, rng).format(finding["phrase"]), _one(PHRASE_SAID, rng).format(box)))
    regions = truth.get("locations", {})
    for name in rng.permutation(sorted(regions))[:REGIONS]:
        box = format_boxes([unit_box(regions[name]["box"], truth["size"])])
        said.append(("region", _one(REGION, rng).format(name), _one(REGION_SAID, rng).format(name, box)))
    return said


CLEAR = ("Lung Lesion", "Consolidation", "Pleural Effusion", "Pneumothorax", "Cardiomegaly")


def format_boxes(boxes: Sequence[Sequence[float]]) -> str:
    """[0.12, 0.30, 0.45, 0.60], two decimals; several with commas and "and".

    Args:
        boxes: (x1, y1, x2, y2) in 0..1, at least one.

    Returns:
        The text of an answer.
    """
    texts = ["[" + ", ".join(f"{value:.2f}" for value in box) + "]" for box in boxes]
    return _joined(texts)


def _boxes_of(found: Sequence[Mapping[str, Any]], name: str, size: Sequence[int]) -> str:
    return format_boxes([unit_box(finding["box"], size) for finding in found if finding_name(finding) == name])


def _joined(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _a(name: str) -> str:
    return name if name in ("cardiomegaly", "consolidation") else f"a {name}"


def _one(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


def _cell(truth: Truth, task: str, question: str, answer: str, number: int) -> dict[str, Any]:
    return {
        "image": truth["image"],
        "conversations": [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}],
        "id": f"radiolucent-{task}_{number}",
        "task": task,
        "picture": picture_id(truth),
    }
