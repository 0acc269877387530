"""Which exports there are, and the writing of those that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from radiolucent.batch.runner import Manifest, Task
from radiolucent.rendering.exports.coco import write_coco
from radiolucent.rendering.exports.imagenome import write_imagenome
from radiolucent.rendering.exports.libra import write_libra
from radiolucent.rendering.exports.llava import write_llava
from radiolucent.rendering.exports.mlrg import write_mlrg
from radiolucent.rendering.exports.radvlm import write_radvlm
from radiolucent.rendering.exports.table import write_table
from radiolucent.rendering.truth import read_truths

FOLDER = "exports"
CONTACT_SHEET = "contact_sheet.png"
Truths = Callable[[], Any]
EXPORTS: dict[str, Callable[[Truths, Path], None]] = {
    "radvlm": write_radvlm,
    "libra": write_libra,
    "mlrg": write_mlrg,
    "llava": write_llava,
    "imagenome": write_imagenome,
    "coco": write_coco,
    "table": write_table,
}
OF_LOCATIONS = ("imagenome",)
OF_PAIRS = ("libra", "mlrg", "llava")  # that are made of priors and currents


def refuse_unknown(names: Sequence[str], two_studies: bool, structures: bool) -> None:
    """Refuse exports that are not known, given twice, or made of pairs or locations where there are none.

    Args:
        names: As --export has them.
        two_studies: Whether there are priors and currents.
        structures: Whether locations are written.

    Raises:
        ValueError: Says which, and the option that is missing.
    """
    for name in names:
        if name not in EXPORTS:
            raise ValueError(f"--export {name}: give one of {', '.join(EXPORTS)}")
        if name in OF_PAIRS and not two_studies:
            raise ValueError(f"--export {name} is of priors and currents: give --prior-current")
        if name in OF_LOCATIONS and not structures:
            raise ValueError(f"--export {name} is of anatomical locations: give --structures")
    if len(set(names)) != len(names):
        raise ValueError(f"--export {' '.join(names)}: give each only once")


def export_files(names: Sequence[str], contact_sheet: int) -> list[str]:
    """What the exports may write below the output folder, for the batch to claim.

    Args:
        names: Of EXPORTS.
        contact_sheet: How many studies it shows; 0 for none.

    Returns:
        The exports' folder and the contact sheet, as far as they are asked for.
    """
    return [*([FOLDER] if names else []), *([CONTACT_SHEET] if contact_sheet else [])]


def write_exports(
    out: Path, settings: dict[str, Any], tasks: Sequence[Task], names: Sequence[str], contact_sheet: int
) -> None:
    """Write the exports of all finished studies of the folder, and a contact sheet of the first ones.

    Args:
        out: The folder.
        settings: Of the batch.
        tasks: Of this run; those that failed are left out, even if an earlier state of theirs is there.
        names: Of EXPORTS.
        contact_sheet: How many studies it shows; 0 writes none.
    """
    from radiolucent.rendering.contact_sheet import write_contact_sheet

    if not names and not contact_sheet:
        return
    manifest = Manifest(out, settings)
    try:
        failed = {task.key for task in tasks if not manifest.is_finished(task.key, task.identity)}
        records = {key: record for key, record in manifest.finished.items() if key not in failed}
    finally:
        manifest.close()
    if not records:
        print("no study is finished, so nothing is exported")
        return
    for name in names:
        EXPORTS[name](lambda: read_truths(out, records), out / FOLDER)
        print(f"{out / FOLDER}: {name} written")
    if contact_sheet:
        write_contact_sheet(read_truths(out, records), out, out / CONTACT_SHEET, contact_sheet)
