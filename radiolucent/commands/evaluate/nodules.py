"""`radiolucent evaluate nodules`: what suppression leaves of nodules, vessels and devices of known size and place."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from evaluation.nodules.scenes import Scene
    from evaluation.nodules.survival import Suppress, SurvivalResult
    from evaluation.reporting.report import Picture, Report

METHOD = "suppressed"


def run_nodules(args: Any) -> None:
    """Measure in rendered bodies and in given radiographs, and write the report with its CSVs and pictures.

    Args:
        args: As `add_nodules` reads them, with `out` and `device`.

    Raises:
        ValueError: --ct-labels without --ct, or numbers out of their range.
        OSError: No such radiographs, CT or model.
    """
    from evaluation.nodules.report import survival_report, write_nodules
    from evaluation.reporting.report import Report
    from radiolucent.commands.evaluate.common import settings
    from radiolucent.commands.evaluate.console import Progress, finish
    from radiolucent.commands.evaluate.model import load_suppressor

    if args.ct_labels and not args.ct:
        raise ValueError("--ct-labels is the label map of --ct: give that too")
    radiographs = given_radiographs(args.radiographs)
    scenes = None if args.bodies == 0 and radiographs else rendered(args)
    suppress = load_suppressor(args, args.checkpoint)
    report, out = Report("Nodules under bone suppression", settings(args)), Path(args.out)
    with Progress() as progress:
        if scenes is not None:
            from evaluation.nodules.survival import evaluate_nodule_survival

            result = evaluate_nodule_survival(
                scenes, {METHOD: each(suppress)}, lambda done: progress("bodies", done, args.bodies)
            )
            report = survival_report(result, settings(args))
            write_nodules(result, out / "nodules.csv")
            report.pictures.append(example_picture(result, out / "examples.png"))
        if radiographs:
            add_implants(report, radiographs, suppress, args, partial(progress, "radiographs"))
    finish(report, args.out)


def given_radiographs(source: str | None) -> dict[str, Path]:
    """{name: file} of a folder of radiographs or of one; empty without a source.

    Args:
        source: A file, or a folder; None for none.

    Returns:
        A single file is named by its stem, the images of a folder as `images_in` names them.
    """
    from radiographs.folders import images_in

    if source is None:
        return {}
    return {Path(source).stem: Path(source)} if Path(source).is_file() else images_in(source)


def rendered(args: Any) -> Iterator[Scene]:
    """The scenes of the sample CT, or of --ct.

    Args:
        args: With `bodies`, `size` (pixels), `seed`, and `ct` and `ct_labels`, which may be None.

    Returns:
        One scene a body, rendered when it is asked for.
    """
    from evaluation.nodules.body import ct_body
    from evaluation.nodules.scenes import render_scenes

    checked = render_scenes(args.bodies, args.size, args.seed)  # refuses numbers before a CT is read
    return render_scenes(args.bodies, args.size, args.seed, ct_body(args.ct, args.ct_labels)) if args.ct else checked


def add_implants(
    report: Report,
    radiographs: dict[str, Path],
    suppress: Callable[[np.ndarray], np.ndarray],
    args: Any,
    progress: Callable[[int, int], None],
) -> None:
    """Implant nodules into the radiographs: a table before the others, the rows, and implants.csv.

    Args:
        report: What the table is added to.
        radiographs: {name: file}.
        suppress: The model, (H, W) to (H, W).
        args: The command's.
        progress: Called with images done and of how many.
    """
    from evaluation.nodules.implant_protocol import evaluate_implants
    from evaluation.nodules.implant_report import implant_table, write_implants

    found = evaluate_implants(radiographs, {METHOD: suppress}, args.nodules, args.seed, progress)
    report.tables.insert(0, implant_table(found.rows))
    if found.left_out:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(found.left_out.items())[:10])
        report.notes.append(f"Of {len(radiographs)} radiographs {len(found.left_out)} were left out: {reasons}")
    report.data |= {"implants": found.rows, "left_out": found.left_out}
    write_implants(found.rows, Path(args.out) / "implants.csv")


def each(suppress: Callable[[np.ndarray], np.ndarray]) -> Suppress:
    """A method of one image (H, W) for many (N, H, W).

    Args:
        suppress: Radiograph float32 (H, W) in [-1, 1] to its soft tissue.

    Returns:
        Radiographs (N, H, W) to their soft tissue (N, H, W), one after the other.
    """
    import numpy as np

    return lambda images: np.stack([suppress(image) for image in images])


def example_picture(result: SurvivalResult, path: Path) -> Picture:
    """The nodules that keep least, some in the middle and the best: before, after, the truth, and the nodule alone.

    Args:
        result: Of the rendered bodies.
        path: The PNG that is written.

    Returns:
        The same picture with its caption, for the report.
    """
    from evaluation.nodules.report import chosen_examples
    from evaluation.reporting.montage import montage
    from evaluation.reporting.report import Picture
    from radiographs import atomic_path

    examples = chosen_examples(result, METHOD)
    labels = [f"{e.row['diameter_mm']:g} mm {e.row['density']}, {e.row['kept']:.0%}" for e in examples]
    titles = ["before", "after", "truth", "nodule after", "nodule, truth"]
    with atomic_path(path) as part:
        montage([example.crops for example in examples], titles, part, labels)
    return Picture("The nodules that keep least, two in the middle and the one that keeps most", path.read_bytes())
