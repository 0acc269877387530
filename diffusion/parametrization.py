"""What the network answers at x_t = alpha x0 + sigma epsilon, and x0 from its answer.

prediction is diffusers' `prediction_type`: `epsilon`; `sample`, x0 itself; `v_prediction`, alpha epsilon - sigma x0
(Salimans and Ho, arXiv 2202.00512); or the Brownian bridge's `difference`, x_t - x0 (arXiv 2205.07680, eq. 11).
"""

from __future__ import annotations

from torch import Tensor

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction", "difference")


def prediction_target(prediction: str, x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """What the network should answer.

    Args:
        prediction: See above.
        x0: (B, C, H, W).
        noise: Of the same shape.
        alpha: What x0 is multiplied by in x_t; broadcasts over x0.
        sigma: What the noise is multiplied by; broadcasts over x0.

    Returns:
        (B, C, H, W).
    """
    if prediction == "epsilon":
        return noise
    if prediction == "sample":
        return x0
    if prediction == "v_prediction":
        return alpha * noise - sigma * x0
    return (alpha - 1) * x0 + sigma * noise


def predicted_x0(prediction: str, output: Tensor, noisy: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """x0 from the network's answer, not clipped; the inverse of `prediction_target`.

    Args:
        prediction: See above.
        output: The network's answer (B, C, H, W).
        noisy: x_t, (B, C, H, W).
        alpha: What x0 is multiplied by in x_t; broadcasts over x_t.
        sigma: What the noise is multiplied by; broadcasts over x_t.

    Returns:
        (B, C, H, W).
    """
    if prediction == "epsilon":
        return (noisy - sigma * output) / alpha
    if prediction == "sample":
        return output
    if prediction == "v_prediction":
        return (alpha * noisy - sigma * output) / (alpha**2 + sigma**2)
    return noisy - output
