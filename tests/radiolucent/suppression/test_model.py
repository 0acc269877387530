"""Which model `radiolucent suppress` takes, its tiles, lungs and steps, and its memory for a large radiograph."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from PIL import Image

from diffusion import BoneSuppressionPipeline, ThresholdedDDIMScheduler, build_unet
from diffusion.pipelines.regression import BoneRegressionPipeline
from radiographs import read_radiograph, write_radiograph
from radiolucent.cli import dispatch
from radiolucent.suppression import model as suppress_model
from radiolucent.suppression.model import load_pipeline, model_folder, model_sizes, packaged_model, predict_square
from vqgan import VQGAN

SIZE = 32
NETWORK = {"base_channels": 32, "multipliers": (1, 2), "residual_blocks": 1, "attention_levels": ()}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `diffusion` and `regression` of untrained models."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    unet = build_unet(**NETWORK, mid_attention=False, sample_size=SIZE // 2)
    vqgan = VQGAN(channels=32, channel_multipliers=(1, 2), residual_blocks=1, resolution=SIZE)
    scheduler = ThresholdedDDIMScheduler(prediction_type="sample")
    BoneSuppressionPipeline(vqgan, unet, scheduler, num_inference_steps=3).save_pretrained(folder / "diffusion")
    unet = build_unet(condition_channels=0, **NETWORK, mid_attention=False)
    BoneRegressionPipeline(unet, patch=2, trained_size=SIZE).save_pretrained(folder / "regression")
    return folder


@pytest.fixture
def image(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).uniform(-1, 1, (64, 64)).astype(np.float32)
    write_radiograph(tmp_path / "in" / "a.png", cv2.GaussianBlur(noise, (0, 0), 3) * 3, 16)
    return tmp_path / "in" / "a.png"


def suppress(image: Path, out: Path, *words: str) -> np.ndarray:
    """The result's grey values in [-1, 1]."""
    assert dispatch(["suppress", str(image), "--out", str(out), *words]) == 0
    return read_radiograph(out / image.name).pixels


def description(path: Path) -> str:
    return Image.open(path).text["Description"]  # type: ignore[attr-defined]


def test_without_a_checkpoint_the_packaged_model_is_taken(models, image, tmp_path, monkeypatch):
    package = tmp_path / "package"
    package.mkdir()
    monkeypatch.setattr(suppress_model.importlib.resources, "files", lambda name: package)
    with pytest.raises(FileNotFoundError, match=r"no model came with this installation.*--checkpoint FOLDER"):
        suppress(image, tmp_path / "out")
    (package / "model").symlink_to(models / "regression")
    packaged = suppress(image, tmp_path / "out", "--compose", "direct")
    named = suppress(image, tmp_path / "named", "--compose", "direct", "--checkpoint", str(models / "regression"))
    np.testing.assert_array_equal(packaged, named)


def test_the_package_folder_is_looked_up():
    folder = Path(suppress_model.__file__).parents[1] / "model"
    if (folder / "model_index.json").is_file():
        assert Path(packaged_model()) == folder
    else:
        with pytest.raises(FileNotFoundError, match="no model came"):
            packaged_model()


def test_a_name_that_is_a_folder_too_is_not_guessed(models, image, tmp_path, monkeypatch):
    monkeypatch.chdir(models)  # with folders called diffusion and regression
    for name in ("diffusion", "regression"):
        with pytest.raises(ValueError, match=rf"{name} is a packaged model and a folder here: write \./{name}"):
            model_folder(name)
        assert model_folder(f"./{name}") == f"./{name}" and model_folder(models / name) == str(models / name)
    monkeypatch.chdir(tmp_path)
    assert model_folder("diffusion") == packaged_model("diffusion")


def test_steps_follow_the_model(models, image, tmp_path):
    checkpoint = ("--checkpoint", str(models / "diffusion"))
    ours = suppress(image, tmp_path / "default", *checkpoint)
    assert "3 steps" in description(tmp_path / "default" / "a.png")
    np.testing.assert_array_equal(suppress(image, tmp_path / "3", *checkpoint, "--steps", "3"), ours)
    assert np.abs(suppress(image, tmp_path / "2", *checkpoint, "--steps", "2") - ours).max() > 1e-3
    settings = json.loads((tmp_path / "default" / "manifest.jsonl").read_text().splitlines()[0])["settings"]
    assert (settings["steps"], settings["size"], settings["tile"]) == (3, SIZE, SIZE)


def test_a_regression_is_told_by_its_index_and_has_no_steps_samples_or_lungs(models, image, tmp_path):
    checkpoint = ("--checkpoint", str(models / "regression"))
    result = suppress(image, tmp_path / "out", *checkpoint, "--compose", "direct", "--size", "64", "--tile", "64")
    pipeline = load_pipeline(str(models / "regression"), "cpu")
    assert isinstance(pipeline, BoneRegressionPipeline)
    seen = torch.from_numpy(read_radiograph(image).pixels)[None, None]
    np.testing.assert_allclose(result, pipeline(seen).soft[0, 0].numpy(), atol=1e-4)
    assert description(tmp_path / "out" / "a.png").endswith("(direct, regression, strength 1.00)")
    for words, message in ((("--lungs", "auto"), "no second path"),):
        with pytest.raises(ValueError, match=message):
            suppress(image, tmp_path / "out", *checkpoint, *words)


@pytest.mark.parametrize("kind", ["diffusion", "regression"])
def test_a_size_above_the_trained_one_is_worked_in_tiles(kind, models, image, tmp_path):
    words = ("--checkpoint", str(models / kind), "--compose", "direct", "--size", "64")
    tiled = suppress(image, tmp_path / "tiled", *words)
    np.testing.assert_array_equal(suppress(image, tmp_path / "32", *words, "--tile", "32"), tiled)
    whole = suppress(image, tmp_path / "whole", *words, "--tile", "64")
    assert np.abs(whole - tiled).max() > 1e-3
    pipeline, seen = load_pipeline(str(models / kind), "cpu"), read_radiograph(image).pixels
    np.testing.assert_allclose(predict_square(pipeline, seen, 0, lungs=None, steps=3, tile=32), tiled, atol=1e-4)
    with pytest.raises(ValueError, match="--tile 33: this model needs a multiple of 4"):
        suppress(image, tmp_path / "33", *words, "--tile", "33")


class Pixelwise(ModelMixin, ConfigMixin):
    """A regression's network that looks at one latent pixel at a time: the same in tiles and whole."""

    size_multiple = 2

    @register_to_config
    def __init__(self, in_channels: int = 4, out_channels: int = 4) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(4, 4, 1)

    def forward(self, inputs, timestep, return_dict=True):
        answer = torch.tanh(self.layer(inputs))
        return UNet2DOutput(sample=answer) if return_dict else (answer,)


def test_a_regressions_tiles_share_the_whole_images_statistics():
    torch.manual_seed(0)
    pipeline = BoneRegressionPipeline(Pixelwise(), patch=2, trained_size=16)
    radiograph = np.linspace(-1, 1, 48 * 48, dtype=np.float32).reshape(48, 48)  # tiles of very different means
    whole = predict_square(pipeline, radiograph, 0, lungs=None, steps=None, tile=48)
    tiles = predict_square(pipeline, radiograph, 0, lungs=None, steps=None, tile=16)
    np.testing.assert_allclose(tiles, whole, atol=1e-5)


def test_sizes_of_a_model_that_does_not_know_its_own():
    pipeline = SimpleNamespace(trained_size=None, size_multiple=4)
    assert model_sizes(pipeline, 64, None) == (64, 64)
    assert model_sizes(pipeline, 64, 32) == (64, 32)
    with pytest.raises(ValueError, match="give --size"):
        model_sizes(pipeline, None, None)
    pipeline.trained_size = 32
    assert model_sizes(pipeline, None, None) == (32, 32)
    assert model_sizes(pipeline, 96, None) == (96, 32)


def test_lungs_from_a_folder(models, image, tmp_path):
    mask = np.full((64, 64), -1, np.float32)
    mask[16:48, 8:28] = mask[16:48, 36:56] = 1
    write_radiograph(tmp_path / "masks" / "a.png", mask, 8)
    words = ("--checkpoint", str(models / "diffusion"), "--compose", "direct", "--size", "64")
    plain = suppress(image, tmp_path / "plain", *words)
    fused = suppress(image, tmp_path / "fused", *words, "--lungs", str(tmp_path / "masks"))
    changed = np.abs(fused - plain)
    assert changed[20:44, 12:24].mean() > 0.003
    changed[16:48, 8:56] = 0
    assert changed.max() == 0  # nothing outside the lungs' bounding box
    write_radiograph(image.parent / "b.png", mask, 16)
    with pytest.raises(ValueError, match="b: no mask"):
        suppress(image.parent, tmp_path / "both", *words, "--lungs", str(tmp_path / "masks"))
    write_radiograph(tmp_path / "masks" / "b.png", mask[:32], 8)
    write_radiograph(image.parent / "c.png", mask, 16)
    write_radiograph(tmp_path / "masks" / "c.png", np.full((64, 64), -1, np.float32), 8)
    out = tmp_path / "three"
    assert dispatch(["suppress", str(image.parent), "--out", str(out), *words, "--lungs", str(tmp_path / "masks")]) == 1
    np.testing.assert_array_equal(read_radiograph(out / "a.png").pixels, fused)
    with open(out / "errors.csv", newline="") as file:
        reasons = {Path(row["input"]).name: row["reason"] for row in csv.DictReader(file)}
    assert "32 x 64 pixels, the radiograph 64 x 64" in reasons["b.png"] and "mask is empty" in reasons["c.png"]


def test_lungs_found_by_themselves(models, tmp_path):
    y, x = np.mgrid[0:128, 0:128]
    chest = np.where(((y - 64) / 60) ** 2 + ((x - 64) / 62) ** 2 < 1, 0.6, -0.9).astype(np.float32)
    for column in (38, 90):
        chest[((y - 64) / 34) ** 2 + ((x - column) / 18) ** 2 < 1] = -0.5
    write_radiograph(tmp_path / "chest.png", chest, 16)
    words = ("--checkpoint", str(models / "diffusion"), "--compose", "direct")
    plain = suppress(tmp_path / "chest.png", tmp_path / "plain", *words)
    fused = suppress(tmp_path / "chest.png", tmp_path / "fused", *words, "--lungs", "auto")
    changed = np.abs(fused - plain)
    assert changed[50:78, 30:46].mean() > 5e-4 and changed[:20].max() == 0


def test_a_radiograph_of_30_megapixels_takes_less_than_4_gb(models, tmp_path):
    rows, columns = np.linspace(0, 32767, 6000)[:, None], np.linspace(0, 32767, 5000)
    cv2.imwrite(str(tmp_path / "large.png"), (rows + columns).astype(np.uint16), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    words = ["suppress", str(tmp_path / "large.png"), "--checkpoint", str(models / "diffusion"), "--steps", "1"]
    words += ["--out", str(tmp_path / "out"), "--strip"]
    script = "import resource, sys; from radiolucent.cli import dispatch; status = dispatch(sys.argv[1:]); "
    script += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(status)"
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) * 1024 < 4e9  # Linux counts in KiB
    result = cv2.imread(str(tmp_path / "out" / "large.png"), cv2.IMREAD_UNCHANGED)
    assert result.shape == (6000, 5000) and result.dtype == np.uint16
