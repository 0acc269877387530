"""`--filter views`: keep an image only if it shows the view that its prompt asks for, upright, with bright bones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from radiolucent.synthesis.quality_filter import Verdict

SOURCE = "views"  # what --filter is then; a folder of that name is ./views
BATCH = 32


def check_filter(source: str | None, classes: Sequence[str], threshold: float) -> None:
    """Refuse a filter that cannot be, before anything is loaded.

    Args:
        source: As --filter has it, None or "" for none.
        classes: As --filter-classes has them.
        threshold: As --filter-threshold has it.

    Raises:
        FileNotFoundError: No such file or folder.
        ValueError: A threshold outside [0, 1], or classes where no findings are judged.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"--filter-threshold {threshold}: it must be from 0 to 1")
    if source == SOURCE and classes:
        raise ValueError("--filter-classes are a classifier file's; --filter views judges no findings")
    if source and source != SOURCE and not source.startswith("hf://") and not Path(source).exists():
        raise FileNotFoundError(f"--filter {source}: there is no such classifier or folder")


def refuse_without_views(source: str | None, views: Sequence[str | None]) -> None:
    """Refuse prompts of which none asks for a view, before anything is drawn.

    Args:
        source: As --filter has it.
        views: Those asked for, None where there is none.

    Raises:
        ValueError: There is none, and `--filter views`.
    """
    if source == SOURCE and not any(views):
        raise ValueError(
            "--filter views: no prompt asks for a view, so that there is nothing to compare; give a column `view`"
        )


def judge_asked(paths: Mapping[str, Path], views: Mapping[str, str | None]) -> dict[str, Verdict]:
    """A verdict for each image, by the packaged view classifier.

    PA and AP count as one, the frontal view: how they differ is too small to drop an image for.

    Args:
        paths: {name: file}.
        views: {name: the view asked for}; an image without one is not judged.

    Returns:
        {name: the least of the probabilities that it shows the view, lies upright and has bright bones}.
    """
    from evaluation.views.classifier import judge_views
    from radiographs.io import read_radiograph

    verdicts = dict.fromkeys(paths, Verdict(None))
    asked = [(name, view) for name in paths if (view := views.get(name))]
    for start in range(0, len(asked), BATCH):
        part = asked[start : start + BATCH]
        found = judge_views([read_radiograph(paths[name]).pixels for name, _ in part])
        for (name, view), one in zip(part, found):
            parts = {f"view {view}": one.probability_of(view), "upright": one.upright, "bright bones": one.positive}
            label = min(parts, key=lambda each: parts[each])
            verdicts[name] = Verdict(parts[label], label, 1, parts[label])
    return verdicts
