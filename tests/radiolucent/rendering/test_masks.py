"""Run lengths as COCO writes them."""

from __future__ import annotations

import numpy as np
import pytest

from radiolucent.rendering.masks import decode_mask, encode_mask


def test_a_known_mask():
    mask = np.zeros((3, 4), bool)
    mask[1:, 1:3] = True  # column by column: 4 empty, 2 full, 1 empty, 2 full, 3 empty
    assert encode_mask(mask) == {"size": [3, 4], "counts": "42102"}  # the last two as 2 - 2 and 3 - 1
    np.testing.assert_array_equal(decode_mask(encode_mask(mask)), mask)


@pytest.mark.parametrize("density", [0, 0.02, 0.5, 1])
def test_there_and_back(density):
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (5, 3), (64, 48), (7, 300)):
        mask = rng.random(shape) < density
        np.testing.assert_array_equal(decode_mask(encode_mask(mask)), mask)


def test_pycocotools_reads_the_same():
    coco = pytest.importorskip("pycocotools.mask", reason="pip install pycocotools")
    rng = np.random.default_rng(1)
    for density in (0.01, 0.5, 0.99):
        mask = rng.random((301, 207)) < density
        encoded = encode_mask(mask)
        np.testing.assert_array_equal(coco.decode(encoded), mask)
        assert coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode() == encoded["counts"]
        assert int(coco.area(encoded)) == mask.sum()


def test_damaged_run_lengths():
    with pytest.raises(ValueError, match="run lengths sum to"):
        decode_mask({"size": [9, 9], "counts": "42102"})
