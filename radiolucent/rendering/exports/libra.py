"""Libra's training file: the current image, the prior one, and the findings of the current report.

One list of {"id", "image": [current, prior], "conversations"}: `LazySupervisedDataset` of github.com/X-iZhang/Libra
(`libra/train/train.py`) reads the current image first and the prior second, for one "<image>" in the question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from radiolucent.rendering.exports.common import Truth, is_pair, picture_id, write_json

QUESTION = "Provide a detailed description of the findings in the radiology image."


def write_libra(truths: Callable[[], Iterable[Truth]], folder: Path) -> None:
    """folder/libra.json of all current pictures.

    Args:
        truths: Gives the truth of every picture; those without a prior are left out.
        folder: Of the exports.
    """
    cells = [
        {
            "id": picture_id(truth),
            "image": [truth["image"], truth["prior_image"]],
            "conversations": [
                {"from": "human", "value": f"<image>\n{QUESTION}"},
                {"from": "gpt", "value": truth["comparison"]["findings"]},
            ],
            "findings": truth["comparison"]["findings"],
            "impression": truth["comparison"]["impression"],
        }
        for truth in truths()
        if is_pair(truth)
    ]
    write_json(folder / "libra.json", cells)
