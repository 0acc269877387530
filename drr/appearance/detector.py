"""The detector's response: line integrals of attenuation to an image, by one exposure law for every patient."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

COUNTS_PER_LINE = 4096  # 16-bit export: line integrals from 0 to 16 in steps of 1/4096


def detector_response(lines: Any, centre: float = 4.0, width: float = 1.4) -> Any:
    """The characteristic curve of film (Hurter and Driffield, 1890): a logistic function of log exposure.

    Log exposure behind a body is minus its line integral L, so the image, bones bright, is
    2 s(L) - 1 with s = (S(L) - S(0)) / (1 - S(0)) and S(L) = 1 / (1 + exp((centre - L) / width)): unexposed by a body
    gives -1, the densest body tends to 1, nothing clips. The constants are the same for every patient: only then
    do `total` and `soft` of a view form a pair, and thick patients look thick.

    lines: float array or tensor of any shape, dimensionless line integrals.
    centre: line integral of mid-grey (4 is 19 cm of water); a lower one is a shorter exposure.
    width: latitude; a smaller one is more contrast.
    Returns the same kind and shape, float32, in [-1, 1]. ValueError: a width that is not positive.
    """
    if not width > 0:
        raise ValueError(f"the detector's width is {width}; it must be positive")
    xp: Any = torch if isinstance(lines, torch.Tensor) else np
    # S(L) = (1 + tanh((L - centre) / 2 width)) / 2, which does not overflow
    zero = np.tanh(-0.5 * centre / width)
    curve = xp.tanh((lines - centre) * (0.5 / width))
    image = (curve - zero) * (2 / (1 - zero)) - 1
    return image.to(torch.float32) if xp is torch else image.astype(np.float32)


def line_integral(image: Any, centre: float = 4.0, width: float = 1.4) -> Any:
    """The inverse of `detector_response`; images of exactly 1 give infinity."""
    xp: Any = torch if isinstance(image, torch.Tensor) else np
    zero = np.tanh(-0.5 * centre / width)
    return centre + 2 * width * xp.arctanh((image + 1) * (1 - zero) / 2 + zero)


def encode_lines(lines: np.ndarray) -> np.ndarray:
    """Line integrals as uint16 counts of 1/4096, one law for every patient; above 15.9998 they saturate."""
    return np.rint(np.clip(np.asarray(lines) * COUNTS_PER_LINE, 0, 65535)).astype(np.uint16)


def decode_lines(counts: np.ndarray) -> np.ndarray:
    """float32 line integrals from the counts of `encode_lines`, to within 1/8192."""
    return counts.astype(np.float32) / COUNTS_PER_LINE
