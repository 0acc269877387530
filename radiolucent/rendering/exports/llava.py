"""LLaVA's conversations about two images: the prior first, then the current one.

One list of {"id", "image": [prior, current], "conversations"}, with one "<image>" in the first question for each image,
as LLaVA-NeXT's and LLaVA-OneVision's training reads several images (github.com/LLaVA-VL/LLaVA-NeXT,
`llava/train/train.py`). A turn on what changed is followed by one on where it changed: boxes of the current image,
[x1, y1, x2, y2] in 0..1 with two decimals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from radiolucent.rendering.exports.common import Truth, is_pair, picture_id, unit_box, write_json
from radiolucent.rendering.exports.radvlm import format_boxes

COMPARE = (
    "The first image is the prior chest X-ray, the second the current one. Report the current one and what changed."
)
WHERE = "Where on the current image is each of these findings? Give boxes as [x1, y1, x2, y2]."
NOWHERE = "No finding is seen on the current image."


def write_llava(truths: Callable[[], Iterable[Truth]], folder: Path) -> None:
    """folder/llava.json of all pairs.

    Args:
        truths: Gives the truth of every picture; those without a prior are left out.
        folder: Of the exports.
    """
    write_json(folder / "llava.json", [_cell(truth) for truth in truths() if is_pair(truth)])


def _cell(truth: Truth) -> dict[str, Any]:
    compared = truth["comparison"]
    places = [
        f"{finding['change_phrase']} {format_boxes([unit_box(finding['box'], truth['size'])])}"
        for finding in truth["findings"]
        if finding["box"] is not None
    ]
    return {
        "id": picture_id(truth),
        "image": [truth["prior_image"], truth["image"]],
        "conversations": [
            {"from": "human", "value": f"<image>\n<image>\n{COMPARE}"},
            {"from": "gpt", "value": f"FINDINGS: {compared['findings']}\nIMPRESSION: {compared['impression']}"},
            {"from": "human", "value": WHERE},
            {"from": "gpt", "value": "\n".join(places) or NOWHERE},
        ],
    }
