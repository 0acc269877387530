"""`radiolucent evaluate lesions`: nodules of known size put into bodies, suppressed, and looked for again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from evaluation.nodule_survival import Suppress, SurvivalResult
    from evaluation.report import Picture

METHOD = "suppressed"


def run_lesions(args: Any) -> None:
    """Render the scenes, suppress them, and write the report, nodules.csv and examples.png."""
    from evaluation.nodule_report import survival_report, write_nodules
    from evaluation.nodule_scenes import render_scenes
    from evaluation.nodule_survival import evaluate_nodule_survival
    from radiolucent.evaluate_model import load_suppressor
    from radiolucent.evaluate_protocols import Progress, finish, settings

    scenes = render_scenes(args.bodies, args.size, args.seed)
    one = load_suppressor(args, args.checkpoint)
    with Progress() as progress:
        result = evaluate_nodule_survival(
            scenes, {METHOD: each(one)}, lambda done: progress("bodies", done, args.bodies)
        )
    report = survival_report(result, settings(args))
    write_nodules(result, Path(args.out) / "nodules.csv")
    report.pictures.append(example_picture(result, Path(args.out) / "examples.png"))
    finish(report, args.out)


def each(suppress: Callable[[np.ndarray], np.ndarray]) -> Suppress:
    """A method of one image (H, W) for many (N, H, W)."""
    import numpy as np

    return lambda images: np.stack([suppress(image) for image in images])


def example_picture(result: SurvivalResult, path: Path) -> Picture:
    """The nodules that keep least, some in the middle and the best: before, after, the truth, and the nodule alone."""
    from evaluation.nodule_report import chosen_examples
    from evaluation.report import Picture
    from radiographs import atomic_path
    from radiolucent.montage import montage

    examples = chosen_examples(result, METHOD)
    labels = [f"{e.row['diameter_mm']:g} mm {e.row['density']}, {e.row['kept']:.0%}" for e in examples]
    titles = ["before", "after", "truth", "nodule after", "nodule, truth"]
    with atomic_path(path) as part:
        montage([example.crops for example in examples], titles, part, labels)
    return Picture("The nodules that keep least, two in the middle and the one that keeps most", path.read_bytes())
