"""Padding around the field of view becomes air, whatever its number, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest

from drr import ConeBeam, Volume, isolate_body, project, sample_ct
from drr.anatomy.tissue import prepare
from drr.io.padding import at_the_border, find_padding, padding_to_air


@pytest.fixture(scope="module")
def chest():
    return sample_ct()


def shapes(hu):
    """Where a volume may be padded: outside of a circle, outside of a turned square, beside it, above it."""
    z, y, x = np.indices(hu.shape) - np.array([0, 72, 72])[:, None, None, None]
    along, across = x * np.cos(0.3) + y * np.sin(0.3), y * np.cos(0.3) - x * np.sin(0.3)
    return {
        "circle": np.hypot(x, y) > 70,
        "turned": np.maximum(np.abs(along), np.abs(across)) > 66,
        "beside": x < -66,
        "above": z > 125,
    }


@pytest.mark.parametrize("padding", [0, 32767, 3071, -500, -2000, -3024, -32768])
@pytest.mark.parametrize("shape", ["circle", "turned", "beside", "above"])
def test_padding_becomes_air(chest, shape, padding):
    outside = shapes(chest.hu)[shape]
    hu = np.where(outside, padding, chest.hu).astype(np.int16)
    found = find_padding(hu)
    assert found == padding
    padding_to_air(hu, found)
    assert (hu[outside] == -1024).all()
    changed = (hu != chest.hu.clip(-1024)) & ~outside
    assert changed.mean() < 1e-5  # tissue of 0 HU that touches the padding


def test_lines_of_a_padded_volume_are_those_of_an_unpadded_one(chest):
    outside = shapes(chest.hu)["circle"]
    clean = isolate_body(chest.replace(hu=np.where(outside, -1000, chest.hu).astype(np.int16)))
    beam = ConeBeam.preset("PA", clean, (48, 48))
    right = project(clean, [beam], ("total",))[0, 0].numpy()
    for padding in (0, 32767):
        padded = chest.replace(hu=np.where(outside, padding, chest.hu).astype(np.int16))
        before = padded.hu.copy()
        lines = project(isolate_body(padded), [beam], ("total",))[0, 0].numpy()
        np.testing.assert_allclose(lines, right, atol=0.02 * right.max())
        np.testing.assert_array_equal(padded.hu, before)  # the caller's voxels stay
        lines = project(prepare(padded, with_bone=False), [beam], ("total",))[0, 0].numpy()
        np.testing.assert_allclose(lines, right, atol=0.02 * right.max())


def slab():
    hu = np.full((20, 20, 20), -1000)
    hu[:, 10:] = 0
    return hu


@pytest.mark.parametrize(
    "hu",
    [
        sample_ct().hu,
        np.full((20, 20, 20), -1000),
        np.full((20, 20, 20), 40),
        slab(),  # water to the edge, and nothing else that could be a body
        np.random.default_rng(0).normal(40, 15, (60, 60, 60)).round(),  # cut out within the body
    ],
    ids=["sample", "air", "tissue", "slab", "cut out"],
)
def test_no_padding(hu):
    assert find_padding(hu.astype(np.int16)) is None


def test_only_what_is_connected_with_the_border():
    mask = np.zeros((5, 6), bool)
    mask[:2, :2] = mask[3, 3] = True
    expected = np.zeros((5, 6), bool)
    expected[:2, :2] = True
    np.testing.assert_array_equal(at_the_border(mask), expected)


def test_padding_of_a_volume_made_by_hand_is_no_body():
    """A cylinder of water in air, and padding of 0 HU to the right of it."""
    _, y, x = np.indices((10, 60, 80))
    hu = np.where(np.hypot(x - 25, y - 30) < 18, 20, -1000)
    hu[:, :, 60:] = 0
    body = isolate_body(Volume(hu.astype(np.int16), np.diag([2.5, 2.5, 2.5, 1]))).hu
    assert (body[:, :, 60:] == -1024).all() and (body[hu == 20] == 20).all()
