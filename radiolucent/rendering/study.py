"""One study of a CT, or a prior and a current one, to its pictures and the truth about them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from drr import ConeBeam, Volume, deform, project, project_structures
from drr.anatomy.regions import label_chest
from drr.anatomy.structures import Projection, locations, project_locations, project_mask
from drr.anatomy.tissue import prepare
from drr.findings.comparison import compare, write_comparison
from drr.findings.phrases import Written, write_report
from drr.findings.report import Finding, chexpert_labels
from drr.findings.scene import Scene, chest_box, cut_chest, draw_findings, paste_chest, put_in
from drr.io.manifest import image_row
from drr.io.read import load_ct, sample_ct
from radiographs import to_unit
from radiographs.files import printable
from radiolucent import __version__
from radiolucent.rendering.exposures import Taken, difference, encode_difference, take
from radiolucent.rendering.images import check_chest, exposure_rng, write_image
from radiolucent.rendering.jobs import SAMPLE, Options
from radiolucent.rendering.studies import (
    CURRENT,
    DIFFERENCES,
    INFER,
    PRIOR,
    Ask,
    StudyJob,
    study_files,
    without_label_map,
)
from radiolucent.rendering.truth import finding_truth, locations_of, seen, write_truth

INFERRED = (
    "Lobes and heart were inferred from density and place, not read from a label map: near a fissure a lobe that a "
    "report names may be its neighbour"
)


@dataclass(frozen=True, eq=False)
class Body:
    """A CT ready to be studied: its volume, and what is asked of it again and again.

    Attributes:
        volume: Body and bone separated, with its label map.
        notes: On how it was read, for the record.
    """

    volume: Volume
    notes: tuple[str, ...]


def render_study(one: StudyJob, *, out: str, options: Options, ask: Ask, backend: str) -> dict[str, Any]:
    """Draw the findings, put them in, take the pictures, write them with their truth.

    Args:
        one: The study, or pair of studies.
        out: The output folder.
        options: Views, size and display.
        ask: Findings, poses, and whether structures are written.
        backend: Of `drr.project`.

    Returns:
        The record for the manifest: `outputs`, `images`, `truths` (paths below `out`), how the file was understood, and
        notes.

    Raises:
        OSError: The CT or its label map cannot be read.
        ValueError: There is no label map, no room for a finding, or not enough of a chest.
    """
    if one.label_map is None:
        raise without_label_map(one)
    if printable(one.key) != one.key:
        raise ValueError("the file's name is not UTF-8 text, as the manifest's table must be: rename the file")
    rng = exposure_rng(replace(options, seed=ask.plan.seed), one.job.key, one.number)
    body = _kept_body(one, options)
    volume, plan = body.volume, ask.plan
    if plan.body_mm:
        volume = deform(volume, int(rng.integers(2**31)), amplitude_mm=plan.body_mm)
    planned = draw_findings(plan, rng, ask.two_studies)
    box = chest_box(volume)
    chest = cut_chest(volume, box)
    scenes = put_in(chest, planned, ask.times)
    places = locations(chest)
    bodies = {time: paste_chest(volume, scene.volume, box) for time, scene in scenes.items()}
    taken = take(volume, bodies, options, ask, rng, backend)
    before = {}
    if ask.two_studies:  # the body as it was, seen as it is now
        beams = [exposure.beam for exposure in taken[CURRENT]]
        lines = project(bodies[PRIOR], beams, materials=("soft", "bone"), backend=backend).cpu().numpy()
        before = {exposure.shot.name: pair for exposure, pair in zip(taken[CURRENT], lines)}
    writer = _Writer(one, Path(out), options, ask)
    for time in ask.times:
        for exposure in taken[time]:
            truth = _truth(one, exposure, time, scenes, places, ask, rng, backend)
            if ask.structures:
                truth |= _structures(bodies[time], exposure.beam, backend)
            writer.write(time, exposure, truth)
            if time == CURRENT and ask.two_studies:
                writer.write_difference(exposure, before[exposure.shot.name])
    notes = [*body.notes, *dict.fromkeys(note for scene in scenes.values() for note in scene.notes)]
    labelled = "inferred" if one.label_map == INFER else "given"
    return {**writer.record, "decision": f"geometry as the file says, label map {labelled}", "notes": notes}


@functools.lru_cache(maxsize=1)
def _read_body(path: str, label_map: str, rescale: tuple[float, float] | None, series: str | None, chest: bool) -> Body:
    """A CT with its label map, its table removed and its bone known; the last one is kept for its next study."""
    given = None if label_map == INFER else label_map
    volume = sample_ct() if path == SAMPLE else load_ct(path, given, rescale=rescale, series=series, checked=True)
    if chest:
        check_chest(volume)
    body = prepare(volume)
    return Body(label_chest(body), (*volume.notes, INFERRED)) if label_map == INFER else Body(body, volume.notes)


def _kept_body(one: StudyJob, options: Options) -> Body:
    if one.job.no_chest:
        raise ValueError(f"{one.job.path}: CT-RATE lists this volume as one without a chest")
    return _read_body(one.job.path, str(one.label_map), options.rescale, one.job.series, options.require_chest)


def _truth(
    one: StudyJob,
    exposure: Taken,
    time: str,
    scenes: Mapping[str, Scene],
    places: Mapping[str, np.ndarray],
    ask: Ask,
    rng: np.random.Generator,
    backend: str,
) -> dict[str, Any]:
    """What one picture shows; with a prior, what became of each finding."""
    shot, beam, absent = exposure.shot, exposure.beam, ask.plan.known_absent
    volume = scenes[time].volume
    shown = _projected(scenes[time].findings, volume, beam, backend)
    present = {number: finding for number, (finding, _) in shown.items()}
    written = write_report(present, shot.view, rng, shot.orbit_degrees, absent)
    rows = {
        number: {
            **finding_truth(number, finding, projection, locations_of(finding, places)),
            "phrase": written.phrases[number],
        }
        for number, (finding, projection) in shown.items()
    }
    truth: dict[str, Any] = {}
    if time == CURRENT and ask.two_studies:
        was = _projected(scenes[PRIOR].findings, volume, beam, backend)
        changes = compare({number: finding for number, (finding, _) in was.items()}, present)
        compared = write_comparison(changes, shot.view, rng, shot.orbit_degrees, absent)
        for number, change in changes.items():
            if number not in shown:
                gone = finding_truth(number, *was[number], locations_of(was[number][0], places))
                rows[number] = {**gone, "size": None, "box": None, "mask": None, "thickness_mm": None, "phrase": None}
            before: dict[str, Any] = {"prior_size": None, "prior_box": None}
            if number in was:
                before = {"prior_size": was[number][0].size, "prior_box": was[number][1].box}
            rows[number] |= {"change": change.change, **before, "change_phrase": compared.phrases[number]}
        truth = {"comparison": _sections(compared), "prior_study": one.study(PRIOR, ask)}
    labels = chexpert_labels(present.values()) | {_LABEL[k]: 0 for k in absent if k not in _kinds(present)}
    return {
        "view": shot.view,
        "orbit_degrees": shot.orbit_degrees,
        "size": list(beam.shape),
        "ct": one.name,
        "study": one.study(time, ask),
        "time": time,
        "labels": labels,
        "report": _sections(written),
        **truth,
        "findings": [rows[number] for number in sorted(rows)],
        "notes": list(scenes[time].notes),
    }


def _projected(
    findings: Mapping[int, Finding], volume: Volume, beam: ConeBeam, backend: str
) -> dict[int, tuple[Finding, Projection]]:
    """Those of a chest's findings that a picture shows, and where."""
    pairs = {n: (finding, project_mask(volume, finding.mask, beam, backend)) for n, finding in findings.items()}
    return {number: pair for number, pair in pairs.items() if pair[1].box is not None}


_LABEL = {
    "nodule": "Lung Lesion",
    "consolidation": "Consolidation",
    "pleural effusion": "Pleural Effusion",
    "pneumothorax": "Pneumothorax",
    "cardiomegaly": "Cardiomegaly",
}


def _kinds(findings: Mapping[int, Finding]) -> set[str]:
    return {finding.kind for finding in findings.values()}


def _sections(written: Written) -> dict[str, str]:
    return {name: getattr(written, name) for name in ("technique", "comparison", "findings", "impression")}


def _structures(volume: Volume, beam: ConeBeam, backend: str) -> dict[str, Any]:
    found = {
        "structures": project_structures(volume, beam, backend=backend),
        "locations": project_locations(volume, beam, backend=backend),
    }
    return {
        kind: {name: seen(projection) for name, projection in parts.items() if projection.box is not None}
        for kind, parts in found.items()
    }


class _Writer:
    """Writes a study's files, and gathers its record."""

    def __init__(self, one: StudyJob, out: Path, options: Options, ask: Ask) -> None:
        self.out, self.options, self.ask = out, options, ask
        self.files = study_files(one, options, ask)
        self.main = "total" if "total" in options.materials else options.materials[0]  # what the truth is about
        self.record: dict[str, Any] = {"outputs": list(self.files.values()), "images": [], "truths": []}
        self.record["version"] = __version__

    def write(self, time: str, exposure: Taken, truth: Mapping[str, Any]) -> None:
        """The pictures of an exposure in all materials, and its truth."""
        shot = exposure.shot
        for material in self.options.materials:
            file = self.files["image", time, shot.name, material]
            description = f"Rendered from a CT by Radiolucent: {shot.name}, {material}; findings put in by computation"
            digest = write_image(self.out / file, exposure.pictures[material], description)
            self.record["images"].append(image_row(Path(file).name, shot.name, material, file, digest, exposure.beam))
        names: dict[str, Any] = {"image": self.files["image", time, shot.name, self.main]}
        if time == CURRENT and self.ask.two_studies:
            names["prior_image"] = self.files["image", PRIOR, shot.name, self.main]
            names["prior_truth"] = self.files["truth", PRIOR, shot.name, ""]
            names["difference"] = {part: self.files["difference", CURRENT, shot.name, part] for part in DIFFERENCES}
        file = self.files["truth", time, shot.name, ""]
        write_truth(self.out / file, {**names, **truth})
        self.record["truths"].append(file)
        if time == CURRENT and "labels" not in self.record:  # of the first shot, for the table
            report = truth["report"]
            self.record["labels"] = truth["labels"]
            self.record["report"] = {
                "clinical_information": None,
                **{name: report[name] for name in ("technique", "findings", "impression")},
            }

    def write_difference(self, exposure: Taken, before: np.ndarray) -> None:
        """Both differences of a current exposure."""
        for part, values in difference(exposure, before).items():
            file = self.files["difference", CURRENT, exposure.shot.name, part]
            said = f"current minus prior, {part}, in the current's frame; 32768 is no difference"
            write_image(self.out / file, to_unit(encode_difference(values, part), 16), said)
