"""Pairs drawn on the fly from the sample CT."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffusion.networks.local_contrast import to_local_pair
from drr.pairs.draw import PairOptions
from lightning_modules.data.ct_bodies import Projections, cast_body
from lightning_modules.data.ct_pairs import CTPairDataModule

SMALL = Projections(poses=2, pixels=96, views=("PA", "AP"))
COARSE = PairOptions(pixel_mm=(3.0, 4.0))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Three bodies in two poses, cast in this process."""
    cache = tmp_path_factory.mktemp("cache")
    SMALL.folder(cache).mkdir()
    for body in range(3):
        cast_body((SMALL, cache, body))
    return cache


def module(cache, **options):
    options = {"bodies": 3, "image_size": 64, "batch_size": 2, "epoch_size": 4, "pairs": COARSE, **options}
    made = CTPairDataModule(SMALL, cache=str(cache), validation_size=2, **options)
    made.prepare_data()  # finds everything there
    return made


def test_soft_is_the_radiograph_without_bone(cache):
    for batch in module(cache).train_dataloader():
        radiograph, soft = batch["radiograph"], batch["soft"]
        assert radiograph.shape == soft.shape == batch["lungs"].shape == (2, 1, 64, 64)
        assert radiograph.dtype == torch.float32 and batch["lungs"].dtype == torch.bool
        assert radiograph.abs().max() <= 1 and soft.abs().max() <= 1
        assert (radiograph - soft).abs().mean() > 0.005
        assert len(set(batch["name"])) == 2


def test_pairs_in_local_contrast_are_those_of_the_same_pictures(cache):
    plain, local = (module(cache, contrast_sigma=sigma).train_dataloader().dataset[0, 1] for sigma in (None, 8.0))
    seen, soft = to_local_pair(plain["radiograph"][None], plain["soft"][None], 8.0)
    assert torch.equal(local["radiograph"], seen[0]) and torch.equal(local["soft"], soft[0])
    assert not torch.equal(local["radiograph"], plain["radiograph"]) and torch.equal(local["lungs"], plain["lungs"])


def test_pairs_depend_on_seed_epoch_and_index_alone(cache):
    data, again = (module(cache).train_dataloader().dataset for _ in range(2))
    first = data[0, 1]
    data[3, 0]
    assert torch.equal(first["radiograph"], data[0, 1]["radiograph"])
    assert torch.equal(first["radiograph"], again[0, 1]["radiograph"])
    assert not torch.equal(first["radiograph"], data[1, 1]["radiograph"])
    assert not torch.equal(first["radiograph"], module(cache, seed=7).train_dataloader().dataset[0, 1]["radiograph"])


def test_validation_is_always_the_same_and_of_other_bodies(cache):
    made = module(cache, epoch_size=12)
    training = {name.split("_")[1] for batch in made.train_dataloader() for name in batch["name"]}
    one, two = (list(made.val_dataloader()) for _ in range(2))
    assert {name.split("_")[1] for batch in one for name in batch["name"]} == {"00002"}
    assert training == {"00000", "00001"}
    assert torch.equal(one[0]["soft"], two[0]["soft"])


def test_a_ct_held_out_is_validated_on_and_never_trained_on(cache):
    other = Projections(poses=2, pixels=96, views=("PA", "AP"), seed=5)
    other.folder(cache).mkdir(exist_ok=True)
    held = SMALL
    with pytest.raises(ValueError, match="take it out of projections"):
        module(cache, held_out=held)
    made = CTPairDataModule(
        [Projections(ct="a.nii.gz")], held_out=held, bodies=2, validation_bodies=3, cache=str(cache)
    )
    training, validation = (made._files(kind) for kind in (True, False))
    assert {path.parent for path, _ in validation} == {held.folder(cache)} and len(validation) == 3
    assert not {path.parent for path, _ in training} & {held.folder(cache)} and len(training) == 2


def test_a_body_is_cast_again_where_it_is_missing(cache):
    path = SMALL.file(cache, 2)
    before = np.load(path)
    path.unlink()
    module(cache, workers=1)
    assert np.array_equal(np.load(path), before)


def test_several_cts_are_all_drawn_from(cache):
    made = CTPairDataModule([SMALL, SMALL], bodies=3, cache=str(cache), image_size=64, batch_size=2, epoch_size=6)
    assert len(made._files(True)) == 4 and len(made.train_dataloader().dataset) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [({"validation_bodies": 3}, "give 0 < validation < bodies"), ({"image_size": 0}, "image_size is 0")],
)
def test_bad_options_are_refused(cache, options, message):
    with pytest.raises(ValueError, match=message):
        module(cache, **options)
