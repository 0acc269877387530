"""Lobes and heart by place, against the sample CT's own label map."""

from __future__ import annotations

import numpy as np
import pytest

from drr import Volume, isolate_body, sample_ct
from drr.anatomy.regions import STRUCTURES, label_chest
from drr.findings.heart import cardiothoracic_ratio
from drr.findings.lung import LOBES
from drr.findings.pleura import add_pleural_effusion


@pytest.fixture(scope="module")
def both() -> tuple[Volume, Volume]:
    volume = isolate_body(sample_ct())
    return volume, label_chest(volume.replace(labels=None, structures=None))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_lobes_and_heart_lie_where_the_label_map_has_them(both):
    truth, found = both
    agreement = {name: dice(truth.mask(name), found.mask(name)) for name in STRUCTURES.values()}
    assert agreement["lung_middle_lobe_right"] > 0.7 and agreement["heart"] > 0.68
    assert min(value for name, value in agreement.items() if "upper" in name or "lower" in name) > 0.9
    assert cardiothoracic_ratio(found) == pytest.approx(cardiothoracic_ratio(truth), abs=0.06)
    assert set(np.unique(found.labels)) == {0, *STRUCTURES} and set(LOBES.values()) < set(STRUCTURES.values())


def test_findings_can_be_put_into_a_ct_without_a_label_map(both):
    _, found = both
    changed, finding = add_pleural_effusion(found, "left", 500.0)
    filled = np.argwhere(finding.mask)
    assert filled[:, 2].mean() > found.hu.shape[2] / 2  # x runs to the patient's left
    assert (changed.hu != found.hu).sum() > 10000


def test_a_ct_without_a_lung_is_refused():
    body = np.full((40, 40, 40), -1000, np.int16)
    body[:, 5:35, 5:35] = 40
    with pytest.raises(ValueError, match="no right lung is seen in it"):
        label_chest(Volume(body, np.diag([5.0, 5.0, 5.0, 1.0]), source="blank.nii.gz"))
