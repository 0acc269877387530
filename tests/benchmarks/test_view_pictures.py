"""Pictures that the view classifier is trained on: a CT made as long as a film, arms, looks; and its loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.train_views import loss_of, named_view, zoom
from benchmarks.view_pictures import PIXELS, Cast, hanging_arms, lengthen, show
from drr import Volume
from drr.projection.attenuation import MU_WATER_PER_MM
from evaluation.views.classifier import CLASSES, SIDE, _verdict


@pytest.fixture(scope="module")
def trunk() -> Volume:
    """An elliptic trunk of water, 320 mm wide, with two lungs through all slices and a spine."""
    y, x = np.mgrid[-40:40, -60:60] * 4.0
    hu = np.where((x / 160) ** 2 + (y / 100) ** 2 < 1, 0, -1000)
    hu = np.where(((np.abs(x) - 80) / 45) ** 2 + (y / 60) ** 2 < 1, -800, hu)
    spine = (x**2 + (y - 60) ** 2) < 20**2
    hu = np.where(spine, 700, hu)
    slices = np.repeat(hu[None], 20, 0).astype(np.int16)
    bone = np.repeat(np.where(spine, 2, 0)[None], 20, 0).astype(np.uint8)
    return Volume(slices, np.diag([4.0, 4.0, 5.0, 1.0]), bone=bone)


def test_a_longer_body_keeps_its_own_slices_and_gets_an_abdomen_and_a_neck(trunk: Volume) -> None:
    longer = lengthen(trunk, np.random.default_rng(0))
    below, above = 30, 22  # 150 and 110 mm in slices of 5 mm
    assert longer.hu.shape == (20 + below + above, 80, 120) == longer.bone.shape  # type: ignore[union-attr]
    np.testing.assert_array_equal(longer.hu[below : below + 20], trunk.hu)
    np.testing.assert_allclose(longer.affine @ [0, 0, below, 1], trunk.affine @ [0, 0, 0, 1])
    lowest, highest = longer.hu[0], longer.hu[-1]
    inside = trunk.hu[0] > -1000
    assert (lowest[inside] > -10).all() and (lowest[~inside] == -1000).all()
    assert (trunk.hu[0][inside] < -500).any()  # lungs, of which the lowest slice shows nothing
    width = 4 * np.ptp(np.nonzero(highest > -1000)[1])
    assert 110 <= width <= 128 and longer.bone[-1].sum() > 0  # type: ignore[index]


def test_an_arm_is_as_thick_as_a_rod() -> None:
    soft, bone = (np.zeros((PIXELS, PIXELS), np.float32) for _ in range(2))
    rng = np.random.default_rng(3)
    hanging_arms(soft, bone, 3.0, np.array([170.0, 110.0, 200.0]), np.array([130.0, 90.0, 120.0]), rng)
    assert 2 * 34 * MU_WATER_PER_MM * 0.95 <= soft.max() <= 2 * 56 * MU_WATER_PER_MM * 1.01
    assert bone.max() > 2 * 10 * MU_WATER_PER_MM
    middle = slice(PIXELS // 3, 2 * PIXELS // 3)
    assert soft[:, middle].max() == 0 and soft[PIXELS // 2, : PIXELS // 4].max() > 0  # beside the chest


def test_shown_pictures_are_finite_and_differ() -> None:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:PIXELS, :PIXELS] / PIXELS
    soft = (2 + np.sin(9 * x) + y).astype(np.float16)
    cast = Cast("PA", soft, 0.3 * soft, 3.0)
    pictures = [show(cast, rng) for _ in range(12)]
    assert all(np.isfinite(picture).all() and min(picture.shape) > 0.6 * PIXELS for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 12


def test_training_and_judging_name_a_view_alike() -> None:
    logits = torch.randn(200, len(CLASSES), generator=torch.Generator().manual_seed(0))
    found = [_verdict(row.softmax(0).tolist(), [1, 0, 0, 0], 0.0, 1.0).view for row in logits]
    assert found == [CLASSES[place] for place in named_view(logits)]
    split = torch.tensor([[1.0, 0.9, 1.2, -5, -5]])  # PA and AP together are likelier than LL, neither alone is
    assert named_view(split).item() == 0 and int(split.argmax()) == 2


def test_the_loss_falls_with_what_is_right_and_asks_less_of_pa_or_ap() -> None:
    views, turns, negative = torch.tensor([0, 1, 1]), torch.tensor([0, 1, 3]), torch.tensor([0.0, 1.0, 0.0])

    def loss(named: list[int]) -> float:
        by_view = torch.nn.functional.one_hot(torch.tensor(named), 5) * 8.0
        by_turn, by_sign = torch.nn.functional.one_hot(turns, 4) * 8.0, (2 * negative - 1) * 8
        return float(loss_of((by_view, by_turn, by_sign), (views, turns, negative)))

    right, other_frontal, lateral = loss([0, 1, 1]), loss([1, 1, 1]), loss([3, 1, 1])
    assert right < other_frontal < lateral


def test_zoom_moves_a_spot_by_little() -> None:
    spot = torch.full((40, 1, SIDE, SIDE), -1.0)
    spot[:, :, 46:50, 46:50] = 1
    moved = zoom(spot, np.random.default_rng(0))
    places = torch.stack([(picture > 0).nonzero().float().mean(0) for picture in moved[:, 0]])
    assert (places - 47.5).abs().max() < 9 and places.std(0).min() > 1
