"""Where the lungs are."""

from __future__ import annotations

import numpy as np
import pytest

from drr import Volume, sample_ct
from drr.anatomy.chest import lung_box, lung_size, require_chest


def test_the_lungs_box_leaves_bowel_gas_out():
    hu = np.full((60, 50, 70), 40, np.int16)
    hu[:, :3] = hu[:, -3:] = hu[:, :, :3] = hu[:, :, -3:] = -1000
    hu[30:50, 15:35, 10:30] = hu[30:50, 15:35, 40:60] = -800
    hu[5:9, 20:24, 20:24] = -900
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = (-100, 20, 7)
    low, high = lung_box(Volume(hu, affine))
    assert low == pytest.approx((-100 + 40, 20 + 60, 7 + 120))
    assert high == pytest.approx((-100 + 236, 20 + 136, 7 + 196))


def test_the_lungs_box_of_the_sample_agrees_with_its_labels():
    ct = sample_ct()
    labels = ct.mask(*ct.names_where(lambda name: name.startswith("lung_")).values())
    inside = (np.array(np.nonzero(labels))[::-1] * ct.spacing[:, None] + ct.affine[:3, 3:]).T
    low, high = lung_box(ct)
    assert np.all((inside < low).mean(axis=0) < 0.01) and np.all((inside > high).mean(axis=0) < 0.01)
    assert np.all(low > inside.min(axis=0) - 4) and np.all(high < inside.max(axis=0) + 4)


def test_a_volume_without_lungs_has_no_box_of_them():
    with pytest.raises(ValueError, match="no lung is seen"):
        lung_box(Volume(np.zeros((20, 20, 20), np.int16), np.diag([4.0, 4.0, 4.0, 1.0])))


def test_a_spacing_ten_times_too_large_is_no_chest():
    ct = sample_ct()
    affine = ct.affine.copy()
    affine[:3, :3] *= 10
    with pytest.raises(ValueError, match=r"\d+ litres of lung, more than any chest.*spacing of \(25, 25, 25\) mm"):
        require_chest(ct.replace(affine=affine))


def test_lungs_of_a_tilted_grid_are_as_large():
    """Litres are voxels times their volume, which an oblique grid makes smaller."""
    ct = sample_ct()
    tilted = ct.affine.copy()
    tilted[:3, 1] = 2.5 * np.array([0, np.cos(0.4), -np.sin(0.4)])
    assert lung_size(ct.replace(affine=tilted))[0] == pytest.approx(np.cos(0.4) * lung_size(ct)[0], rel=1e-6)
