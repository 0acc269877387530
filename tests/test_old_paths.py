"""Folders and configs from before the sub-packages name classes by their old paths, and load as they are."""

from __future__ import annotations

import json
from importlib import import_module

import pytest
import torch
from jsonargparse import ArgumentParser
from lightning import LightningDataModule

from diffusion import BoneSuppressionPipeline, MultiheadUNet, PixelSpace, ThresholdedDDIMScheduler

OLD = {
    "diffusion.bone_unet": "BoneUNet",
    "diffusion.bridge": "BrownianBridgeScheduler",
    "diffusion.conditioning": "Conditioner",
    "diffusion.dit": "LatentDiT",
    "diffusion.multihead": "MultiheadUNet",
    "diffusion.pipeline": "BoneSuppressionPipeline",
    "diffusion.pixels": "PixelSpace",
    "diffusion.regression": "BoneRegressionPipeline",
    "diffusion.schedulers": "ThresholdedDDIMScheduler",
    "diffusion.text": "TextEncoder",
    "drr.ct_rate": "read_reports",
    "lightning_modules.callbacks": "FolderExport",
    "lightning_modules.ct_pair_data": "CTPairDataModule",
    "lightning_modules.enhancer_module": "EnhancerModule",
    "lightning_modules.latent_diffusion_module": "LatentDiffusionModule",
    "lightning_modules.pair_data": "PairDataModule",
    "lightning_modules.regression_module": "RegressionModule",
    "lightning_modules.report_data": "ReportDataModule",
    "lightning_modules.synthesis_module": "SynthesisModule",
    "lightning_modules.vqgan_module": "VQGANModule",
    "vqgan.model": "VQGAN",
}


@pytest.mark.parametrize("path", OLD)
def test_an_old_path_leads_to_the_class(path):
    old = getattr(import_module(path), OLD[path])
    assert getattr(import_module(old.__module__), OLD[path]) is old


def test_a_folder_written_before_the_move_loads(tmp_path):
    size = {"in_channels": 2, "out_channels": 1, "sample_size": 16, "block_out_channels": (32, 32)}
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    unet = MultiheadUNet(**size, **blocks, layers_per_block=1, heads=(1, 1))
    saved = BoneSuppressionPipeline(PixelSpace(), unet, ThresholdedDDIMScheduler(), num_inference_steps=1)
    saved.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    index |= {
        "vqgan": ["diffusion.pixels", "PixelSpace"],
        "unet": ["diffusion.multihead", "MultiheadUNet"],
        "scheduler": ["diffusion.schedulers", "ThresholdedDDIMScheduler"],
    }
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    loaded = BoneSuppressionPipeline.from_pretrained(tmp_path)
    assert type(loaded.unet) is MultiheadUNet and type(loaded.scheduler) is ThresholdedDDIMScheduler
    for name, tensor in unet.state_dict().items():
        assert torch.equal(loaded.unet.state_dict()[name], tensor)


def test_a_config_written_before_the_move_is_read(tmp_path):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    text = f"data:\n  class_path: lightning_modules.pair_data.PairDataModule\n  init_args:\n    root: {tmp_path}\n"
    data = parser.instantiate_classes(parser.parse_string(text)).data
    assert type(data).__name__ == "PairDataModule" and type(data).__module__ == "lightning_modules.data.pairs"
