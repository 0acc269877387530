"""A body's layers, cast apart."""

from __future__ import annotations

import numpy as np
import pytest

from drr import ConeBeam, Volume, isolate_body, project, sample_ct, separate_bone
from drr.anatomy.chest import lung_box
from drr.pairs.layers import (
    BONES,
    GIRDLE,
    LAYERS,
    LUNG,
    RIBS,
    SOFT,
    SPINE,
    STERNUM,
    bone_layers,
    cast_layers,
    training_body,
)


@pytest.fixture(scope="module")
def body() -> Volume:
    return training_body(sample_ct())


@pytest.fixture(scope="module")
def beam(body: Volume) -> ConeBeam:
    return ConeBeam.preset("PA", body, (96, 96), 400.0, centre=np.mean(lung_box(body), axis=0))


def test_layers_add_up_to_what_is_cast_at_once(body, beam):
    layers = cast_layers(body, [beam])[0].astype(np.float32)
    assert layers.shape == (len(LAYERS), 96, 96)
    soft, bone = project(body, [beam], ("soft", "bone"), "cpu")[0].numpy()
    shown = layers[SOFT] > 0  # rays cut short are left out
    assert shown.mean() > 0.4
    np.testing.assert_allclose(layers[SOFT][shown], soft[shown], atol=6e-3)  # float16
    together = sum(layers[layer] for layer in BONES)
    np.testing.assert_allclose(together[shown], bone[shown], atol=2e-2)
    assert not layers[:, ~shown].any()


def test_rays_that_leave_the_scan_are_not_shown(body):
    """Tipped by 15 degrees, rays near the scan's ends pass a part of the body that was never scanned."""
    centre = np.mean(lung_box(body), axis=0)
    straight = ConeBeam.preset("PA", body, (96, 96), 500.0, centre=centre)
    shown = [(cast_layers(body, [beam])[0, SOFT] > 0).sum() for beam in (straight, straight.orbit(15, axis=(1, 0, 0)))]
    assert 0.5 * shown[0] < shown[1] < 0.95 * shown[0]


def test_lungs_are_where_the_path_through_air_is_long(body, beam):
    lung = cast_layers(body, [beam])[0, LUNG].astype(np.float32)
    assert 0.15 < (lung > 0.3).mean() < 0.6
    assert lung.max() == pytest.approx(0.0206 * 200, rel=0.4)  # 20 cm from front to back


def test_layers_follow_the_label_map(body):
    ct = sample_ct()
    labels = ct.labels
    assert labels is not None and body.labels is not None and ct.structures is not None
    for start, layer in (("rib_left_5", RIBS), ("vertebrae_T6", SPINE), ("scapula", GIRDLE), ("sternum", STERNUM)):
        numbers = [number for number, name in ct.structures.items() if name.startswith(start)]
        assert (body.labels[np.isin(labels, numbers)] == layer).all()


def test_without_a_label_map_layers_are_found_by_place(body):
    ct = sample_ct()
    plain = separate_bone(isolate_body(Volume(ct.hu, ct.affine)))
    by_place = bone_layers(plain)
    assert body.labels is not None and body.bone is not None
    core = body.bone == 2
    for layer, share in ((RIBS, 0.9), (SPINE, 0.75), (GIRDLE, 0.75), (STERNUM, 0.9)):
        here = core & (body.labels == layer)
        assert (by_place[here] == layer).mean() > share, LAYERS[layer]


def test_contrast_medium_is_gone(body):
    assert body.bone is not None and body.hu[body.bone == 0].max() <= 150


def test_no_lungs_are_refused():
    water = np.full((40, 40, 40), -1000, np.int16)
    water[5:35, 5:35, 5:35] = 0
    with pytest.raises(ValueError, match="no lung"):
        training_body(Volume(water, np.diag([4.0, 4.0, 4.0, 1.0])))
