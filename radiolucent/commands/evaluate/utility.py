"""`radiolucent evaluate utility`: what a classifier learns from synthetic images."""

from __future__ import annotations

from typing import Any

from radiolucent.commands.evaluate.common import reading, refuse_leak, settings
from radiolucent.commands.evaluate.console import Progress, finish


def run_utility(args: Any) -> None:
    """Train and test the classifiers, and write the report.

    Args:
        args: As `add_utility` reads them, with `out` and `device`.

    Raises:
        ValueError: Training and test images share a patient, or a table lacks labels.
    """
    from evaluation.features.labels import CHEXPERT
    from evaluation.inputs import read_set
    from evaluation.synthesis.utility import UtilityProtocol, evaluate_utility

    real, synthetic, test = (read_set(source) for source in (args.real, args.synthetic, args.test))
    patients = refuse_leak(args.patients, {"real": real, "test": test})
    with Progress() as progress:
        protocol = UtilityProtocol(
            classes=args.classes or list(CHEXPERT),
            model=args.model,
            weights=args.weights,
            size=args.size,
            steps=args.steps,
            learning_rate=args.learning_rate,
            missing=args.empty_labels,
            accept=args.accept,
            seed=args.seed,
            reading=reading(args, progress),
        )
        groups = [patients[name] for name in test.names] if patients else None
        report = evaluate_utility(real, synthetic, test, protocol, settings(args), groups)
    finish(report, args.out)
