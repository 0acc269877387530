"""Render radiographs from CT: `radiolucent drr INPUT... --view PA --view LL --size 512 --out DIR`.

INPUT: NIfTI, MHA or NRRD files, DICOM folders, trees of both, a CT-RATE tree, or `sample` for the packaged CT.
CT-RATE volumes become SPLIT/VIEW/PATIENT/SCAN/VOLUME.png as in DRR-RATE, bone and soft tissue in SPLIT/VIEW_bone and
SPLIT/VIEW_soft beside it; others VIEW/NAME_MATERIAL.png. manifest.parquet describes every image. Research use only.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radiographs.files import printable
from radiolucent.batch.runner import Manifest, Task, add_batch_arguments, atomic_path, file_identity, run_batch

if TYPE_CHECKING:
    import numpy as np
    from jsonargparse import ArgumentParser, Namespace

    from drr import Volume
    from drr.io.ct_rate import Name

SAMPLE = "sample"
BONE_CONTRAST = 8.0  # bone alone, at the exposure of a chest, would be nearly black
DRR_RATE = {"AP": "drr-rate", "LATERAL": "drr-rate-lateral"}
MATERIALS = ["total", "bone", "soft"]
TABLE = "manifest.parquet"
DETACHED = (".mhd", ".nhdr")  # headers whose voxels lie in a file beside them


@dataclass(frozen=True)
class Job:
    """One volume.

    name: for CT-RATE; row: its metadata, if any; no_chest: whether CT-RATE lists it as such; series: which of several.
    """

    path: str
    key: str
    name: Name | None = None
    row: dict[str, str] | None = None
    no_chest: bool = False
    series: str | None = None


@dataclass(frozen=True)
class Options:
    """What the images depend on, besides the volume."""

    views: list[str]
    size: int
    materials: list[str]
    preset: str
    levels: str
    require_chest: bool
    rescale: tuple[float, float] | None = None
    series: str | None = None


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `radiolucent drr`."""
    parser.add_argument("inputs", type=str, nargs="+", help="CT files, folders, a CT-RATE tree, or 'sample'")
    parser.add_argument("--view", type=list[str], default=["PA"], help="PA, AP, LL or LATERAL; may be repeated")
    parser.add_argument("--size", type=int, default=512, help="height and width of the images in pixels")
    parser.add_argument("--materials", nargs="+", choices=MATERIALS, default=MATERIALS, help="what to draw")
    parser.add_argument(
        "--preset", choices=["standard", "drr-rate"], default="standard", help="geometry: ours, or as DRR-RATE was made"
    )
    parser.add_argument(
        "--levels",
        choices=["display", "lines"],
        default="display",
        help="16-bit levels: a film's response (bone's with 8 times the contrast), or line integrals in steps of "
        "1/4096; one law for every patient",
    )
    parser.add_argument("--metadata", type=list[str], default=[], help="CT-RATE's metadata CSV; may be repeated")
    parser.add_argument("--labels", type=list[str], default=[], help="CSV of abnormality labels; may be repeated")
    parser.add_argument("--reports", type=list[str], default=[], help="CSV of reports; may be repeated")
    parser.add_argument("--no-chest", type=list[str], default=[], help="CT-RATE's list of volumes without a chest")
    parser.add_argument(
        "--require-chest",
        type=bool,
        default=True,
        help="skip what shows less than 0.6 litres of lung; false for phantoms",
    )
    parser.add_argument(
        "--rescale", nargs=2, type=float, help="slope and intercept to HU, in place of those of the files"
    )
    parser.add_argument("--series", type=str, help="Series Number or UID, where a DICOM folder holds several")
    parser.add_argument("--backend", choices=["auto", "cpu", "cuda", "torch"], default="auto", help="what projects")
    add_batch_arguments(parser)
    parser.add_argument("--ray-address", type=str, help="address of a Ray cluster, for --executor ray")


def run(args: Namespace) -> int:
    """Render every volume; 0, or 1 if any was skipped (see errors.csv)."""
    from drr.io.ct_rate import merge_tables, read_labels, read_reports

    if args.size < 2:
        raise ValueError(f"--size {args.size}: give at least 2 pixels")
    for view in args.view:
        beam_name(view, args.preset)
    for name in ("view", "materials"):
        if len(set(args[name])) != len(args[name]) or not args[name]:
            raise ValueError(f"--{name} {' '.join(args[name])}: give at least one, and each only once")
    if args.ray_address:
        os.environ["RAY_ADDRESS"] = args.ray_address
    rescale = tuple(args.rescale) if args.rescale else None
    options = Options(
        args.view, args.size, args.materials, args.preset, args.levels, args.require_chest, rescale, args.series
    )
    settings = {"command": "drr", **asdict(options)}
    labels, reports = merge_tables(args.labels, read_labels), merge_tables(args.reports, read_reports)
    known = {key: _known(key, labels, reports) for key in {**labels, **reports}}
    jobs = find_jobs(args.inputs, args.metadata, args.no_chest, args.series)
    _tell_unused(jobs, {"metadata": args.metadata, "labels": labels, "reports": reports})
    files = [tuple(image_files(job, options).values()) for job in jobs]
    tasks = [Task(j.key, j, names, job_identity(j), known.get(j.key, {})) for j, names in zip(jobs, files)]
    for option, table in (("labels", labels), ("reports", reports)):
        without = [task.name for task in tasks if task.key not in table]
        if args[option] and 0 < len(without) < len(tasks):
            print(f"{len(without)} of {len(tasks)} volumes have no row in --{option}, such as {without[0]}")
    work = functools.partial(render_volume, out=args.out, options=options, backend=args.backend)
    status = run_batch(
        work,
        tasks,
        args.out,
        settings=settings,
        tables=[TABLE],
        workers=args.workers,
        executor=args.executor,
        title="volumes",
    )
    write_table(Path(args.out), settings, tasks, known)
    return status


def _known(key: str, labels: dict[str, Any], reports: dict[str, Any]) -> dict[str, Any]:
    """What the given tables have of a volume, for its record; what they lack is left as it was."""
    found = {"labels": labels.get(key), "report": reports.get(key)}
    return {name: value for name, value in found.items() if value is not None}


def job_identity(job: Job) -> dict[str, Any]:
    """What a volume's images depend on besides the options: its files, its row of metadata."""
    if job.path == SAMPLE:
        return {"path_sha256": "the packaged CT"}
    path = Path(job.path)
    beside = []
    if path.name.endswith(DETACHED):
        beside = sorted(other for other in path.parent.iterdir() if other.name.startswith(f"{path.stem}."))
    files = [file_identity(file) for file in beside]
    return file_identity(path, row=job.row, no_chest=job.no_chest, series=job.series, beside=files)


def image_files(job: Job, options: Options) -> dict[tuple[str, str], str]:
    """{(view, material): the image's file below the output folder}."""
    return {
        (view, material): job.name.image_path(view, material) if job.name else f"{view}/{job.key}_{material}.png"
        for view in options.views
        for material in options.materials
    }


def find_jobs(inputs: list[str], metadata: list[str], no_chest: list[str], series: str | None = None) -> list[Job]:
    """One job for each volume that the inputs hold; what is left out of folders is printed.

    Args:
        inputs: files, folders, or `sample`.
        metadata, no_chest: CT-RATE's tables.
        series: Series Number or UID to take of each DICOM folder.

    Raises:
        FileNotFoundError: an input that does not exist.
        ValueError: two volumes whose images would have one name, a damaged table.
    """
    from drr.io.ct_rate import merge_metadata, parse_name, read_no_chest, volume_key
    from radiolucent.rendering.find_cts import Found, find_cts

    rows = merge_metadata(metadata)
    without = set().union(*map(read_no_chest, no_chest))
    jobs: dict[str, Job] = {}
    for given in inputs:
        found, left_out = ([Found(SAMPLE, SAMPLE)], "") if given == SAMPLE else find_cts(given)
        if left_out:
            print(left_out)
        for ct in found:
            name = parse_name(ct.path)
            key = volume_key(ct.path) if name else ct.name
            chosen = ct.series or (series if Path(ct.path).is_dir() else None)
            job = Job(ct.path, key, name, rows.get(volume_key(ct.path)), volume_key(ct.path) in without, chosen)
            if jobs.setdefault(key, job) is not job:
                raise ValueError(
                    f"{jobs[key].path} and {ct.path} would both be written as {key}: give each its own --out, or the "
                    "folder that holds both"
                )
    if series is not None and not any(job.series == series for job in jobs.values()):
        raise ValueError(f"--series {series}: none of the inputs is a DICOM folder")
    return list(jobs.values())


def _tell_unused(jobs: list[Job], tables: dict[str, Any]) -> None:
    """Print which tables know none of the volumes: most likely those of another split or release."""
    found = {
        "metadata": any(job.row for job in jobs),
        "labels": any(job.key in tables["labels"] for job in jobs),
        "reports": any(job.key in tables["reports"] for job in jobs),
    }
    for name, given in tables.items():
        if given and not found[name]:
            print(f"--{name}: none of the {len(jobs)} volumes stands in it, such as {jobs[0].key}")


def render_volume(job: Job, *, out: str, options: Options, backend: str) -> dict[str, Any]:
    """Read one volume, project all views and materials at once, write the images; its record for the manifest."""
    from drr import ConeBeam
    from drr.anatomy.tissue import prepare
    from drr.geometry import body_box
    from drr.io.manifest import image_row
    from drr.projection.in_place import project_once
    from radiolucent import __version__

    if printable(job.key) != job.key:
        raise ValueError("the file's name is not UTF-8 text, as the manifest's table must be: rename the file")
    volume, decision, notes = read_job(job, options)
    volume = prepare(volume, with_bone=options.materials != ["total"])
    shape, box = (options.size, options.size), body_box(volume)
    names = [beam_name(view, options.preset) for view in options.views]
    beams = [ConeBeam.preset(name, volume, shape, box=box) for name in names]
    lines = project_once(volume, beams, materials=options.materials, backend=backend).cpu().numpy()
    images, files = [], image_files(job, options)
    for view, beam, layers in zip(options.views, beams, lines):
        for material, layer in zip(options.materials, layers):
            file = files[view, material]
            description = f"Rendered from a CT by Radiolucent: {view}, {material}"
            digest = write_image(Path(out) / file, to_pixels(layer, material, options.levels), description)
            images.append(image_row(Path(file).name, view, material, file, digest, beam))
    about = {"decision": decision, "notes": notes, "version": __version__}
    return {"outputs": list(files.values()), "images": images, **about}


def read_job(job: Job, options: Options) -> tuple[Volume, str, list[str]]:
    """The volume, how its file was understood, and what else is to be known of it."""
    from drr import sample_ct
    from drr.anatomy.chest import require_chest
    from drr.io.ct_rate import read_volume
    from drr.io.read import load_ct

    if job.no_chest:
        raise ValueError(f"{job.path}: CT-RATE lists this volume as one without a chest")
    if job.path == SAMPLE:
        return sample_ct(), "the packaged CT", []
    if job.name is None:
        volume = load_ct(job.path, rescale=options.rescale, series=job.series, checked=True)
        said = "rescale as the file says"
        if options.rescale:
            said = "rescale by {:g} and {:g} as given".format(*options.rescale)
        decision, notes = f"geometry and {said}", list(volume.notes)
    else:
        volume, decided = read_volume(job.path, job.row, options.rescale)
        decision, notes = f"CT-RATE release {decided.release}: {decided.reason}", list(decided.notes)
    if options.require_chest:
        try:
            require_chest(volume)
        except ValueError as error:
            raise ValueError(f"{error}; --require-chest false renders it all the same") from None
    return volume, decision, notes


def beam_name(view: str, preset: str) -> str:
    """The name of a view's geometry in `ConeBeam.preset`: that of a radiographic room, or DRR-RATE's.

    ValueError: a view that the preset lacks.
    """
    from drr.geometry import VIEWS

    standard = [name for name in VIEWS if not name.startswith("drr-rate")]
    names = DRR_RATE if preset == "drr-rate" else dict(zip(standard, standard))
    if view not in names:
        raise ValueError(f"--view {view}: the {preset} preset has the views {', '.join(names)}")
    return names[view]


def to_pixels(lines: np.ndarray, material: str, levels: str) -> np.ndarray:
    """Line integrals (H, W) to float32 in [-1, 1], by the same law for every patient."""
    from drr.appearance.detector import detector_response, encode_lines
    from radiographs import to_unit

    if levels == "lines":
        return to_unit(encode_lines(lines), 16)
    return detector_response(lines * BONE_CONTRAST if material == "bone" else lines)


def write_image(path: Path, pixels: np.ndarray, description: str) -> str:
    """Write a 16-bit PNG, whole or not at all; its sha256."""
    from radiographs import write_radiograph

    write_radiograph(path, pixels, bits=16, description=description)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_table(out: Path, settings: dict[str, Any], tasks: Sequence[Task], known: dict[str, dict[str, Any]]) -> None:
    """manifest.parquet from the finished volumes, sorted by key, so that an interrupted run gives the same bytes.

    Args:
        out: the folder.
        settings: of the batch.
        tasks: of this run; those that failed are left out, even if an earlier state of theirs was rendered.
        known: {key: labels and report} of this run's tables; volumes of earlier runs keep what they were given then.
    """
    from drr.io.manifest import write_manifest

    manifest = Manifest(out, settings)
    try:
        for key in manifest.finished.keys() & known.keys():
            manifest.update(key, **known[key])
        failed = {task.key for task in tasks if not manifest.is_finished(task.key, task.identity)}
        records = [manifest.finished[key] for key in sorted(manifest.finished.keys() - failed)]
        labels, reports = (
            {record["key"]: record[name] for record in records if name in record} for name in ("labels", "report")
        )
        with atomic_path(out / TABLE) as part:
            write_manifest(part, records, labels, reports)
    finally:
        manifest.close()
