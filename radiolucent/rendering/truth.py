"""The truth about one picture, in JSON: what is in it, where, and what its report says.

Boxes are (left, top, right, bottom) in pixels of the picture, the last column and row included; masks are run lengths
(`radiolucent.rendering.masks`), which pycocotools reads too. Keys:

    image, view, orbit_degrees, size ([H, W]), ct, study, time ("current" or "prior"), notes
    labels: CheXpert's 14; 1 put in, 0 known to be absent, null not known
    report: technique, comparison, findings, impression, of this picture alone
    findings: number, kind, side, place, size (its measures), box, mask, thickness_mm, locations (Chest ImaGenome's),
        phrase (its sentence in the report)
    structures, locations: {name: {box, mask}}, with --structures

and of a current picture with a prior also

    prior_image, prior_truth, prior_study, difference ({"lines", "picture"}: files)
    comparison: the report of what changed
    findings: change (new, grown, shrunk, resolved, unchanged), change_phrase, prior_size, prior_box (the body as it
        was, seen as it is now); of what has resolved, size, box, mask and phrase are null
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radiographs.files import atomic_path, read_json
from radiolucent.rendering.masks import encode_mask

if TYPE_CHECKING:
    import numpy as np

    from drr.anatomy.structures import Projection
    from drr.findings.report import Finding

FORMAT = 1
MOST_OF_IT = 0.1  # of a finding's voxels, that lie in a location for it to be named


def seen(projection: Projection) -> dict[str, Any]:
    """A projection's box and mask.

    Args:
        projection: Of a finding or structure.

    Returns:
        {"box": [left, top, right, bottom] in pixels, None if the picture shows nothing of it, "mask": run lengths}.
    """
    box = None if projection.box is None else list(projection.box)
    return {"box": box, "mask": encode_mask(projection.mask)}


def finding_truth(number: int, finding: Finding, projection: Projection, locations: list[str]) -> dict[str, Any]:
    """What is known of a finding that a picture shows.

    Args:
        number: Of the finding in its study.
        finding: What was put in.
        projection: Where the picture shows it.
        locations: Chest ImaGenome's, as `locations_of` gives them.

    Returns:
        The finding's entry in the truth, lengths in mm; its phrase is added later.
    """
    return {
        "number": number,
        "kind": finding.kind,
        "side": finding.side,
        "place": finding.place,
        "size": {name: round(float(value), 4) for name, value in finding.size.items()},
        **seen(projection),
        "thickness_mm": round(float(projection.thickness_mm.max()), 1),
        "locations": locations,
    }


def locations_of(finding: Finding, places: Mapping[str, np.ndarray]) -> list[str]:
    """Chest ImaGenome's locations that a finding lies in, those that hold most of it first.

    Args:
        finding: Its mask lies on the grid of `places`.
        places: As `drr.anatomy.structures.locations` gives them, of the chest before anything was put in.

    Returns:
        Names such as "right upper lung zone"; "cardiac silhouette" alone for cardiomegaly.
    """
    if finding.kind == "cardiomegaly":
        return ["cardiac silhouette"]
    total = max(1, int(finding.mask.sum()))
    inside = {
        name: float((mask & finding.mask).sum()) / total
        for name, mask in places.items()
        if name.startswith(("right ", "left ")) and "clavicle" not in name
    }
    named = sorted((name for name, part in inside.items() if part >= MOST_OF_IT), key=lambda name: -inside[name])
    return named


def write_truth(path: Path, truth: Mapping[str, Any]) -> None:
    """Write a picture's truth in one step.

    Args:
        path: The JSON file, whose folder is made.
        truth: The keys above; `format` is added.
    """
    with atomic_path(path) as part:
        part.write_text(json.dumps({"format": FORMAT, **truth}, separators=(",", ":")) + "\n", encoding="utf-8")


def read_truths(out: Path, records: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The truth about each picture of finished studies, in the order of their keys, one at a time.

    Args:
        out: The output folder.
        records: {key: record}, as the manifest has them.

    Yields:
        The keys above.

    Raises:
        ValueError: A file is damaged.
        OSError: A file is gone.
    """
    for key in sorted(records):
        for name in records[key].get("truths", ()):
            yield read_json(out / name)
