"""`radiolucent evaluate synthesis`: synthetic against real radiographs."""

from __future__ import annotations

from typing import Any

from radiolucent.commands.evaluate.common import extractors, reading, settings
from radiolucent.commands.evaluate.console import Progress, finish


def run_synthesis(args: Any) -> None:
    """Measure, and write the report with CheXGenBench's files.

    Args:
        args: As `add_synthesis` reads them, with `out` and `device`.

    Raises:
        ValueError: Images, labels or texts that a measure needs are missing or do not fit.
        OSError: A folder, file or network is missing.
    """
    from evaluation.features.clip import DESCRIPTORS, Clip
    from evaluation.features.labels import CHEXPERT, load_classifier
    from evaluation.inputs import read_set
    from evaluation.synthesis.chexgenbench import write_benchmark_files
    from evaluation.synthesis.options import SynthesisProtocol
    from evaluation.synthesis.protocol import evaluate_synthesis
    from evaluation.synthesis.radgraph import load_radgraph
    from radiographs.files import read_json

    real = read_set(args.real, args.real_root)
    synthetic = read_set(args.prompts, args.synthetic) if args.prompts else read_set(args.synthetic)
    classes = args.classes or list(CHEXPERT)
    descriptors = read_json(args.descriptors) if args.descriptors else DESCRIPTORS
    with Progress() as progress:
        protocol = SynthesisProtocol(
            features=extractors(args),
            k=args.k,
            radiomics=args.radiomics,
            frd=args.frd,
            by_finding=args.by_finding,
            clip=Clip(args.clip, args.device) if args.clip else None,
            descriptors=descriptors,
            classifier=args.classifier and load_classifier(args.classifier, args.classifier_transform, classes),
            classes=classes,
            view_classifier=args.view_classifier
            and load_classifier(args.view_classifier, args.classifier_transform, args.views),
            views=args.views,
            radgraph=args.radgraph and load_radgraph(args.radgraph, args.device),
            reports_column=args.reports_column,
            missing=args.empty_labels,
            accept=args.accept,
            reading=reading(args, progress),
        )
        report = evaluate_synthesis(real, synthetic, protocol, settings(args))
    finish(report, args.out)
    write_benchmark_files(report.data, args.out, args.extra_info)
