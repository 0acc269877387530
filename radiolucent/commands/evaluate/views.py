"""`radiolucent evaluate views`: which views pictures show, and which of them are turned or negative."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from radiolucent.commands.evaluate.common import settings
from radiolucent.commands.evaluate.console import Progress, finish


def run_views(args: Any) -> None:
    """Judge each picture, and write views.csv and the report into --out.

    Args:
        args: As `add_views` reads them, with `out`.

    Raises:
        ValueError: There are no pictures.
    """
    from evaluation.inputs import read_set
    from evaluation.views.classifier import load_view_net
    from evaluation.views.report import judge_set, table_rows, view_report
    from radiographs import atomic_path

    images = read_set(args.images, args.root)
    if not images.paths:
        raise ValueError(f"--images {args.images} holds no pictures")
    model = load_view_net(Path(args.classifier)) if args.classifier else load_view_net()
    with Progress() as progress:
        judged = judge_set(images, args.column, progress, model)
    rows = table_rows(judged)
    with atomic_path(Path(args.out) / "views.csv") as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    report = view_report(judged, settings(args))
    report.links.append(("every picture", "views.csv"))
    finish(report, args.out)
