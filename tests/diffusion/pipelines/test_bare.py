"""A regression opened without diffusers answers as its pipeline does; what is unusual is left to the pipeline."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusion.networks.bone_unet import BoneUNet
from diffusion.networks.site_unet import SiteUNet
from diffusion.pipelines.bare import open_bare
from diffusion.pipelines.contract import SuppressionModel
from diffusion.pipelines.loading import load_suppression_model
from diffusion.pipelines.regression import BoneRegressionPipeline

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def networks() -> tuple[BoneUNet, SiteUNet]:
    torch.manual_seed(0)
    unet, site = BoneUNet((8, 16), sigma=8.0), SiteUNet((8, 16), size=32, widths=(8.0, 32.0))
    for weights in (unet.last.weight, site.last.weight, site.weights, site.frame_weights):
        torch.nn.init.normal_(weights, 0, 0.1)
    return unet, site


@pytest.fixture
def folder(tmp_path):
    BoneRegressionPipeline(networks()[0], 2, 64, flips=True, detail_size=128).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("with_site", [False, True])
def test_it_answers_as_the_pipeline_does(tmp_path, with_site, half):
    unet, site = networks()
    law = {"gain": 1.0, "offset": 0.1, "bounds": [0.5, 1.5]}
    saved = BoneRegressionPipeline(unet, 2, 64, True, 128, law, site if with_site else None)
    (saved.to(torch.float16) if half else saved).save_pretrained(tmp_path)
    bare, pipeline = open_bare(tmp_path), load_suppression_model(tmp_path)
    assert bare is not None and isinstance(bare, SuppressionModel) and (bare.site is None) != with_site
    for name in ("trained_size", "size_multiple", "stochastic", "takes_lungs", "default_steps", "detail_size"):
        assert getattr(bare, name) == getattr(pipeline, name)
    for name in ("strength_law", "method", "device"):
        assert getattr(bare, name) == getattr(pipeline, name)
    image = torch.rand(2, 1, 64, 64) * 2 - 1
    for options in ({}, {"tile": 32}, {"seeds": [0, 3]}, {"flips": False}):
        assert torch.equal(bare(image, **options).soft, pipeline(image, **options).soft)
    assert torch.equal(
        bare.second_look(image, seeds=[0, 0], steps=None).soft,
        pipeline.second_look(image, seeds=[0, 0], steps=None).soft,
    )
    assert torch.equal(bare.bone(image), pipeline.bone(image))
    assert not torch.equal(bare(image).soft, image)


def test_it_cannot_be_adapted_and_says_why(folder):
    bare = open_bare(folder)
    assert bare is not None and "load_suppression_model" in str(bare.not_adaptable)
    with pytest.raises(ValueError, match="opened for its answers alone"):
        bare.adapted(None)


def test_what_is_unusual_is_left_to_the_pipeline(folder):
    def with_index(**changes):
        index = json.loads((folder / "model_index.json").read_text())
        (folder / "model_index.json").write_text(json.dumps(index | changes))
        found = open_bare(folder)
        (folder / "model_index.json").write_text(json.dumps(index))
        return found

    assert open_bare(folder) is not None
    assert with_index(_class_name="AnotherPipeline") is None
    assert with_index(unet=["diffusers", "UNet2DModel"]) is None
    assert with_index(of_a_later_version=1) is None
    assert with_index(site=["diffusion.networks.site_unet", "SiteUNet"]) is None
    config = json.loads((folder / "unet/config.json").read_text())
    for changed in (config | {"depth": 3}, config | {"channels": [8, 24]}, config | {"channels": None}):
        (folder / "unet/config.json").write_text(json.dumps(changed))
        assert open_bare(folder) is None
    (folder / "unet/config.json").write_text(json.dumps(config))
    weights = load_file(folder / WEIGHTS)
    for changed in ({name: w.double() for name, w in weights.items()}, {**weights, "more": torch.zeros(1)}):
        save_file(changed, folder / WEIGHTS)
        assert open_bare(folder) is None
    (folder / WEIGHTS).write_bytes(b"no tensors")
    assert open_bare(folder) is None
    (folder / WEIGHTS).unlink()
    assert open_bare(folder) is None
    assert open_bare(folder / "unet") is None


def test_weights_that_are_no_numbers_are_refused(folder):
    weights = load_file(folder / WEIGHTS)
    weights["first.weight"][0] = float("nan")
    save_file(weights, folder / WEIGHTS)
    with pytest.raises(ValueError, match=r"not finite numbers, such as unet\.first\.weight"):
        open_bare(folder)
