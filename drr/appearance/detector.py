"""The detector's response: line integrals of attenuation to an image, by one exposure law for every patient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, UInt16

COUNTS_PER_LINE = 4096  # 16-bit export: line integrals from 0 to 16 in steps of 1/4096


def detector_response(lines: Any, centre: float = 4.0, width: float = 1.4) -> Any:
    """The characteristic curve of film: a logistic function of log exposure.

    Log exposure behind a body is minus its line integral L, so the image, bones bright, is
    2 s(L) - 1 with s = (S(L) - S(0)) / (1 - S(0)) and S(L) = 1 / (1 + exp((centre - L) / width)): unexposed by a body
    gives -1, the densest body tends to 1, nothing clips. The constants are the same for every patient: only then
    do `total` and `soft` of a view form a pair, and thick patients look thick.

    Args:
        lines: Float array or tensor of any shape, dimensionless line integrals.
        centre: Line integral of mid-grey (4 is 19 cm of water); a lower one is a shorter exposure.
        width: Latitude; a smaller one is more contrast.

    Returns:
        The same kind and shape, float32, in [-1, 1].

    Raises:
        ValueError: A width that is not positive.

    Example:
        >>> detector_response(np.array([0.0, 4.0, 100.0])).round(2)
        array([-1.  , -0.06,  1.  ], dtype=float32)

    Reference:
        Hurter and Driffield, J. Soc. Chem. Ind. 9, 1890.
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
    """The inverse of `detector_response`.

    Args:
        image: Float array or tensor in [-1, 1].
        centre: As given to `detector_response`.
        width: As given to `detector_response`.

    Returns:
        Line integrals; infinity where the image is exactly 1.
    """
    xp: Any = torch if isinstance(image, torch.Tensor) else np
    zero = np.tanh(-0.5 * centre / width)
    return centre + 2 * width * xp.arctanh((image + 1) * (1 - zero) / 2 + zero)


def encode_lines(lines: Float[np.ndarray, "*shape"]) -> UInt16[np.ndarray, "*shape"]:
    """Line integrals as counts of 1/4096, one law for every patient.

    Args:
        lines: Of any shape, 0 or more; above 15.9998 they saturate.

    Returns:
        uint16, of that shape.
    """
    return np.rint(np.clip(np.asarray(lines) * COUNTS_PER_LINE, 0, 65535)).astype(np.uint16)


def decode_lines(counts: UInt16[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """The inverse of `encode_lines`, to within 1/8192.

    Args:
        counts: uint16, of any shape.

    Returns:
        float32 line integrals.
    """
    return counts.astype(np.float32) / COUNTS_PER_LINE
