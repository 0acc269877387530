"""Boxes in a table's cell, and as maps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from radiographs.regions import (
    Region,
    format_regions,
    framed,
    mask_region,
    parse_masks,
    parse_regions,
    read_mask,
    region_map,
)
from radiographs.vocabulary import FINDINGS


def test_there_and_back():
    regions = parse_regions(" nodule 0.25 0.2 0.3 0.4 ;pleural  effusion 0 0 1 1;")
    assert regions == (Region("nodule", (0.25, 0.2, 0.3, 0.4)), Region("pleural effusion", (0, 0, 1, 1)))
    assert format_regions(regions).startswith("nodule 0.2500 0.2000 0.3000 0.4000; pleural effusion 0.0000")
    assert parse_regions(format_regions(regions)) == regions and parse_regions("") == () == parse_regions(" ; ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nodule", "the box is 'nodule'; expected KIND x1 y1 x2 y2"),
        ("nodule 1 2 3", "expected KIND x1 y1 x2 y2"),
        ("nodule a b c d", "expected KIND x1 y1 x2 y2"),
        ("0.1 0.2 0.3 0.4", "the box is of ''; expected one of nodule"),
        ("fracture 0.1 0.2 0.3 0.4", "the box is of 'fracture'"),
        ("nodule 0.3 0.2 0.1 0.4", "expected 0 <= x1 < x2 <= 1"),
        ("nodule 0.1 0.2 0.3 1.4", "expected 0 <= x1 < x2 <= 1"),
        ("nodule 0.1 0.2 nan 0.4", "expected 0 <= x1 < x2 <= 1"),
        ("nodule 10 20 30 40", "expected 0 <= x1 < x2 <= 1"),
    ],
)
def test_what_is_refused(text, said):
    with pytest.raises(ValueError) as error:
        parse_regions(text)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_map_holds_the_part_of_each_pixel_in_a_box():
    maps = region_map(parse_regions("consolidation 0.25 0 0.625 0.5; consolidation 0.5 0 0.75 0.25"), 4)
    assert maps.shape == (len(FINDINGS), 4, 4) and maps.dtype == np.float32
    expected = [[0, 1, 1, 0], [0, 1, 0.5, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(maps[FINDINGS.index("consolidation")], expected)
    assert maps.sum() == np.sum(expected)
    whole = region_map([Region("nodule", (0.1, 0.2, 0.75, 0.9))], 7)
    assert whole.sum() / 49 == pytest.approx(0.65 * 0.7)
    assert not region_map([], 5).any()


def test_a_mask_and_its_map_agree():
    mask = np.zeros((20, 40), bool)
    mask[5:10, 8:20] = True
    region = mask_region("nodule", mask)
    assert region == Region("nodule", (0.2, 0.25, 0.5, 0.5)) and mask_region("nodule", mask & False) is None
    (square,) = framed([region], mask.shape, "crop")
    assert square.box == (0, 0.25, 0.5, 0.5)  # columns 10 to 30 are left
    (padded,) = framed([region], mask.shape, "pad")
    assert padded.box == (0.2, 0.375, 0.5, 0.5)
    assert framed([Region("nodule", (0, 0, 0.2, 1))], mask.shape, "crop") == ()


def test_masks_are_read_beside_their_table(tmp_path):
    mask = np.zeros((20, 40), np.uint8)
    mask[10:16, 8:24] = 1  # as label maps are saved: dark to the eye, and not black
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks/a b.png"), mask)
    (region,) = parse_masks(" pleural effusion masks/a b.png; ", tmp_path)
    assert region == Region("pleural effusion", (0.2, 0.5, 0.6, 0.8), tmp_path / "masks/a b.png")
    maps = region_map([region], (10, 20))
    assert maps[2, 5:8, 4:12].min() == 1 and maps.sum() == 3 * 8
    assert parse_masks("", tmp_path) == ()


@pytest.mark.parametrize("kind", ["label of 16 bits", "colour", "transparent beside it", "grey and transparent"])
def test_a_mask_marks_what_is_neither_black_nor_transparent(tmp_path, kind):
    inside = np.zeros((20, 20), bool)
    inside[5:10, 8:16] = True
    if kind == "label of 16 bits":
        picture = inside.astype(np.uint16) * 3
    elif kind == "colour":
        picture = inside[..., None] * np.array([0, 0, 200], np.uint8)
    else:
        picture = np.full((20, 20, 4), 255, np.uint8)
        picture[..., 3] = inside * 255
        if kind == "grey and transparent":
            picture[5:10, 8:12, :3] = 0
            inside[:, :12] = False
    cv2.imwrite(str(tmp_path / "m.png"), picture)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), inside)


def test_a_mask_for_a_square_picture_must_be_square(tmp_path):
    cv2.imwrite(str(tmp_path / "m.png"), np.full((20, 50), 255, np.uint8))
    assert len(parse_masks("nodule m.png", tmp_path)) == 1
    with pytest.raises(ValueError, match=r"m\.png, is 50 x 20, and what is drawn is square"):
        parse_masks("nodule m.png", tmp_path, square=True)


@pytest.mark.parametrize("framing", ["crop", "pad"])
def test_a_mask_is_framed_as_its_box_is(tmp_path, framing):
    mask = np.zeros((30, 48), np.uint8)
    mask[6:18, 12:36] = 255
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    (outline,) = parse_masks("nodule m.png", tmp_path)
    box = Region("nodule", outline.box)
    by_box = region_map(framed([box], mask.shape, framing), 6)
    assert np.abs(region_map([outline], 6, framing) - by_box).max() < 1e-6 < by_box.sum()


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("tumour m.png", "expected KIND FILE"),
        ("nodule gone.png", "does not exist"),
        ("nodule text.png", "is no picture"),
        ("nodule black.png", "is black"),
    ],
)
def test_bad_masks_are_refused(tmp_path, cell, said):
    (tmp_path / "text.png").write_text("hello")
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match=said):
        parse_masks(cell, tmp_path)
