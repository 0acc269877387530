"""Radiographs that the network sees in one call, or in another precision, come out as alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffusion.networks.bone_unet import BoneUNet
from diffusion.pipelines.regression import BoneRegressionPipeline
from radiographs import read_radiograph, to_levels, write_radiograph
from radiolucent import Suppressor
from radiolucent.cli import dispatch
from radiolucent.suppression.file_work import SuppressFiles
from radiolucent.suppression.together import suppress_together

SHAPES = ((96, 80), (200, 150), (64, 64), (130, 140))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    network = BoneUNet((8, 16), sigma=8.0)
    torch.nn.init.normal_(network.last.weight, 0, 0.1)
    folder = tmp_path_factory.mktemp("model")
    BoneRegressionPipeline(network, 2, 64, flips=True, detail_size=128).save_pretrained(folder)
    return folder


@pytest.fixture
def images():
    chance = np.random.default_rng(0)
    return [chance.uniform(-0.9, 0.9, shape).astype(np.float32) for shape in SHAPES]


@pytest.mark.parametrize("options", [{}, {"compose": "direct"}, {"samples": 2, "seed": 3}, {"size": 128, "tile": 64}])
def test_together_is_as_alone(model, images, options):
    suppressor = Suppressor(model, **options)
    found = suppress_together(suppressor, images, [None] * len(images))
    for pixels, mine in zip(images, found):
        alone = suppressor.suppress(pixels)
        np.testing.assert_allclose(mine.soft, alone.soft, atol=1e-5)
        for bits in (8, 16):  # rounding puts a pixel in a thousand on the other side of a level's edge
            apart = np.abs(to_levels(mine.soft, bits).astype(int) - to_levels(alone.soft, bits))
            assert apart.max() <= 1 and (bits == 16 or apart.mean() < 1e-3)
        assert (mine.uncertainty is None) == (alone.uncertainty is None) and mine.strength == alone.strength
        assert np.abs(alone.bone).max() > 0.01


def test_the_command_in_batches_writes_the_same(model, images, tmp_path):
    for number, pixels in enumerate(images):
        write_radiograph(tmp_path / "in" / f"{number}.png", pixels, 8 if number % 2 else 16)
    command = ["suppress", str(tmp_path / "in"), "--checkpoint", str(model), "--out"]
    assert dispatch([*command, str(tmp_path / "one")]) == 0
    assert dispatch([*command, str(tmp_path / "three"), "--batch", "3"]) == 0
    plain = SuppressFiles(str(tmp_path / "plain"), (("model", str(model)),), False, False, "auto")
    for number in range(len(images)):
        name = f"{number}.png"
        assert plain((str(tmp_path / "in" / name), name, None))["outputs"] == [name]
        alone = (tmp_path / "one" / name).read_bytes()
        assert (tmp_path / "plain" / name).read_bytes() == alone
        one, three = (read_radiograph(tmp_path / folder / name) for folder in ("one", "three"))
        assert np.abs(one.pixels - three.pixels).max() <= 2.1 / (255 if number % 2 else 65535)
    with pytest.raises(ValueError, match="other options"):  # a batch's size is a setting
        dispatch([*command, str(tmp_path / "three")])
    with pytest.raises(ValueError, match="--batch 0: it must be 1 or more"):
        dispatch([*command, str(tmp_path / "zero"), "--batch", "0"])


def test_bfloat16_changes_a_thousandth(sample_radiograph):
    exact, half = Suppressor(), Suppressor(precision="bfloat16")
    pixels = read_radiograph(sample_radiograph).pixels
    wanted, found = exact.suppress(pixels), half.suppress(pixels)
    assert 0 < np.abs(wanted.soft - found.soft).max() / 2 < 1e-3  # of the grey range
    assert np.abs(wanted.bone).max() > 0.05
    assert half.pipeline.unet.first.weight.dtype == torch.float32


def test_a_precision_that_is_none_or_not_the_models_is_refused(checkpoint, model):
    with pytest.raises(ValueError, match="precision 'half': give one of float32, bfloat16"):
        Suppressor(model, precision="half")
    with pytest.raises(ValueError, match="answers in float32 alone"):
        Suppressor(checkpoint, precision="bfloat16")
