"""Saved folders: by our classes, by plain diffusers, by a name on the hub, and as an earlier version wrote them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusion import BoneSuppressionPipeline
from diffusion.folders import class_name, pipeline_folder, read_model_index
from diffusion.networks.bone_unet import BoneUNet
from diffusion.pipelines.loading import load_suppression_model
from diffusion.pipelines.regression import BoneRegressionPipeline

PACKAGED = Path(__file__).resolve().parents[3] / "radiolucent" / "model"
TOY = """
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from diffusion import SuppressionPipeline


class Network(ModelMixin, ConfigMixin):
    @register_to_config
    def __init__(self, channels: int = 4):
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, image):
        return self.layer(image)


class ToyPipeline(SuppressionPipeline):
    def __init__(self, network: Network, trained_size: int = 16):
        super().__init__()
        self.register_modules(network=network.eval())
        self.register_to_config(trained_size=trained_size)

    def predict(self, radiograph):
        return radiograph - self.network(radiograph)
"""


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(5)) * 2 - 1


@pytest.fixture
def regression() -> BoneRegressionPipeline:
    torch.manual_seed(0)
    return BoneRegressionPipeline(BoneUNet((8, 16), sigma=8.0), 2, 16, detail_size=32)


def open_plainly(folder: Path | str, **options):
    return diffusers.DiffusionPipeline.from_pretrained(str(folder), trust_remote_code=True, **options)


def test_plain_diffusers_opens_what_we_save(regression, image, tmp_path):
    regression.save_pretrained(tmp_path)
    opened = open_plainly(tmp_path)
    assert type(opened) is BoneRegressionPipeline and opened.detail_size == 32
    assert torch.equal(opened(image).soft, regression(image).soft)
    with pytest.raises(ValueError, match="trust_remote_code"):
        diffusers.DiffusionPipeline.from_pretrained(str(tmp_path))


def test_plain_diffusers_opens_a_latent_diffusion(image, tmp_path):
    from diffusion import ThresholdedDDIMScheduler, build_unet
    from vqgan import VQGAN

    torch.manual_seed(0)
    unet = build_unet(4, 4, 32, (1, 2), 1, (), mid_attention=False)
    vqgan = VQGAN(channels=32, channel_multipliers=(1, 2), residual_blocks=1, resolution=16)
    saved = BoneSuppressionPipeline(vqgan, unet, ThresholdedDDIMScheduler(prediction_type="sample"), trained_size=16)
    saved.save_pretrained(tmp_path)
    opened = open_plainly(tmp_path)
    assert type(opened) is BoneSuppressionPipeline and opened.trained_size == 16 and opened.enhancer is None
    torch.testing.assert_close(opened(image, steps=2).soft, saved(image, steps=2).soft, atol=1e-5, rtol=0)


def test_plain_diffusers_opens_the_packaged_model():
    opened = open_plainly(PACKAGED)
    ours = load_suppression_model(PACKAGED)
    image = torch.zeros(1, 1, 64, 64).index_fill(3, torch.arange(20, 30), 0.4)
    assert type(opened) is type(ours) is BoneRegressionPipeline
    assert torch.equal(opened(image).soft, ours(image).soft)


def test_a_saved_folder_can_be_saved_and_opened_again(regression, image, tmp_path):
    regression.save_pretrained(tmp_path / "one")
    BoneRegressionPipeline.from_pretrained(tmp_path / "one").save_pretrained(tmp_path / "two")
    assert (tmp_path / "one/model_index.json").read_text() == (tmp_path / "two/model_index.json").read_text()
    assert torch.equal(open_plainly(tmp_path / "two")(image).soft, regression(image).soft)


def test_a_folder_tells_nothing_of_where_its_parts_were_read_from(regression, tmp_path):
    regression.save_pretrained(tmp_path / "somewhere")
    type(regression).from_pretrained(tmp_path / "somewhere").save_pretrained(tmp_path / "again")
    texts = [path.read_text() for path in (tmp_path / "again").rglob("*.json")]
    assert len(texts) > 1 and not any("somewhere" in text or "_name_or_path" in text for text in texts)


def test_a_folder_of_version_0_1_opens(regression, image, tmp_path):
    """Its index names the class alone, and nothing lies beside it."""
    regression.save_pretrained(tmp_path)
    index = read_model_index(tmp_path / "model_index.json")
    old = {key: value for key, value in index.items() if key != "_pipeline_module"}
    old["unet"] = ["diffusion.bone_unet", "BoneUNet"]  # where it was defined
    (tmp_path / "model_index.json").write_text(json.dumps({**old, "_class_name": class_name(index)}))
    for path in tmp_path.glob("*.py"):
        path.unlink()
    for load in (BoneRegressionPipeline.from_pretrained, load_suppression_model):
        assert torch.equal(load(tmp_path)(image).soft, regression(image).soft)


def test_a_process_that_has_imported_nothing_opens_a_folder(tmp_path):
    from diffusion import ThresholdedDDIMScheduler, build_unet
    from vqgan import VQGAN

    unet = build_unet(4, 4, 32, (1, 2), 1, (), mid_attention=False)
    vqgan = VQGAN(channels=32, channel_multipliers=(1, 2), residual_blocks=1, resolution=16)
    BoneSuppressionPipeline(vqgan, unet, ThresholdedDDIMScheduler(prediction_type="sample")).save_pretrained(tmp_path)
    code = "import sys, diffusers; "
    code += "print(type(diffusers.DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True)).__name__)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert done.stdout.split()[-1] == "BoneSuppressionPipeline", done.stderr


def test_without_the_package_the_folder_says_what_to_install(regression, tmp_path):
    regression.save_pretrained(tmp_path / "model")
    code = "import sys, importlib.util as u; s = u.spec_from_file_location('m', sys.argv[1]); "
    code += "s.loader.exec_module(u.module_from_spec(s))"
    opener = next((tmp_path / "model").glob("*.py"))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, opener], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1 and "BoneRegressionPipeline of Radiolucent, which is not installed" in done.stderr
    assert "pip install ." in done.stderr


def test_a_name_on_the_hub_is_what_was_downloaded(regression, image, tmp_path, monkeypatch):
    """Laid out as the hub's client lays out a download; there is no network in a test."""
    repository = tmp_path / "hub" / "models--lab--bones"
    snapshot = repository / "snapshots" / ("0123456789abcdef" * 3)[:40]
    regression.save_pretrained(snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    loaded = BoneRegressionPipeline.from_pretrained("lab/bones", cache_dir=tmp_path / "hub", local_files_only=True)
    assert torch.equal(loaded(image).soft, regression(image).soft)
    given = {"cache_dir": tmp_path / "hub", "local_files_only": True, "scheduler": None}
    assert pipeline_folder("lab/bones", given) == snapshot and given == {"scheduler": None}
    with pytest.raises(FileNotFoundError, match="lab/other is no folder here, and no model of that name"):
        BoneRegressionPipeline.from_pretrained("lab/other", cache_dir=tmp_path / "hub", local_files_only=True)


def test_code_in_a_folder_runs_only_if_it_is_trusted(image, tmp_path, monkeypatch):
    (tmp_path / "lab_toy.py").write_text(TOY)
    monkeypatch.syspath_prepend(str(tmp_path))
    import lab_toy

    toy = lab_toy.ToyPipeline(lab_toy.Network())
    toy.save_pretrained(tmp_path / "model")
    again = lab_toy.ToyPipeline.from_pretrained(tmp_path / "model")  # who has the class needs no code of the folder's
    assert torch.equal(again(image).soft, toy(image).soft)
    monkeypatch.delitem(sys.modules, "lab_toy")
    (tmp_path / "lab_toy.py").unlink()  # another machine
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    with pytest.raises(ValueError, match=r"holds a ToyPipeline, whose code lies in the folder.*--trust-remote-code"):
        load_suppression_model(tmp_path / "model")
    loaded = load_suppression_model(tmp_path / "model", trust_remote_code=True)
    assert loaded.trained_size == 16 and torch.equal(loaded(image).soft, toy(image).soft)


def test_what_is_no_suppression_model_is_refused(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline", "_diffusers_version": "1"}')
    with pytest.raises(ValueError, match="holds a StableDiffusionPipeline, not a BoneSuppressionPipeline"):
        load_suppression_model(tmp_path)
    index = {"_class_name": ["x", "Gone"], "_pipeline_module": "diffusion.pipelines.gone"}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"names diffusion\.pipelines\.gone, which this version of Radiolucent"):
        load_suppression_model(tmp_path)
    (tmp_path / "model_index.json").write_text(json.dumps({**index, "_pipeline_module": "diffusion.folders"}))
    with pytest.raises(ValueError, match=r"holds a Gone of diffusion\.folders, which is no suppression model"):
        load_suppression_model(tmp_path)


def spoil(weights: Path, how: str) -> None:
    """Damage a safetensors file in one of the ways in which a copy or a hand-made folder is damaged."""
    tensors = load_file(weights)
    if how == "one is missing":
        tensors.pop(sorted(tensors)[3])
    elif how == "one too many":
        tensors["other.weight"] = torch.zeros(3)
    else:  # as a checkpoint of a wrapped network names them
        tensors = {f"module.{name}": tensor for name, tensor in tensors.items()}
    save_file(tensors, weights)


@pytest.mark.parametrize("how", ["one is missing", "one too many", "other names"])
@pytest.mark.parametrize("part", ["model/unet", "diffusion_model/unet", "diffusion_model/vqgan"])
def test_weights_that_are_not_the_configs_are_refused_not_drawn_at_random(part, how, tmp_path):
    model, _, network = part.partition("/")
    shutil.copytree(PACKAGED.parent / model, tmp_path / "model")
    (weights,) = (tmp_path / "model" / network).glob("*.safetensors")
    spoil(weights, how)
    with pytest.raises(ValueError, match=rf"{network}: \d+ weights are missing, or more than its config.json asks for"):
        load_suppression_model(tmp_path / "model")


def test_pickled_weights_are_not_read(tmp_path):
    shutil.copytree(PACKAGED, tmp_path / "model")
    weights = tmp_path / "model/unet/diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(OSError, match=r"no file named diffusion_pytorch_model\.safetensors"):
        load_suppression_model(tmp_path / "model")
