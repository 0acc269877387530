"""`radiolucent evaluate suppression`: methods and models against true soft-tissue images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radiolucent.commands.evaluate.common import named_folders, settings
from radiolucent.commands.evaluate.console import Progress, finish

if TYPE_CHECKING:
    from evaluation.nodules.implants import Suppress
    from evaluation.reporting.report import Report
    from evaluation.suppression.protocol import SuppressionProtocol


def run_suppression(args: Any) -> None:
    """Measure folders and models, and write the report with its pages and CSVs.

    Args:
        args: As `add_suppression` reads them, with `out` and `device`.

    Raises:
        ValueError: Neither --pred nor --checkpoint is given, or images lack a partner or differ in size.
        OSError: A folder or file is missing.
    """
    from evaluation.suppression.legacy_lpips import load_alexnet
    from evaluation.suppression.protocol import SuppressionProtocol
    from radiolucent.commands.evaluate.model import load_suppressor

    methods = named_folders(args.pred)
    if not methods and not args.checkpoint:
        raise ValueError("nothing to evaluate: give --pred [NAME=]FOLDER, or --checkpoint [NAME=]FOLDER, or both")
    if args.nodules < 0:
        raise ValueError(f"--nodules {args.nodules}: give 0 (none) or more")
    models = {name: load_suppressor(args, folder) for name, folder in named_folders(args.checkpoint).items()}
    network = None
    if args.lpips:
        from vqgan.perceptual import load_perceptual

        network = load_perceptual(args.lpips).to(args.device)
    if args.lpips_alex and not args.legacy:
        raise ValueError("--lpips-alex is for the published LPIPS: add --legacy, or give VGG-16 weights with --lpips")
    with Progress() as progress:
        protocol = SuppressionProtocol(
            lungs=None if args.lungs == "none" else args.lungs,
            lesions=args.lesions,
            perceptual=network,
            blur_sigma=args.blur_sigma,
            legacy=args.legacy,
            alexnet=load_alexnet(args.lpips_alex).to(args.device) if args.lpips_alex else None,
            device=args.device,
            nodules=args.nodules,
            seed=args.seed,
            resize=args.resize,
            progress=partial(progress, "images"),
        )
        report = report_suppression(
            methods, models, args.truth, args.input, args.out, settings(args), protocol, args.patients
        )
    finish(report, args.out)


def report_suppression(
    methods: Mapping[str, str],
    models: Mapping[str, Suppress],
    truth: str,
    radiographs: str,
    out: str,
    shown: dict[str, Any],
    protocol: SuppressionProtocol,
    patients: str | None = None,
) -> Report:
    """Score methods and models; the tables and the pages of sliders go into `out`.

    Args:
        methods: {name: folder of its results}.
        models: {name: function that suppresses the radiographs}.
        truth: Folder.
        radiographs: Folder.
        out: Folder for scores.csv, gains.csv, nodules.csv and images.html.
        shown: Settings, as the report shows them.
        protocol: What is measured; its `show` is replaced.
        patients: Regular expression of the patient in a name.

    Returns:
        The report, not yet written.
    """
    from evaluation.nodules.implant_report import write_implants
    from evaluation.suppression.comparison_pages import ComparisonPages, page_name
    from evaluation.suppression.gain_report import write_gains
    from evaluation.suppression.protocol import evaluate_suppression
    from evaluation.suppression.report import add_sliders, suppression_report, write_scores
    from radiographs.splits import patients_from_names

    with ComparisonPages(out, [*methods, *models]) as pages:
        result = evaluate_suppression(methods, truth, radiographs, replace(protocol, show=pages), models)
    groups = None
    if patients:
        of = patients_from_names(result.names, patients)
        groups = [of[name] for name in result.names]
    report = suppression_report(result, shown, groups)
    for name, folder in methods.items():
        add_sliders(report, result, name, folder, radiographs)
    report.links.append(("Every image under a slider, with all methods to choose from", page_name(1)))
    write_scores(result, Path(out) / "scores.csv")
    write_gains(result, Path(out) / "gains.csv")
    if result.implants:
        write_implants(result.implants, Path(out) / "nodules.csv")
    return report
