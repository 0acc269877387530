from __future__ import annotations

import json
import shutil

import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler

from diffusion import (
    BoneSuppressionPipeline,
    ThresholdedDDIMScheduler,
    ThresholdedDDPMScheduler,
    ThresholdedDPMSolverScheduler,
)


@pytest.fixture
def radiograph():
    return torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(5)) * 2 - 1


@pytest.mark.parametrize(
    "scheduler", [ThresholdedDDIMScheduler, ThresholdedDDPMScheduler, ThresholdedDPMSolverScheduler, DDPMScheduler]
)
def test_an_image_depends_on_its_own_seed_only(pipeline, radiograph, scheduler):
    pipeline.scheduler = scheduler(prediction_type="v_prediction")
    together = pipeline(radiograph, num_inference_steps=5, seeds=[7, 8, 9]).soft
    alone = pipeline(radiograph[1:2], num_inference_steps=5, seeds=[8]).soft
    torch.testing.assert_close(alone, together[1:2], atol=1e-5, rtol=0)
    other = pipeline(radiograph[1:2], num_inference_steps=5, seeds=[80]).soft
    assert (other - alone).abs().max() > 1e-2


def test_folder_round_trip_is_bitwise(pipeline, radiograph, tmp_path):
    pipeline.register_to_config(target="bone", residual_scale=3.5, latent="continuous")
    pipeline.vqgan.register_to_config(scaling_factor=1.75)
    pipeline.scheduler = ThresholdedDDIMScheduler(
        prediction_type="v_prediction", threshold_rate=0.01, threshold_start=2
    )
    before = pipeline(radiograph, num_inference_steps=4, seeds=[1, 2, 3]).soft
    pipeline.save_pretrained(tmp_path / "model")
    loaded = BoneSuppressionPipeline.from_pretrained(tmp_path / "model")
    loaded.set_progress_bar_config(disable=True)
    assert loaded.scheduler.config.threshold_rate == 0.01
    assert loaded.vqgan.config.scaling_factor == 1.75
    assert torch.equal(loaded(radiograph, num_inference_steps=4, seeds=[1, 2, 3]).soft, before)
    assert {p.suffix for p in (tmp_path / "model").rglob("*.*")} == {".json", ".safetensors", ".py"}


def test_bone_target_with_a_silent_network_returns_the_radiograph(pipeline, radiograph):
    torch.nn.init.zeros_(pipeline.unet.conv_out.weight)
    torch.nn.init.zeros_(pipeline.unet.conv_out.bias)
    pipeline.register_to_config(target="bone", latent="continuous")
    pipeline.scheduler = ThresholdedDDIMScheduler(prediction_type="sample")
    soft = pipeline(radiograph, num_inference_steps=3).soft
    torch.testing.assert_close(soft, radiograph, atol=1e-5, rtol=0)


def test_diffusers_own_scheduler_takes_over_the_config(pipeline, radiograph):
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    with pytest.raises(ValueError, match=r"DPMSolverMultistepScheduler has thresholding set.*thresholding=False"):
        pipeline(radiograph)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config, thresholding=False)
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert pipeline.scheduler.config.beta_schedule == "squaredcos_cap_v2"
    assert pipeline(radiograph, num_inference_steps=3).soft.isfinite().all()


def test_images_of_the_wrong_form_are_refused(pipeline, radiograph):
    with pytest.raises(ValueError, match=r"\(3, 3, 16, 16\).*one grey channel"):
        pipeline(radiograph.expand(3, 3, 16, 16))
    with pytest.raises(ValueError, match=r"18 x 16.*divisible by 4"):
        pipeline(torch.zeros(1, 1, 18, 16))
    with pytest.raises(ValueError, match=r"0 to 255; expected finite values in \[-1, 1\]"):
        pipeline(torch.tensor([0.0, 255.0]).repeat(8, 4)[None, None])
    with pytest.raises(ValueError, match="nan"):
        pipeline(torch.full((1, 1, 16, 16), float("nan")))
    with pytest.raises(ValueError, match="3 images arrived with 2 seeds"):
        pipeline(radiograph, seeds=[1, 2])
    with pytest.raises(ValueError, match="num_inference_steps is 0"):
        pipeline(radiograph, num_inference_steps=0)


def test_folders_of_another_kind_are_refused(pipeline, tmp_path):
    with pytest.raises(FileNotFoundError, match="is no folder"):
        BoneSuppressionPipeline.from_pretrained(tmp_path / "absent")
    pipeline.unet.save_pretrained(tmp_path / "unet")
    with pytest.raises(FileNotFoundError, match=r"no model_index\.json"):
        BoneSuppressionPipeline.from_pretrained(tmp_path / "unet")
    folder = tmp_path / "model"
    pipeline.save_pretrained(folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "StableDiffusionPipeline"}))
    with pytest.raises(ValueError, match="holds a StableDiffusionPipeline, not a BoneSuppressionPipeline"):
        BoneSuppressionPipeline.from_pretrained(folder)
    (folder / "model_index.json").write_text(json.dumps(index))
    next((folder / "unet").glob("*.safetensors")).unlink()
    with pytest.raises(FileNotFoundError, match="no safetensors weights"):
        BoneSuppressionPipeline.from_pretrained(folder)
    shutil.rmtree(folder / "vqgan")
    with pytest.raises(FileNotFoundError, match="lacks vqgan"):
        BoneSuppressionPipeline.from_pretrained(folder)


def test_unknown_options_are_refused(pipeline):
    parts = (pipeline.vqgan, pipeline.unet, pipeline.scheduler)
    with pytest.raises(ValueError, match="condition_scaling is 'dirty'"):
        BoneSuppressionPipeline(*parts, condition_scaling="dirty")
    with pytest.raises(ValueError, match="target is 'ribs'"):
        BoneSuppressionPipeline(*parts, target="ribs")
    with pytest.raises(ValueError, match=r"zero_snr.*v_prediction"):
        BoneSuppressionPipeline(*parts[:2], ThresholdedDDIMScheduler(rescale_betas_zero_snr=True))


def test_local_contrast_takes_away_what_the_latents_differ_by_and_leaves_all_else(pipeline):
    torch.manual_seed(0)
    radiograph = 0.1 * torch.rand(2, 1, 32, 32) - 0.05  # far from white and black, where the answer is clipped
    pipeline.scheduler = ThresholdedDDIMScheduler(prediction_type="sample")
    pipeline.register_to_config(target="bone", latent="continuous", contrast_sigma=4.0)
    taken = radiograph - pipeline(radiograph, num_inference_steps=2).soft
    other = 0.25 * radiograph - 0.1
    darker = other - pipeline(other, num_inference_steps=2).soft
    assert taken.abs().max() > 1e-3
    torch.testing.assert_close(darker, 0.25 * taken, atol=1e-4, rtol=1e-2)
    torch.nn.init.zeros_(pipeline.unet.conv_out.weight)
    torch.nn.init.zeros_(pipeline.unet.conv_out.bias)
    torch.testing.assert_close(pipeline(radiograph, num_inference_steps=2).soft, radiograph, atol=1e-6, rtol=0)
    assert not pipeline.takes_lungs  # so that `suppress --lungs` refuses it before its batch
    with pytest.raises(ValueError, match=r"local contrast.*no second path"):
        pipeline(radiograph, lungs=torch.ones(2, 1, 32, 32, dtype=torch.bool))


def test_a_folder_from_before_local_contrast_opens_as_it_was(pipeline, radiograph, tmp_path):
    before = pipeline(radiograph, num_inference_steps=2).soft
    pipeline.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    del index["contrast_sigma"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    loaded = BoneSuppressionPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert torch.equal(loaded(radiograph, num_inference_steps=2).soft, before)
