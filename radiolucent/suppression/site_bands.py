"""How strongly a site's soft tissue shows the bands of radiograph and bone: least squares over its pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from lightning_modules.data.adaptation import SitePair

WIDTHS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # pixels of 512
ENOUGH = 12  # pairs, for some hundred numbers
VARIANTS = 24  # of nodules, of all pairs together
LUNGS_COUNT = 3.0  # times the rest, besides it
NODULES_COUNT = 0.4  # of each unit of survival weight, of the radiograph's variance
LOST_BESIDE = 0.1  # of a nodule beside the lungs, which may be lost
SMALLEST_MM = 8.0  # of a nodule that counts
EDGE = 0.02  # of the strongest nodule's grey, where one ends
RIDGE = 1e-3  # of each feature's own mean square
NOTHING = 1e-12  # of the largest's
AT_ONCE = 2**15  # pixels, in double precision
ROUNDS = 30  # of finding out which nodules lose signal
Bone = Callable[["np.ndarray"], "np.ndarray"]


def fit_bands(
    bone: Bone, pairs: Sequence[SitePair], size: int, survival_weight: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Weights of the bands of radiograph and bone, and of the frame, in what a model's answer lacks.

    Nodules are put into the radiographs, and what the weights take of each of them is linear in the weights too: a
    nodule that would lose signal counts with the square of its loss.

    Args:
        bone: The model's, of a radiograph (S, S).
        pairs: The site's; nodules are put where lungs were found.
        size: S, the side in pixels at which the model is asked.
        survival_weight: How much nodules count; 0: not at all.
        rng: Of the nodules, and of the pairs if there are many.

    Returns:
        (REGIONS, 2 * K + 3) and (4 * FRAME,) float32, see diffusion.networks.site_network.
    """
    import torch

    chosen = [pairs[place] for place in rng.permutation(len(pairs))[:ENOUGH]]
    variants = max(1, VARIANTS // len(chosen)) if survival_weight else 0
    products: Any = 0.0
    wanted: Any = 0.0
    nodules: list[tuple[Tensor, float, bool]] = []
    variance = 0.0
    for pair in chosen:
        plain = _plain(bone, pair, size)
        for some in torch.arange(size**2).split(AT_ONCE):
            design, count = plain.design[:, some].double(), plain.count[some]
            products = products + (design * count) @ design.T
            wanted = wanted + (design * count) @ plain.missing[some]
        variance += float(plain.radiograph.var()) / len(chosen)
        for _ in range(variants):
            nodules += _nodules(bone, pair, plain, rng)
    own = torch.diagonal(products)
    products = products + torch.diag(RIDGE * own + NOTHING * own.max())  # a model may find no bone at all
    if not nodules:
        return _as_buffers(torch.linalg.solve(products, wanted))
    each = NODULES_COUNT * survival_weight * variance * len(chosen) * size**2 / len(nodules)
    return _as_buffers(_protected(products, wanted, nodules, each))


def _protected(products: Tensor, wanted: Tensor, nodules: list[tuple[Tensor, float, bool]], each: float) -> Tensor:
    """The weights (F,) of least squares and of what nodules lose beyond what they may, squared and times `each`."""
    import torch

    takes = torch.stack([nodule[0] for nodule in nodules])
    left = torch.tensor([nodule[1] for nodule in nodules]).double()
    least = torch.tensor([1.0 if nodule[2] else 1.0 - LOST_BESIDE for nodule in nodules]).double()
    weights, losing = torch.linalg.solve(products, wanted), None
    for _ in range(ROUNDS):
        now = left - takes @ weights < least
        if losing is not None and torch.equal(now, losing):
            break
        losing, some = now, takes[now]
        weights = torch.linalg.solve(products + each * some.T @ some, wanted + each * some.T @ (left - least)[losing])
    return weights


@dataclass(frozen=True, eq=False)
class _Plain:
    """A pair on the model's square, and its equations.

    Attributes:
        radiograph: float32 (S, S).
        bone: The model's, (S, S).
        lungs: bool (S, S); none where they were not found.
        design: (F, S * S), what each weight takes away.
        missing: (S * S,), what they shall take.
        count: (S * S,), how much each pixel counts.
    """

    radiograph: np.ndarray
    bone: np.ndarray
    lungs: np.ndarray
    design: Tensor
    missing: Tensor
    count: Tensor


def _plain(bone: Bone, pair: SitePair, size: int) -> _Plain:
    import numpy as np
    import torch

    from radiographs import fit

    radiograph, soft = (fit(image, size)[0] for image in (pair.radiograph, pair.soft))
    found = bone(radiograph)
    lungs = np.zeros((size, size), bool)
    if pair.lungs is not None:
        lungs = fit(pair.lungs.astype(np.float32), size)[0] > 0.5
    count = torch.from_numpy(1 + LUNGS_COUNT * lungs.ravel())
    missing = torch.from_numpy(radiograph - found - soft).double().flatten()
    return _Plain(radiograph, found, lungs, _design(radiograph, found), missing, count)


def _design(radiograph: np.ndarray, found: np.ndarray) -> Tensor:
    """(F, N) float32: what each weight would take away, of a radiograph and the bone in it, both (S, S)."""
    import torch

    from diffusion.networks.site_network import site_features
    from diffusion.networks.site_regions import region_maps

    seen, bone = (torch.from_numpy(image)[None, None].float() for image in (radiograph, found))
    bands, frame = site_features(seen, bone, WIDTHS)
    regions = region_maps(seen)[0, :, None] * bands
    return torch.cat([regions.flatten(0, 1), frame[0]]).flatten(1)


def _as_buffers(weights: Tensor) -> tuple[Tensor, Tensor]:
    """The design's weights as a SiteUNet holds them."""
    from diffusion.networks.site_regions import REGIONS

    regional = REGIONS * (2 * len(WIDTHS) + 3)
    return weights[:regional].reshape(REGIONS, -1).float(), weights[regional:].float()


def _nodules(
    bone: Bone, pair: SitePair, plain: _Plain, rng: np.random.Generator
) -> Iterator[tuple[Tensor, float, bool]]:
    """Nodules put into a radiograph: what each weight takes of one (F,), what the model leaves, if it is in the lungs.

    Of a nodule's signal, by projection: what is left in the end is the second less the first times the weights.
    """
    import cv2
    import numpy as np
    import torch

    from lightning_modules.data.adaptation import FIELD_MM, nodules_for
    from radiographs import fit

    size = len(plain.radiograph)
    radiograph = fit(pair.radiograph + nodules_for(pair, rng), size)[0]
    added = radiograph - plain.radiograph
    if not added.any():
        return
    found = bone(radiograph)
    design = _design(radiograph, found)
    parts, places = cv2.connectedComponents((added > EDGE * added.max()).astype(np.uint8))
    for number in range(1, parts):
        inside = places == number
        if inside.sum() * (FIELD_MM / size) ** 2 < np.pi / 4 * SMALLEST_MM**2:
            continue
        signal = torch.from_numpy(added[inside]).double()
        signal = signal / (signal**2).sum()
        left = torch.from_numpy((added - found + plain.bone)[inside]).double()
        here = torch.from_numpy(inside.ravel())
        takes = (design[:, here] - plain.design[:, here]).double() @ signal
        yield takes, float(left @ signal), bool(plain.lungs[inside].mean() > 0.5)
