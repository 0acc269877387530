"""What is recognised of the sample CT's renderings: frontals are fine, their negatives are turned, the rest is told."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from benchmarks.suitability import FRONTAL, ORBITS, Images, called, confusion, renderings, spoiled
from drr import sample_ct
from radiographs.suitability import assess


@pytest.fixture(scope="module")
def images() -> Images:
    return renderings(sample_ct(), looks=2, seed=5)  # other looks than those on which limits were looked at


def test_frontals_are_fine_and_their_negatives_are_turned(images: Images) -> None:
    frontal = [pixels for group, pixels in images if group in FRONTAL]
    assert len(frontal) == 12
    assert Counter(called(assess(pixels)) for pixels in frontal) == {"fine": 12}
    assert Counter(called(assess(-pixels)) for pixels in frontal) == {"turned": 12}


def test_no_positive_is_turned_whatever_happened_to_it(images: Images) -> None:
    frontal = [pixels for group, pixels in images if group in FRONTAL]
    table = confusion([*images, *spoiled(frontal[::3])])
    assert not sum(count["turned"] + count["maybe negative"] for count in table.values())
    for group in ("hard: both lungs hazy", "hard: lungs alone", "hard: white frame", "hard: off centre", "hard: dark"):
        assert table[group] == {"fine": 4}


def test_laterals_and_slices_are_told(images: Images) -> None:
    table = confusion(images)
    laterals = table["LL"] + table["RL"]
    assert laterals["lateral"] >= 10 and laterals.total() == 12
    assert table["axial slice"]["slice"] >= 16 and table["axial slice"].total() == 24
    assert all(table[group]["fine"] == 6 for group, degrees in ORBITS.items() if degrees <= 20)
    turned = Counter(called(assess(np.rot90(pixels).copy())) for group, pixels in images if group == "PA")
    assert turned["on its side"] >= 5 and turned.total() == 6
