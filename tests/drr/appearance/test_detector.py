"""The detector's law."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from drr.appearance.detector import decode_lines, detector_response, encode_lines, line_integral


def test_the_law_at_known_points():
    lines = np.array([0.0, 4.0, 60.0])
    floor = 1 / (1 + np.exp(4 / 1.4))
    middle = 2 * (0.5 - floor) / (1 - floor) - 1
    np.testing.assert_allclose(detector_response(lines), [-1, middle, 1], atol=1e-6)


def test_monotone_and_never_clipped():
    image = detector_response(np.linspace(0, 12, 200))
    assert image.dtype == np.float32 and (np.diff(image) > 0).all() and image.max() < 1


def test_inverse():
    lines = np.linspace(0.01, 9, 50)
    np.testing.assert_allclose(line_integral(detector_response(lines).astype(np.float64)), lines, atol=1e-4)


def test_torch_and_numpy_agree_and_torch_has_a_gradient():
    lines = torch.rand(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    image = detector_response(lines * 9)
    np.testing.assert_allclose(image.detach().numpy(), detector_response(lines.detach().numpy() * 9), atol=1e-6)
    assert image.dtype == torch.float32
    image.sum().backward()
    assert (lines.grad > 0).all()


def test_sixteen_bits():
    lines = np.array([0, 1, 2.5, 15.9])
    np.testing.assert_array_equal(encode_lines(lines), [0, 4096, 10240, 65126])
    assert encode_lines(np.array([99.0, -1.0])).tolist() == [65535, 0]
    assert np.abs(decode_lines(encode_lines(lines)) - lines).max() <= 1 / 8192


def test_width_must_be_positive():
    with pytest.raises(ValueError, match="width"):
        detector_response(np.zeros(3), width=0)
