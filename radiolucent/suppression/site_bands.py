"""How strongly a site's soft tissue shows the bands of radiograph and bone: least squares over its pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from lightning_modules.data.adaptation import SitePair

WIDTHS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # pixels of 512
COARSER = 64.0  # what is wider is fitted beside them, and left to the network, as is what is wider still
ENOUGH = 12  # pairs, for a few numbers
LUNGS_COUNT = 3.0  # times the rest, besides it
NODULES_COUNT = 20.0
RIDGE = 1e-3  # of each feature's own mean square
NOTHING = 1e-12  # of the largest's


def fit_bands(
    bone: Callable[[np.ndarray], np.ndarray], pairs: Sequence[SitePair], size: int, rng: np.random.Generator
) -> Tensor:
    """Weights of the bands of radiograph and bone in what a model's answer lacks.

    Args:
        bone: The model's, of a radiograph (S, S).
        pairs: The site's; with nodules in both images where lungs were found, since those shall stay.
        size: S, the side in pixels at which the model is asked.
        rng: Of the nodules, and of the pairs if there are many.

    Returns:
        (2, K) float32, see diffusion.networks.site_network.
    """
    import numpy as np
    import torch

    from diffusion.networks.site_network import band_images
    from lightning_modules.data.adaptation import nodules_for
    from radiographs import fit

    chosen = [pairs[place] for place in rng.permutation(len(pairs))[:ENOUGH]]
    products: Any = 0.0
    wanted: Any = 0.0
    for pair in chosen:
        added = nodules_for(pair, rng)
        radiograph, soft = (fit(image + added, size)[0] for image in (pair.radiograph, pair.soft))
        found = bone(radiograph)
        both = torch.from_numpy(np.stack([radiograph, found]))[:, None].double()
        images = band_images(both, (*WIDTHS, COARSER))
        images = torch.cat([images, both - images.sum(dim=1, keepdim=True)], dim=1)
        used, beside = images.split([len(WIDTHS), 2], dim=1)
        constant = torch.ones(1, size, size, dtype=torch.float64)
        design = torch.cat([used.flatten(0, 1), beside.flatten(0, 1), constant]).flatten(1)
        weight = torch.ones(size, size, dtype=torch.float64)
        if pair.lungs is not None:
            for image, count in ((pair.lungs.astype(np.float32), LUNGS_COUNT), (1.0 * (added > 0), NODULES_COUNT)):
                weight += count * torch.from_numpy(fit(image.astype(np.float32), size)[0] > 0.5)
        weighted = design * weight.flatten()
        products = products + weighted @ design.T
        wanted = wanted + weighted @ torch.from_numpy(radiograph - found - soft).double().flatten()
    own = torch.diagonal(products)
    damping = torch.diag(RIDGE * own + NOTHING * own.max())  # a model may find no bone at all
    weights = torch.linalg.solve(products + damping, wanted)
    return weights[: 2 * len(WIDTHS)].reshape(2, len(WIDTHS)).float()
