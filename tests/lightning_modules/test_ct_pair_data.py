"""Pairs drawn on the fly from the sample CT."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_modules.ct_pair_data import CTPairDataModule, Projections, base_body, cast_body, nodule_weights

SMALL = Projections(poses=2, pixels=96, views=("PA", "LL"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Three bodies in two poses, cast in this process."""
    cache = tmp_path_factory.mktemp("cache")
    folder = SMALL.folder(cache)
    folder.mkdir()
    for body in range(3):
        cast_body((SMALL, folder, body))
    return cache


def module(cache, **options):
    options = {"bodies": 3, "validation_bodies": 1, "image_size": 64, "batch_size": 2, "epoch_size": 4, **options}
    made = CTPairDataModule(SMALL, cache=str(cache), validation_size=2, **options)
    made.prepare_data()  # finds everything there
    return made


def test_soft_is_the_radiograph_without_bone(cache):
    for batch in module(cache).train_dataloader():
        radiograph, soft = batch["radiograph"], batch["soft"]
        assert radiograph.shape == soft.shape == (2, 1, 64, 64) and radiograph.dtype == torch.float32
        assert radiograph.abs().max() <= 1 and soft.abs().max() <= 1
        assert (radiograph - soft).mean() > 0.01  # bones are bright
        assert len(set(batch["name"])) == 2


def test_pairs_depend_on_seed_epoch_and_index_alone(cache):
    data, again = (module(cache).train_dataloader().dataset for _ in range(2))
    first = data[0, 1]
    data[3, 0]
    assert torch.equal(first["radiograph"], data[0, 1]["radiograph"])
    assert torch.equal(first["radiograph"], again[0, 1]["radiograph"])
    assert not torch.equal(first["radiograph"], data[1, 1]["radiograph"])
    assert not torch.equal(first["radiograph"], module(cache, seed=7).train_dataloader().dataset[0, 1]["radiograph"])


def test_validation_is_always_the_same_and_of_other_bodies(cache):
    made = module(cache)
    training = {name.split("_")[0] for batch in made.train_dataloader() for name in batch["name"]}
    one, two = (list(made.val_dataloader()) for _ in range(2))
    assert {name.split("_")[0] for batch in one for name in batch["name"]} == {"00002"}
    assert "00002" not in training
    assert torch.equal(one[0]["soft"], two[0]["soft"])


def test_a_twin_is_the_same_radiograph_without_its_nodules(cache):
    data, plain = (module(cache, twins=t, epoch_size=12).train_dataloader().dataset for t in (True, False))
    found = 0
    for index in range(12):
        pair = data[0, index]
        assert torch.equal(pair["radiograph"], plain[0, index]["radiograph"])  # the twin draws nothing of its own
        added, weights = pair["radiograph"] - pair["without_nodules"], pair["nodules"]
        if weights.any():
            found += 1
            assert (weights * added).sum() > 0
            assert added[weights > 0].abs().mean() > 5 * added[weights == 0].abs().mean()
        else:
            assert added.abs().max() == 0
    assert 6 <= found <= 12
    assert "nodules" not in plain[0, 0]


def test_each_nodule_weighs_the_same():
    nodules = np.zeros((40, 40), np.float32)
    nodules[3:6, 3:6], nodules[20:30, 20:30] = 0.5, 2.0
    weights = nodule_weights(nodules)
    assert weights[:10].sum() == pytest.approx(1) and weights[10:].sum() == pytest.approx(1)
    assert nodule_weights(0 * nodules).max() == 0


def test_a_body_is_cast_again_where_it_is_missing(cache):
    path = SMALL.folder(cache) / "00002.npy"
    before = np.load(path)
    path.unlink()
    module(cache, workers=1)
    assert np.array_equal(np.load(path), before)


def test_contrast_medium_is_gone_and_the_body_is_continued():
    body = base_body(SMALL)
    assert body.bone is not None and body.hu[body.bone == 0].max() <= 150
    assert (body.hu[0] == body.hu[10]).all() and (body.hu[-1] == body.hu[-10]).all()


def test_several_cts_take_turns(cache):
    made = CTPairDataModule(
        [SMALL, SMALL], bodies=3, validation_bodies=1, cache=str(cache), image_size=64, batch_size=2, epoch_size=6
    )
    assert len(made.train_dataloader().dataset) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation_bodies": 3}, "give 0 < validation < bodies"),
        ({"image_size": 0}, "image_size is 0"),
        ({"field": (0.5, 1.5)}, "field"),
    ],
)
def test_bad_options_are_told(cache, options, message):
    with pytest.raises(ValueError, match=message):
        module(cache, **options)
