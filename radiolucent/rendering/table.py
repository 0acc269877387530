"""The table of rendered images, from the batch's record of finished volumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radiolucent.batch.runner import Manifest, Task, atomic_path

if TYPE_CHECKING:
    pass

TABLE = "manifest.parquet"


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
