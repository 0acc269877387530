"""Render radiographs from CT: `radiolucent drr INPUT... --view PA --view LL --size 512 --out DIR`.

INPUT: NIfTI, MHA or NRRD files, DICOM folders, trees of both, a CT-RATE tree, or `sample` for the packaged CT.
CT-RATE volumes become SPLIT/VIEW/PATIENT/SCAN/VOLUME.png as in DRR-RATE, bone and soft tissue in SPLIT/VIEW_bone and
SPLIT/VIEW_soft beside it; others VIEW/NAME_MATERIAL.png. manifest.parquet describes every image.
With --findings, --prior-current or --structures the output is a data set of studies with exact truth (boxes, masks,
labels, reports; docs/how-to/vision-language-data.md), and --export writes it as others read it. Research use only.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radiolucent.batch.runner import Task, add_batch_arguments, run_batch
from radiolucent.rendering.images import render_volume
from radiolucent.rendering.jobs import Options, beam_name, find_jobs, image_files, job_identity, tell_unused
from radiolucent.rendering.table import TABLE, write_table

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from radiolucent.rendering.studies import Ask

MATERIALS = ["total", "bone", "soft"]


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `radiolucent drr`.

    Args:
        parser: Takes them.
    """
    parser.add_argument("inputs", type=str, nargs="+", help="CT files, folders, a CT-RATE tree, or 'sample'")
    parser.add_argument("--view", type=list[str], default=["PA"], help="PA, AP, LL, RL, RAO, ...; may be repeated")
    parser.add_argument("--oblique", action="store_true", help="besides, both anterior obliques (RAO and LAO)")
    parser.add_argument(
        "--orbit",
        type=list[float],
        default=[],
        help="degrees by which each view is turned about the body's long axis; 0 is the view itself; may be repeated",
    )
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
    parser.add_argument(
        "--look",
        choices=["film", "dark-bones", "equalised", "raw", "random"],
        help="display in place of --levels: film, its negative, histogram-equalised as MIMIC-CXR-JPG, line integrals, "
        "or a vendor's drawn for each exposure",
    )
    parser.add_argument(
        "--physics",
        type=list[str],
        default=[],
        help="exposure: typical, random, or NAME=NUMBER such as kvp=120, scatter=0.8, photons=40000; may be repeated",
    )
    parser.add_argument("--findings", type=str, help="YAML of what is put in, where, how severe and how often")
    parser.add_argument(
        "--prior-current", action="store_true", help="each study as a prior and a current one, with their difference"
    )
    parser.add_argument("--structures", action="store_true", help="each structure's and location's mask and box")
    parser.add_argument(
        "--label-maps",
        type=str,
        help="folder of label maps, NAME.nii.gz on the grid of each CT; or infer: lobes and heart by density and place",
    )
    parser.add_argument(
        "--seed", type=int, help="of findings, poses, noise and looks; default that of --findings, or 0"
    )
    parser.add_argument(
        "--export",
        type=list[str],
        default=[],
        help="radvlm, libra, mlrg, llava, imagenome, coco or table; may be repeated",
    )
    parser.add_argument(
        "--contact-sheet", type=int, default=0, help="studies to draw, with boxes, on contact_sheet.png"
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
    """Render every volume, or every study of it.

    Args:
        args: As `add_arguments` reads them.

    Returns:
        0, or 1 if any was skipped (see errors.csv).

    Raises:
        ValueError: Options that contradict each other or are out of their range, before any CT is read.
    """
    if args.size < 2:
        raise ValueError(f"--size {args.size}: give at least 2 pixels")
    options = read_options(args)
    if args.ray_address:
        os.environ["RAY_ADDRESS"] = args.ray_address
    ask = read_ask(args)
    if ask is not None:
        return _render_studies(args, options, ask)
    return _render_volumes(args, options)


def read_options(args: Namespace) -> Options:
    """What the pictures depend on, checked.

    Args:
        args: As `add_arguments` reads them.

    Returns:
        The options; --oblique has added its two views to them.

    Raises:
        ValueError: An unknown view or effect, one given twice, an angle of 360 degrees or more, or two options of which
            only one can hold.
    """
    from drr.appearance.choices import read_physics

    views = [*args.view, *(view for view in ("RAO", "LAO") if args.oblique and view not in args.view)]
    for view in views:
        beam_name(view, args.preset)
    for name, values in (("view", views), ("materials", args.materials), ("orbit", args.orbit)):
        if len(set(values)) != len(values) or (not values and name != "orbit"):
            raise ValueError(f"--{name} {' '.join(map(str, values))}: give at least one, and each only once")
    if not all(-360 < degrees < 360 for degrees in args.orbit):
        raise ValueError(f"--orbit {' '.join(map(str, args.orbit))}: angles lie between -360 and 360 degrees")
    read_physics(args.physics)
    if args.look and args.levels != "display":
        raise ValueError(
            f"--look {args.look} and --levels {args.levels}: give one of them (--look raw is line integrals)"
        )
    if args.physics and args.levels != "display":
        raise ValueError("--physics and --levels lines: for line integrals behind an exposure give --look raw")
    if args.seed is not None and args.seed < 0:
        raise ValueError(f"--seed {args.seed}: give 0 or more")
    return Options(
        views,
        args.size,
        args.materials,
        args.preset,
        args.levels,
        args.require_chest,
        tuple(args.rescale) if args.rescale else None,
        args.series,
        tuple(args.orbit),
        args.look or "",
        tuple(args.physics),
        args.seed or 0,
    )


def read_ask(args: Namespace) -> Ask | None:
    """What studies are asked for, checked; None where the CTs are only rendered.

    Args:
        args: As `add_arguments` reads them.

    Returns:
        The plan, with --seed in place of its own seed if that was given.

    Raises:
        ValueError: An option of studies without studies, or one that studies do not take.
        OSError: The file of --findings cannot be read.
    """
    from dataclasses import replace

    from drr.findings.plan import Plan, read_plan
    from radiolucent.rendering.exports import refuse_unknown
    from radiolucent.rendering.studies import Ask

    refuse_unknown(args.export, args.prior_current, args.structures)
    if args.contact_sheet < 0:
        raise ValueError(f"--contact-sheet {args.contact_sheet}: give the number of studies, 0 for none")
    if not (args.findings or args.prior_current or args.structures):
        for option in ("export", "contact_sheet", "label_maps"):
            if args[option]:
                name = option.replace("_", "-")
                raise ValueError(f"--{name} is for studies: give --findings, --prior-current or --structures")
        return None
    if args.prior_current and not args.findings:
        raise ValueError("--prior-current needs --findings FILE, which says what changes (configs/findings/chest.yaml)")
    if args.labels or args.reports:
        raise ValueError("--labels and --reports tell of the CT as it is; leave them out where findings are put in")
    if args.levels != "display":
        raise ValueError(f"--levels {args.levels}: for studies give --look raw")
    plan = read_plan(args.findings) if args.findings else Plan(field="body")
    return Ask(plan if args.seed is None else replace(plan, seed=args.seed), args.prior_current, args.structures)


def _render_studies(args: Namespace, options: Options, ask: Ask) -> int:
    """Studies with their truth, then the exports of all that are finished."""
    from radiolucent.rendering.exports import export_files, write_exports
    from radiolucent.rendering.studies import study_tasks
    from radiolucent.rendering.study import render_study

    settings = {"command": "drr", **options.settings(), **ask.settings()}
    jobs = find_jobs(args.inputs, args.metadata, args.no_chest, args.series)
    tell_unused(jobs, {"metadata": args.metadata, "labels": {}, "reports": {}})
    tasks = study_tasks(jobs, options, ask, args.label_maps)
    work = functools.partial(render_study, out=args.out, options=options, ask=ask, backend=args.backend)
    status = run_batch(
        work,
        tasks,
        args.out,
        settings=settings,
        tables=[TABLE, *export_files(args.export, args.contact_sheet)],
        workers=args.workers,
        executor=args.executor,
        title="studies",
    )
    write_table(Path(args.out), settings, tasks, {})
    write_exports(Path(args.out), settings, tasks, args.export, args.contact_sheet)
    return status


def _render_volumes(args: Namespace, options: Options) -> int:
    """Each volume's pictures, with the labels and reports of the given tables."""
    from drr.io.ct_rate import merge_tables, read_labels, read_reports

    settings = {"command": "drr", **options.settings()}
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
