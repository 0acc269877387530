"""Judging for the page: the report of `radiolucent evaluate suppression` on folders that were sent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from radiographs.folders import BadInputs
from radiolucent.app.limits import Limits, one_line
from radiolucent.app.store import Entry
from radiolucent.app.uploads import take_folder

if TYPE_CHECKING:
    from radiolucent.suppression.suppressor import Suppressor

REPORT = "report"
FILES = re.compile(r"(report\.html|images(_\d+)?\.html|report\.json|scores\.csv|gains\.csv|nodules\.csv|\w+\.png)")
LISTED = 5  # problems that are named


def judge(
    entry: Entry,
    radiographs: Sequence[str],
    truth: Sequence[str],
    methods: Mapping[str, Sequence[str]],
    model: Suppressor | None,
    limits: Limits,
) -> Path:
    """Score methods, and a model if given, against the truth.

    Args:
        entry: Whose folder the files are moved into.
        radiographs: Files that were sent.
        truth: Likewise, of the same names.
        methods: {name: the files of its results}.
        model: That suppresses the radiographs too, as "packaged" or whatever was given at start.
        limits: Of files and bytes.

    Returns:
        The folder of the report.

    Raises:
        ValueError: Images that lack a partner, differ in size, ... with the first of them; nothing to judge.
    """
    from evaluation.reporting.report import write_report
    from evaluation.suppression.protocol import SuppressionProtocol
    from radiolucent.commands.evaluate.suppression import report_suppression

    if not methods and model is None:
        raise ValueError("nothing to judge: send a method's results, or let the model suppress the radiographs")

    folders = {name: take_folder(entry, f"method_{i}", sent, limits) for i, (name, sent) in enumerate(methods.items())}
    true, given = (
        take_folder(entry, role, sent, limits) for role, sent in (("truth", truth), ("radiographs", radiographs))
    )
    out = entry.folder / REPORT
    models = {} if model is None else {"model": lambda pixels: model.suppress(pixels).soft}
    shown = {"truth": "sent to the page", "input": "sent to the page", "methods": ", ".join([*folders, *models])}
    try:
        named = {name: str(folder) for name, folder in folders.items()}
        report = report_suppression(named, models, str(true), str(given), str(out), shown, SuppressionProtocol())
        write_report(report, out)
    except BadInputs as error:
        more = len(error.problems) - LISTED
        text = "; ".join(map(str, error.problems[:LISTED])) + (f"; and {more} more" if more > 0 else "")
        raise ValueError(one_line(ValueError(text))) from None
    return out
