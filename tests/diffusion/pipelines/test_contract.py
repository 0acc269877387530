"""The contract of suppression models: what the base class does for a model of three lines."""

from __future__ import annotations

import pytest
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from diffusion import BoneSuppressionPipeline, SuppressionModel, SuppressionPipeline
from diffusion.networks.bone_unet import BoneUNet
from diffusion.pipelines.regression import BoneRegressionPipeline


class Ramp(ModelMixin, ConfigMixin):
    """Takes away what it sees, smoothed, times a half; wants images divisible by 4."""

    @register_to_config
    def __init__(self, share: float = 0.5) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(share))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.weight * torch.nn.functional.avg_pool2d(image, 3, 1, 1)


class Smooth(SuppressionPipeline):
    def __init__(self, network: Ramp, trained_size: int = 32) -> None:
        super().__init__()
        self.register_modules(network=network.eval())
        self.register_to_config(trained_size=trained_size)

    @property
    def size_multiple(self) -> int:
        return 4

    def predict(self, radiograph: torch.Tensor) -> torch.Tensor:
        return radiograph - self.network(radiograph)


@pytest.fixture
def image() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.nn.functional.interpolate(torch.rand(2, 1, 6, 6) * 1.4 - 0.7, 48, mode="bicubic").clamp(-1, 1)


def test_three_lines_make_a_model(image):
    model = Smooth(Ramp())
    assert isinstance(model, SuppressionModel)
    assert (model.trained_size, model.size_multiple, model.stochastic, model.default_steps) == (32, 4, False, None)
    assert (model.takes_lungs, model.detail_size, model.strength_law) == (False, None, None)
    assert not model.adaptable
    soft = model(image, tile=None, lungs=None, seeds=None, steps=None).soft
    torch.testing.assert_close(soft, image - 0.5 * torch.nn.functional.avg_pool2d(image, 3, 1, 1))
    torch.testing.assert_close(model.second_look(image, seeds=[0, 0], steps=None).soft, soft)


def test_ours_keep_the_contract(pipeline):
    regression = BoneRegressionPipeline(BoneUNet((8, 16), sigma=8.0), 2, 64, detail_size=128)
    assert isinstance(pipeline, SuppressionModel) and isinstance(regression, SuppressionModel)
    assert (pipeline.stochastic, pipeline.takes_lungs, pipeline.default_steps) == (True, True, 50)
    assert (regression.stochastic, regression.takes_lungs, regression.default_steps) == (False, False, None)
    assert (regression.detail_size, regression.trained_size) == (128, 64)
    assert not isinstance(object(), SuppressionModel)


def test_larger_images_are_seen_in_tiles(image):
    model = Smooth(Ramp())
    tiled, whole = model(image, tile=32).soft, model(image).soft
    torch.testing.assert_close(tiled[..., 1:-1, 1:-1], whole[..., 1:-1, 1:-1], atol=0.03, rtol=0)
    assert not torch.equal(tiled, whole)
    with pytest.raises(ValueError, match="must be a multiple of 4"):
        model(image, tile=30)


def test_seeds_change_a_certain_models_view_and_nothing_else(image):
    model = Smooth(Ramp())
    plain, one, again, two = (model(image, seeds=seeds).soft for seeds in ([0, 0], [1, 1], [1, 1], [2, 2]))
    assert torch.equal(one, again)
    for varied in (one, two):
        assert 1e-4 < (varied - plain).abs().mean() < 0.05
    mixed = model(image, seeds=[0, 2]).soft
    torch.testing.assert_close(mixed, torch.cat([plain[:1], two[1:]]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radiograph": torch.zeros(1, 3, 32, 32)}, r"\(1, 3, 32, 32\); expected a tensor \(B, 1, H, W\)"),
        ({"radiograph": torch.zeros(1, 1, 30, 32)}, "30 x 32 pixels; this model needs both divisible by 4"),
        ({"radiograph": torch.full((1, 1, 32, 32), float("nan"))}, "run from nan"),
        ({"radiograph": torch.full((1, 1, 32, 32), 255.0)}, "run from 255 to 255"),
        ({"seeds": [1, 2]}, "2 seeds for 1 radiographs"),
        ({"lungs": torch.ones(1, 1, 32, 32, dtype=torch.bool)}, "Smooth has no second path in the lungs"),
    ],
)
def test_bad_calls_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Smooth(Ramp())(**{"radiograph": torch.zeros(1, 1, 32, 32), **options})


def test_steps_have_one_name_at_a_time(pipeline):
    image = torch.zeros(1, 1, 16, 16)
    by_contract, by_diffusers = pipeline(image, steps=2).soft, pipeline(image, num_inference_steps=2).soft
    assert torch.equal(by_contract, by_diffusers)
    with pytest.raises(ValueError, match="steps is 2 and num_inference_steps 3"):
        pipeline(image, num_inference_steps=3, steps=2)


def test_weights_that_are_no_numbers_are_refused_in_any_model(tmp_path):
    model = Smooth(Ramp())
    with torch.no_grad():
        model.network.weight.fill_(float("nan"))
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"not finite numbers, such as network\.weight"):
        Smooth.from_pretrained(tmp_path)


def test_a_base_without_a_model_says_so():
    class Nothing(SuppressionPipeline):
        pass

    with pytest.raises(NotImplementedError, match="Nothing defines neither"):
        Nothing()(torch.zeros(1, 1, 8, 8))


def test_abstract_pipeline_types():
    assert issubclass(BoneSuppressionPipeline, SuppressionPipeline)
    assert issubclass(BoneRegressionPipeline, SuppressionPipeline)
