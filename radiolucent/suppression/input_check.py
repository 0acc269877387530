"""What a model of frontal chest radiographs gets to see: read, a negative turned, and its view judged.

`radiographs.suitability` measures first. The packaged view classifier only adds: a warning is never taken back, no
picture is turned for it, and it is not asked where something was said of the view already. A false alarm on a frontal
radiograph is worse than an odd one missed, so it must be nearly certain; a picture that is much like a chest with two
lungs is let be, and one judged turned must be more like one once it is turned back.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radiographs.for_suppression import as_for_suppression, read_for_suppression
from radiographs.suitability import ADVICE, NEGATIVE, assess

if TYPE_CHECKING:
    from evaluation.views.classifier import Verdict
    from radiographs import Radiograph

JUDGED = "by the view classifier"
# Probabilities from which on something is said, and the likeness to two lungs (`suitability.Measures.frontal`) from
# which on nothing is: set on renderings and films, see docs/suitability.md.
SURE_LATERAL, SURE_NEGATIVE, SURE_TURNED, SURE_CHEST, SURE_OTHER = 0.9, 0.98, 0.98, 0.5, 0.97
LIKE_A_CHEST = 0.7
SENTENCES = {
    "negative": f"judged a negative {JUDGED}, maybe {NEGATIVE}: not turned; if it is one, say it with --polarity",
    "lateral": f"judged a lateral {JUDGED}: {ADVICE}",
    "other": f"judged no frontal chest radiograph (oblique, a part of one, something else) {JUDGED}: {ADVICE}",
}


def read_checked(path: str | Path, polarity: str = "auto") -> tuple[Radiograph, dict[str, Any]]:
    """A radiograph of a file, with bones bright, and what is odd about it.

    Args:
        path: PNG, JPEG, TIFF or DICOM.
        polarity: One of radiographs.for_suppression.POLARITIES; "auto" turns what surely is a negative.

    Returns:
        As `radiographs.for_suppression.read_for_suppression`, with what the view classifier says among the warnings.
    """
    return _judged(*read_for_suppression(path, polarity), polarity)


def as_checked(image: Radiograph, name: str, polarity: str = "auto") -> tuple[Radiograph, dict[str, Any]]:
    """A radiograph that was read already, with bones bright, and what is odd about it.

    Args:
        image: Pixels float32 (H, W) in [-1, 1].
        name: For messages.
        polarity: As for `read_checked`.

    Returns:
        As `radiographs.for_suppression.as_for_suppression`, with what the view classifier says among the warnings.
    """
    return _judged(*as_for_suppression(image, name, polarity), polarity)


def _judged(image: Radiograph, notes: dict[str, Any], polarity: str) -> tuple[Radiograph, dict[str, Any]]:
    """Add what the classifier says of an image with bright bones."""
    warnings = list(notes.get("warnings", ()))
    if any(ADVICE in text or (NEGATIVE in text and not notes.get("inverted")) for text in warnings):
        return image, notes
    said = view_warning(image.pixels, sign=polarity == "auto" and not notes.get("inverted"))
    return (image, {**notes, "warnings": [*warnings, said]}) if said else (image, notes)


def view_warning(pixels: np.ndarray, sign: bool = True) -> str:
    """What the packaged classifier is nearly certain of that makes an image no upright frontal radiograph.

    Args:
        pixels: float32 (H, W) in [-1, 1], bones supposed to be bright.
        sign: Whether dark bones count; not where somebody said how it is.

    Returns:
        A sentence, or "".
    """
    from evaluation.views.classifier import judge_views

    found = judge_views([pixels])[0]
    kind = suspicion(found, sign)
    measures = assess(pixels).measures if kind else None
    if measures is None:  # nothing odd, or too plain to measure, which was said already
        return ""
    if kind == "turned":
        back = assess(np.ascontiguousarray(np.rot90(pixels, -found.turn_degrees // 90))).measures
        return _turned(found.turn_degrees) if back is not None and back.frontal > measures.frontal else ""
    return SENTENCES[kind] if measures.frontal < LIKE_A_CHEST else ""


def suspicion(found: Verdict, sign: bool = True) -> str:
    """What a verdict of the view classifier is nearly certain of; see `view_warning`.

    Args:
        found: The classifier's probabilities for one radiograph.
        sign: Whether a negative is to be named; False where the polarity was given, or was settled before.

    Returns:
        "turned", a key of SENTENCES, or "" where nothing is odd.
    """
    chest = found.frontal + found.lateral >= SURE_CHEST
    if sign and chest and found.positive <= 1 - SURE_NEGATIVE:
        return "negative"
    if chest and found.upright <= 1 - SURE_TURNED and found.turn_degrees:
        return "turned"
    if found.lateral >= SURE_LATERAL:
        return "lateral"
    return "other" if found.probabilities["other"] >= SURE_OTHER else ""


def _turned(degrees: int) -> str:
    return f"judged to lie {'upside down' if degrees == 180 else 'on its side'} {JUDGED}: {ADVICE}"
