"""COCO's detection format: findings, and with --structures locations and structures, as boxes and masks.

{"info", "images", "annotations", "categories"} (cocodataset.org, "Data format"): bbox is [x, y, width, height] in
pixels from the picture's upper left corner, the segmentation is compressed run lengths, which pycocotools decodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from radiographs.vocabulary import FINDINGS
from radiolucent.rendering.exports.common import NOTICE, Truth, shown, write_json
from radiolucent.rendering.masks import decode_mask


def write_coco(truths: Callable[[], Iterable[Truth]], folder: Path) -> None:
    """folder/coco.json of all pictures. Categories have the same ids as long as the structures' names are the same.

    Args:
        truths: Gives the truth of every picture, one after the other; it is called twice.
        folder: Of the exports.
    """
    names = sorted({(kind, name) for truth in truths() for kind, name, _ in _parts(truth) if kind != "finding"})
    ids = {pair: number for number, pair in enumerate([*(("finding", kind) for kind in FINDINGS), *names], start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for truth in truths():
        height, width = truth["size"]
        image = {"id": len(images) + 1, "file_name": truth["image"], "width": width, "height": height}
        images.append({**image, "view": truth["view"], "study": truth["study"], "ct": truth["ct"]})
        for kind, name, part in _parts(truth):
            annotation = _annotation(len(annotations) + 1, image["id"], ids[kind, name], part)
            annotations.append(annotation)
    categories = [{"id": number, "name": name, "supercategory": kind} for (kind, name), number in ids.items()]
    about = {"description": f"Radiolucent: {NOTICE}", "version": "1"}
    value = {"info": about, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
    write_json(folder / "coco.json", value)


def _parts(truth: Truth) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(supercategory, name, box and mask) of all that a picture shows."""
    for finding in shown(truth):
        yield "finding", finding["kind"], finding
    for kind in ("location", "structure"):
        for name, part in truth.get(f"{kind}s", {}).items():
            yield kind, name, part


def _annotation(number: int, image: Any, category: int, part: Mapping[str, Any]) -> dict[str, Any]:
    left, top, right, bottom = part["box"]
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [left, top, right - left + 1, bottom - top + 1],
        "area": int(decode_mask(part["mask"]).sum()),
        "segmentation": part["mask"],
        "iscrowd": 0,
        **({"change": part["change"]} if "change" in part else {}),
    }
