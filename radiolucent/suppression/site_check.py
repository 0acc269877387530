"""Whether a site's pairs lie the right way round: radiographs as radiographs, soft tissue as soft tissue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_modules.data.adaptation import Bone, SitePair

ENOUGH = 12  # pairs that are looked at
SWAPPED = -0.2  # correlation of bone found and difference: 0.7 to 0.9 in real pairs, -0.5 to -0.7 in swapped ones


def refuse_swapped(bone: Bone, pairs: Sequence[SitePair], size: int) -> None:
    """Refuse pairs whose soft tissue holds the bones: a model would learn to draw ribs.

    Args:
        bone: What a model takes away from a radiograph (S, S).
        pairs: The site's; the first twelve are looked at.
        size: S.

    Raises:
        ValueError: In most of them the difference is the opposite of the bone that the model finds.
    """
    import numpy as np

    found = [value for pair in pairs[:ENOUGH] if np.isfinite(value := _likeness(bone, pair, size))]
    likeness = float(np.median(found)) if found else 0.0
    if likeness < SWAPPED:
        raise ValueError(
            f"the soft-tissue images hold more bone than the radiographs (correlation {likeness:.2f} of their "
            "difference with the bone that the model finds; of pairs the right way round it is positive): are the two "
            "folders swapped? CXR, or --radiographs, takes the radiographs, BS, or --softs, the soft tissue"
        )


def _likeness(bone: Bone, pair: SitePair, size: int) -> float:
    """The correlation in fine structures of a pair's difference with the bone that is found; NaN if there is none."""
    import numpy as np

    from radiographs import fit
    from radiographs.pair_check import fine_band

    radiograph, soft = (fit(image, size)[0] for image in (pair.radiograph, pair.soft))
    where = slice(None) if pair.lungs is None else fit(pair.lungs.astype(np.float32), size)[0] > 0.5
    found, difference = (fine_band(image)[where].ravel() for image in (bone(radiograph), radiograph - soft))
    if not (found.std() > 0 and difference.std() > 0):
        return float("nan")
    return float(np.corrcoef(found, difference)[0, 1])
