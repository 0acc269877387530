"""Radiographs whose truth is known, for benchmarks.prompt_agreement: bodies, findings, views, reports, looks.

Every scene is a body of its own (a CT, deformed) with up to three findings put into it. Its reports say what was put
in, in drr's sentences or in the few words of a prompt, together with some of what is absent; the view is told by its
column alone, never in words. The packaged CT has a label map; in others lobes and heart are found by place
(drr.anatomy.regions).
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Container, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from benchmarks.proof_bodies import body_of, chest, chest_mm, own_findings
from drr import ConeBeam, Finding, Look, Volume, deform, project, render_pair
from drr.anatomy.structures import project_mask
from drr.findings.heart import add_cardiomegaly
from drr.findings.lung import LOBES, add_consolidation, add_nodule
from drr.findings.pleura import add_pleural_effusion, add_pneumothorax
from drr.findings.report import report
from radiographs import write_radiograph
from radiographs.files import atomic_path
from radiographs.regions import format_regions, mask_region

VIEWS = ("PA", "AP", "LL", "RL")
FRONTAL = ("PA", "AP")
# in the order in which they are put in: the heart moves the lungs' labels, air comes last
KINDS = ("cardiomegaly", "nodule", "consolidation", "pleural effusion", "pneumothorax")
SIDED = KINDS[1:]
ABSENT = {
    "cardiomegaly": ("The heart is of normal size.", "No cardiomegaly."),
    "nodule": ("No nodule or mass.", "There is no lung mass."),
    "consolidation": ("No consolidation.", "The lungs are without airspace opacity."),
    "pleural effusion": ("No pleural effusion.", "The costophrenic angles are sharp."),
    "pneumothorax": ("No pneumothorax.", "There is no pneumothorax."),
}
COUNTS = (0.1, 0.35, 0.35, 0.2)  # of scenes with 0, 1, 2 and 3 findings
COLUMNS = ("image", "report", "view", "patient", "study", "split", "labels", "boxes", "masks")
Row = dict[str, str]


@dataclass(frozen=True)
class Scene:
    """One body to be rendered into `folder`, `size` pixels square.

    Args:
        ct: File of the CT; None: the packaged one.
        views: One picture each.
    """

    number: int
    split: str
    views: tuple[str, ...]
    folder: Path
    size: int
    seed: int
    ct: str | None = None


def random_scene(
    volume: Volume, rng: np.random.Generator, own: Sequence[Finding] = ()
) -> tuple[Volume, list[Finding], Volume]:
    """A volume with random findings, large enough to be seen in a small picture; `own` are there already.

    The third is the part of it that the findings' masks lie in.
    """
    chosen = set(rng.choice(KINDS, rng.choice(len(COUNTS), p=COUNTS), replace=False))
    chosen -= {finding.kind for finding in own}
    places = choose_places(chosen, rng)
    box = chest(volume)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box[::-1]]
    cut = {name: None if (a := getattr(volume, name)) is None else a[box].copy() for name in ("hu", "labels", "bone")}
    part = volume.replace(affine=affine, **cut)
    findings = list(own)
    for kind in KINDS:
        if kind not in chosen:
            continue
        try:
            part, finding = _add(part, kind, places[kind], rng)
        except ValueError:  # no room in this body: one finding fewer
            continue
        findings.append(finding)
    hu = volume.hu.copy()
    hu[box] = part.hu
    return volume.replace(hu=hu), findings, part


def choose_places(chosen: Container[str], rng: np.random.Generator) -> dict[str, str]:
    """{kind: its lobe, its side, or ""}, so that no finding hides another, however many of KINDS are `chosen`."""
    places = {kind: str(rng.choice(("right", "left"))) for kind in SIDED} | {"cardiomegaly": ""}
    drowned = f"{places['pleural effusion']} lower lobe" if "pleural effusion" in chosen else ""
    lobes = [str(lobe) for lobe in rng.permutation([lobe for lobe in LOBES if lobe != drowned])]
    places["nodule"] = next(lobe for lobe in lobes if lobe != "right middle lobe")  # that has no room for one so large
    places["consolidation"] = next(lobe for lobe in lobes if "nodule" not in chosen or lobe != places["nodule"])
    return places


def _add(volume: Volume, kind: str, place: str, rng: np.random.Generator) -> tuple[Volume, Finding]:
    """place: the lobe, the side, or nothing."""
    if kind == "cardiomegaly":
        return add_cardiomegaly(volume, rng.uniform(0.6, 0.72))
    if kind == "nodule":
        return add_nodule(volume, place, rng, rng.uniform(32, 52), 60.0, float(rng.choice((0.0, 0.6))))
    if kind == "consolidation":
        return add_consolidation(volume, place, rng, rng.uniform(0.35, 0.95), rng.uniform(0.75, 0.95))
    if kind == "pleural effusion":
        return add_pleural_effusion(volume, place, rng.uniform(200, 1200))
    return add_pneumothorax(volume, place, rng.uniform(24, 50))


def scene_report(findings: Iterable[Finding], view: str, rng: np.random.Generator) -> str:
    """A report in random order and completeness: drr's sentences, and each absent finding's denial now and then.

    One in three is as short as a prompt: the findings' names, joined.
    """
    findings = list(findings)
    if findings and rng.random() < 1 / 3:
        return prompt_of([findings[i] for i in rng.permutation(len(findings))], view, rng)
    if not findings:
        said = list(_sections(report([], view))[:1])
    else:
        parts = [_sections(report([findings[i]], view)) for i in rng.permutation(len(findings))]
        keep = slice(*((0, 2), (0, 1), (1, 2))[rng.integers(3)])  # findings and impression, or one of them
        said = [sentence for column in list(zip(*parts))[keep] for sentence in column]
    present = {finding.kind for finding in findings}
    denied = [str(rng.choice(ABSENT[kind])) for kind in KINDS if kind not in present and rng.random() < 0.3]
    where = len(denied) if rng.random() < 0.5 else 0
    return " ".join([*denied[:where], *said, *denied[where:]])


def prompt_of(findings: Sequence[Finding], view: str, rng: np.random.Generator) -> str:
    """A few words, as people type them: "Large left pleural effusion and cardiomegaly"."""
    names = [_sections(report([finding], view))[1].removesuffix(".") for finding in findings]
    names = [re.sub(r" of \d+ mm", "", name) if rng.random() < 0.5 else name for name in names]
    joined = str(rng.choice((", ", " and ", " with "))).join(name[0].lower() + name[1:] for name in names)
    start = str(rng.choice(("", "Chest x-ray with ", "Chest radiograph showing ", "There is ")))
    text = start + joined
    return text[0].upper() + text[1:] + ("." if rng.random() < 0.5 else "")


def _sections(text: str) -> tuple[str, str]:
    """(findings, impression) of one of drr's reports."""
    found = re.search(r"FINDINGS: (.*)\nIMPRESSION: (.*)", text)
    if found is None:
        raise ValueError(f"expected a report with findings and an impression, got {text!r}")
    return found[1], found[2]


def scene_labels(findings: Iterable[Finding]) -> dict[str, str]:
    """{kind: "right", "left" or "" (neither)} of the findings that are there."""
    return {finding.kind: finding.side for finding in findings}


def random_beam(
    volume: Volume, box: tuple[np.ndarray, np.ndarray], view: str, size: int, rng: np.random.Generator
) -> ConeBeam:
    """A preset view of the chest's box, turned by up to 6 degrees, tipped by 3, closer or farther, 8 mm off centre."""
    width = rng.uniform(0.85, 0.95) * (box[1] - box[0]).max()
    beam = ConeBeam.preset(view, volume, shape=(size, size), field_mm=width, box=box)
    shift = np.eye(4)
    shift[:3, 3] = rng.uniform(-8, 8, 3)
    return beam.orbit(rng.uniform(-6, 6)).orbit(rng.uniform(-3, 3), axis=(1, 0, 0)).moved(shift)


def random_look(view: str, rng: np.random.Generator) -> Look:
    """Narrower than Look.random, so that a small model can learn it from thousands of pictures: exposed for the lungs,
    the spine held back."""
    exposure = 0.0 if view in FRONTAL else 0.8
    return Look(
        bone_strength=rng.uniform(1.5, 2.5),
        bone_saturation=rng.uniform(0.6, 1.5),
        exposure=(exposure + rng.uniform(2.6, 3.2), rng.uniform(0.9, 1.2)),
        gamma=rng.uniform(0.85, 1.1),
        compression=rng.uniform(0.4, 0.6),
        compression_sigma_mm=60.0,
        unsharp=((20.0, rng.uniform(0.2, 0.8)),),
        clip=(0.01, 0.998),
    )


def render_scene(scene: Scene) -> list[Row]:
    """One scene's pictures, CXR/ with BS/ (bones out) beside it, and their rows of the table, unless they are there."""
    folder = scene.folder
    done = folder / f"scenes/{scene.number:05d}.json"
    if done.is_file():
        return json.loads(done.read_text())
    rng = np.random.default_rng([scene.seed, scene.number])
    body = deform(body_of(scene.ct), int(rng.integers(2**31)))
    volume, findings, part = random_scene(body, rng, own_findings(scene.ct))
    labels, box = json.dumps(scene_labels(findings)), chest_mm(volume)
    rows = []
    for pose, view in enumerate(scene.views):
        beam = random_beam(volume, box, view, scene.size, rng)
        soft, bone = project(volume, [beam], materials=("soft", "bone"), backend="cpu")[0].numpy()
        name = f"scene{scene.number:05d}_{pose}_{view}.png"
        for kind, image in zip(("CXR", "BS"), render_pair(soft, bone, random_look(view, rng))):
            write_radiograph(folder / kind / name, image)
        text, patient = scene_report(findings, view, rng), f"scene{scene.number:05d}"
        places = outlines(part, findings, beam, folder / "masks", Path(name).stem)
        rows.append(dict(zip(COLUMNS, (name, text, view, patient, patient, scene.split, labels, *places))))
    done.parent.mkdir(exist_ok=True)
    with atomic_path(done) as part:
        part.write_text(json.dumps(rows))
    return rows


def outlines(part: Volume, findings: Iterable[Finding], beam: ConeBeam, folder: Path, stem: str) -> tuple[str, str]:
    """The cells boxes and masks of a picture; a finding that the CT came with has none, and none is out of the picture.

    The masks are written into `folder`, which lies beside the table.
    """
    folder.mkdir(exist_ok=True)
    found, files = [], []
    for finding in findings:
        if finding.mask.shape != part.hu.shape:
            continue
        mask = project_mask(part, finding.mask, beam, "cpu").mask
        region = mask_region(finding.kind, mask)
        if region is not None:
            path = folder / f"{stem}_{finding.kind.replace(' ', '_')}.png"
            cv2.imwrite(str(path), mask.astype(np.uint8) * 255)
            found.append(region)
            files.append(f"{finding.kind} {folder.name}/{path.name}")
    return format_regions(found), "; ".join(files)


def render(
    folder: Path,
    counts: dict[str, int],
    poses: int,
    size: int,
    seed: int,
    workers: int,
    cts: Sequence[str | None] = (None,),
    held_out: str | None = None,
) -> Path:
    """Render every split and write reports.csv, the table that ReportDataModule reads; returns its path.

    A training scene is seen `poses` times from each view, any other one once, from PA and LL or from AP and RL; such an
    image is left out where training knows its report word for word.

    Args:
        counts: {split: how many scenes}.
        cts: Files of the CTs that training sees in turn; None is the packaged one.
        held_out: The CT of every other split; None: those of training, in other deformations.
    """
    from rich.progress import track

    scenes = []
    for split, count in counts.items():
        sources = cts if split == "train" or held_out is None else [held_out]
        for n in range(count):
            views = VIEWS * poses if split == "train" else VIEWS[n % 2 :: 2]
            scenes.append(Scene(len(scenes), split, views, folder, size, seed, sources[n % len(sources)]))
    with ProcessPoolExecutor(max(1, workers), get_context("spawn")) as pool:
        work = pool.map(render_scene, scenes) if workers else map(render_scene, scenes)
        done = list(track(work, total=len(scenes), description="rendering scenes"))
    rows = [row for scene in done for row in scene]
    known = {row["report"] for row in rows if row["split"] == "train"}
    rows = [row for row in rows if row["split"] == "train" or row["report"] not in known]
    for name, split in (("train_set.txt", "train"), ("test_set.txt", "validation")):
        (folder / name).write_text("".join(f"{row['image']}\n" for row in rows if row["split"] == split))
    table = folder / "reports.csv"
    with atomic_path(table) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return table


def read_rows(table: Path, split: str) -> list[Row]:
    """The rows of a split."""
    with open(table, newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["split"] == split]
