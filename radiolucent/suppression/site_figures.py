"""What a site's model does to pairs that are held out: gains, and what becomes of nodules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from diffusion.pipelines.contract import SuppressionModel
    from lightning_modules.data.adaptation import SitePair
    from radiolucent.suppression.suppressor import Suppressor

NODULES = 24  # implanted into each held-out radiograph's lungs, and as many between them
SMALLEST_MM = 8.0


@dataclass(frozen=True)
class Figures:
    """What a model does on held-out pairs.

    Attributes:
        whole: Gain over doing nothing in dB, after the best gain and offset.
        lungs: The same in the lungs.
        nodules: Implanted ones of 8 mm and more, in the lungs.
        kept: Their mean signal that is kept.
        kept_90: The part of them that keeps 90% of it.
        kept_between: The mean signal kept of others between the lungs, before heart and spine.
    """

    whole: float
    lungs: float
    nodules: int
    kept: float
    kept_90: float
    kept_between: float


def measure(pipeline: SuppressionModel, pairs: Sequence[SitePair], seed: int) -> Figures:
    """The figures of a model on whole pairs, as `radiolucent suppress` would use it.

    Args:
        pipeline: The model.
        pairs: At least one.
        seed: Of the implanted nodules' places.

    Returns:
        Means over the pairs, and over all nodules of 8 mm and more; NaN of what no pair shows.
    """
    import numpy as np

    from evaluation.suppression.gains import LUNGS, WHOLE, GainMeter
    from radiolucent.suppression.suppressor import Suppressor

    suppressor = Suppressor.of(pipeline)
    gains, inside, between = [], [], []
    for pair in pairs:
        soft = suppressor.suppress(pair.radiograph).soft
        gains.append(GainMeter(pair.soft, pair.radiograph, pair.lungs)(soft))
        if pair.lungs is not None and pair.between is not None:
            inside += _kept(suppressor, pair, pair.lungs, soft, seed)
            between += _kept(suppressor, pair, pair.between, soft, seed) if pair.between.any() else []
    return Figures(
        float(np.mean([gain[WHOLE] for gain in gains])),
        float(np.mean([gain[LUNGS] for gain in gains if LUNGS in gain] or [np.nan])),
        len(inside),
        float(np.mean(inside or [np.nan])),
        float(np.mean([float(value >= 0.9) for value in inside] or [np.nan])),
        float(np.mean(between or [np.nan])),
    )


def _kept(suppressor: Suppressor, pair: SitePair, where: np.ndarray, soft: np.ndarray, seed: int) -> list[float]:
    """The part of each nodule's signal that is kept, of those with their centres in a region (H, W)."""
    import numpy as np

    from evaluation.nodules.implants import contrast_per_mm, measure_implants, scatter

    assert pair.lungs is not None
    per_mm = contrast_per_mm(pair.radiograph, pair.lungs)
    groups = scatter(where, pair.pixel_mm, per_mm, NODULES, np.random.default_rng(seed))
    found = measure_implants(
        lambda image: suppressor.suppress(image).soft, pair.radiograph, where, groups, pair.pixel_mm, per_mm, soft
    )
    return [nodule.kept for nodule in found if nodule.diameter_mm >= SMALLEST_MM]
