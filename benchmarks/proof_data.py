"""Radiographs whose truth is known, for benchmarks.prompt_agreement: bodies, findings, views, reports, looks.

Every scene is a body of its own (the sample CT, deformed) with up to three findings put into it
(drr.findings.report). Its
reports say what was put in, in drr's sentences, together with some of what is absent; the view is told by its column
alone, never in words.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Container, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy import ndimage

from drr import ConeBeam, Finding, Look, Volume, deform, project, render_pair
from drr.findings.heart import add_cardiomegaly
from drr.findings.lung import LOBES, add_consolidation, add_nodule
from drr.findings.pleura import add_pleural_effusion, add_pneumothorax
from drr.findings.report import report
from radiographs import write_radiograph
from radiographs.files import atomic_path
from radiolucent.commands.demo_pairs import sample_body

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
COLUMNS = ("image", "report", "view", "patient", "study", "split", "labels")
Row = dict[str, str]


def random_scene(volume: Volume, rng: np.random.Generator) -> tuple[Volume, list[Finding]]:
    """A volume with random findings, large enough to be seen in a small picture."""
    chosen = set(rng.choice(KINDS, rng.choice(len(COUNTS), p=COUNTS), replace=False))
    places = choose_places(chosen, rng)
    box = chest(volume)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box[::-1]]
    cut = {name: None if (a := getattr(volume, name)) is None else a[box].copy() for name in ("hu", "labels", "bone")}
    part = volume.replace(affine=affine, **cut)
    findings: list[Finding] = []
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
    return volume.replace(hu=hu), findings


def choose_places(chosen: Container[str], rng: np.random.Generator) -> dict[str, str]:
    """{kind: its lobe, its side, or ""}, so that no finding hides another, however many of KINDS are `chosen`."""
    places = {kind: str(rng.choice(("right", "left"))) for kind in SIDED} | {"cardiomegaly": ""}
    drowned = f"{places['pleural effusion']} lower lobe" if "pleural effusion" in chosen else ""
    lobes = [str(lobe) for lobe in rng.permutation([lobe for lobe in LOBES if lobe != drowned])]
    places["nodule"] = next(lobe for lobe in lobes if lobe != "right middle lobe")  # that has no room for one so large
    places["consolidation"] = next(lobe for lobe in lobes if "nodule" not in chosen or lobe != places["nodule"])
    return places


def chest(volume: Volume) -> tuple[slice, slice, slice]:
    """Lungs and heart with 20 mm around them: all that findings change, in a third of the voxels."""
    names = volume.names_where(lambda name: name.startswith("lung_") or name == "heart").values()
    box = ndimage.find_objects(volume.mask(*names).astype(np.uint8))[0]
    margin = np.ceil(20 / volume.spacing[::-1]).astype(int)
    z, y, x = (slice(max(0, part.start - m), part.stop + m) for part, m in zip(box, margin))
    return z, y, x


def _add(volume: Volume, kind: str, place: str, rng: np.random.Generator) -> tuple[Volume, Finding]:
    """place: the lobe, the side, or nothing."""
    if kind == "cardiomegaly":
        return add_cardiomegaly(volume, rng.uniform(0.62, 0.72))
    if kind == "nodule":
        return add_nodule(volume, place, rng, rng.uniform(38, 52), 60.0, float(rng.choice((0.0, 0.6))))
    if kind == "consolidation":
        return add_consolidation(volume, place, rng, rng.uniform(0.35, 0.95), rng.uniform(0.75, 0.95))
    if kind == "pleural effusion":
        return add_pleural_effusion(volume, place, rng.uniform(300, 1100))
    return add_pneumothorax(volume, place, rng.uniform(28, 50))


def scene_report(findings: Iterable[Finding], view: str, rng: np.random.Generator) -> str:
    """A report in random order and completeness: drr's sentences, and each absent finding's denial now and then."""
    findings = list(findings)
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


def _sections(text: str) -> tuple[str, str]:
    """(findings, impression) of one of drr's reports."""
    found = re.search(r"FINDINGS: (.*)\nIMPRESSION: (.*)", text)
    if found is None:
        raise ValueError(f"expected a report with findings and an impression, got {text!r}")
    return found[1], found[2]


def scene_labels(findings: Iterable[Finding]) -> dict[str, str]:
    """{kind: "right", "left" or "" (neither)} of the findings that are there."""
    return {finding.kind: finding.side for finding in findings}


def chest_mm(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest x, y, z of `chest` in mm."""
    box = chest(volume)[::-1]
    ends = (np.array([getattr(part, end) for part in box]) - 0.5 for end in ("start", "stop"))
    corners = [volume.affine[:3, :3] @ end + volume.affine[:3, 3] for end in ends]
    return np.min(corners, axis=0), np.max(corners, axis=0)


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


def render_scene(job: tuple[int, str, tuple[str, ...], Path, int, int]) -> list[Row]:
    """One scene's pictures, CXR/ with BS/ (bones out) beside it, and their rows of the table; at once if it is there.

    job: (scene number, split, views, folder, side in pixels, seed).
    """
    scene, split, views, folder, size, seed = job
    done = folder / f"scenes/{scene:05d}.json"
    if done.is_file():
        return json.loads(done.read_text())
    rng = np.random.default_rng([seed, scene])
    volume, findings = random_scene(deform(sample_body(), int(rng.integers(2**31))), rng)
    labels, box = json.dumps(scene_labels(findings)), chest_mm(volume)
    rows = []
    for pose, view in enumerate(views):
        beam = random_beam(volume, box, view, size, rng)
        soft, bone = project(volume, [beam], materials=("soft", "bone"), backend="cpu")[0].numpy()
        name = f"scene{scene:05d}_{pose}_{view}.png"
        for kind, image in zip(("CXR", "BS"), render_pair(soft, bone, random_look(view, rng))):
            write_radiograph(folder / kind / name, image)
        text, patient = scene_report(findings, view, rng), f"scene{scene:05d}"
        rows.append(dict(zip(COLUMNS, (name, text, view, patient, patient, split, labels))))
    done.parent.mkdir(exist_ok=True)
    with atomic_path(done) as part:
        part.write_text(json.dumps(rows))
    return rows


def render(folder: Path, scenes: dict[str, int], poses: int, size: int, seed: int, workers: int) -> Path:
    """Render every split and write reports.csv, the table that ReportDataModule reads; returns its path.

    scenes: {split: how many}. A training scene is seen `poses` times from each view, any other one once, from PA and LL
    or from AP and RL; such an image is left out where training knows its report word for word.
    """
    from rich.progress import track

    jobs, number = [], 0
    for split, count in scenes.items():
        for n in range(count):
            views = VIEWS * poses if split == "train" else VIEWS[n % 2 :: 2]
            jobs.append((number, split, views, folder, size, seed))
            number += 1
    with ProcessPoolExecutor(max(1, workers), get_context("spawn")) as pool:
        work = pool.map(render_scene, jobs) if workers else map(render_scene, jobs)
        done = list(track(work, total=len(jobs), description="rendering scenes"))
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
