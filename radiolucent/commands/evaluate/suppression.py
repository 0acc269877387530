"""`radiolucent evaluate suppression`: methods and models against true soft-tissue images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from radiolucent.commands.evaluate.common import named_folders, settings
from radiolucent.commands.evaluate.console import Progress, finish


def run_suppression(args: Any) -> None:
    """Measure folders and models, and write the report with its pages and CSVs; ValueError if none is given."""
    from evaluation.nodules.implant_report import write_implants
    from evaluation.suppression.comparison_pages import ComparisonPages, page_name
    from evaluation.suppression.gain_report import write_gains
    from evaluation.suppression.legacy_lpips import load_alexnet
    from evaluation.suppression.protocol import SuppressionProtocol, evaluate_suppression
    from evaluation.suppression.report import add_sliders, suppression_report, write_scores
    from radiographs.splits import patients_from_names
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
    pages = ComparisonPages(args.out, [*methods, *models])
    with Progress() as progress, pages:
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
            show=pages,
            progress=partial(progress, "images"),
        )
        result = evaluate_suppression(methods, args.truth, args.input, protocol, models)
    groups = None
    if args.patients:
        patients = patients_from_names(result.names, args.patients)
        groups = [patients[name] for name in result.names]
    report = suppression_report(result, settings(args), groups)
    for name, folder in methods.items():
        add_sliders(report, result, name, folder, args.input)
    report.links.append(("Every image under a slider, with all methods to choose from", page_name(1)))
    write_scores(result, Path(args.out) / "scores.csv")
    write_gains(result, Path(args.out) / "gains.csv")
    if result.implants:
        write_implants(result.implants, Path(args.out) / "nodules.csv")
    finish(report, args.out)
