"""Render radiographs from CT: `radiolucent drr INPUT... --view PA --view LL --size 512 --out DIR`.

INPUT: NIfTI, MHA or NRRD files, DICOM folders, trees of both, a CT-RATE tree, or `sample` for the packaged CT.
CT-RATE volumes become SPLIT/VIEW/PATIENT/SCAN/VOLUME.png as in DRR-RATE, bone and soft tissue in SPLIT/VIEW_bone and
SPLIT/VIEW_soft beside it; others VIEW/NAME_MATERIAL.png. manifest.parquet describes every image. Research use only.
"""

from __future__ import annotations

import functools
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radiolucent.batch.runner import Task, add_batch_arguments, run_batch
from radiolucent.rendering.images import render_volume
from radiolucent.rendering.jobs import Options, beam_name, find_jobs, image_files, job_identity, tell_unused
from radiolucent.rendering.table import TABLE, write_table

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


MATERIALS = ["total", "bone", "soft"]


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
    tell_unused(jobs, {"metadata": args.metadata, "labels": labels, "reports": reports})
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
