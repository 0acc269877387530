"""Metrics and protocols that say what they measure."""

from evaluation.suppression.metrics import bsr_two_sided, fit_gain_offset, psnr, ssim, suppression_scores

__all__ = ["bsr_two_sided", "fit_gain_offset", "psnr", "ssim", "suppression_scores"]
