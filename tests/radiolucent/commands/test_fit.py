"""`radiolucent fit` resumes where a stopped run was; `predict`, `test` and `export` of what it trained."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from diffusion import BoneSuppressionPipeline
from radiographs import read_radiograph, write_radiograph
from radiolucent import precision
from radiolucent.cli import dispatch
from radiolucent.commands.fit import last_checkpoint
from vqgan import VQGAN

CONFIG = Path(__file__).resolve().parents[3] / "configs/vqgan/tiny.yaml"


def fit(folder: Path, name: str, steps: int, *options: str) -> int:
    where = [f"--trainer.default_root_dir={folder / name}", f"--data.init_args.root={folder / 'pairs'}"]
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu", "--trainer.limit_val_batches=1"]
    return dispatch(["fit", "--config", str(CONFIG), *where, *quiet, f"--trainer.max_steps={steps}", *options])


def test_last_goes_on_from_the_newest_run(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(4):
        for kind in ("BS", "CXR"):
            write_radiograph(tmp_path / f"pairs/{kind}/{i}.png", rng.uniform(-1, 1, (64, 64)).astype(np.float32))
    with pytest.raises(FileNotFoundError, match=r"no last\.ckpt lies under"):
        fit(tmp_path, "run", 2, "--ckpt_path=last")
    assert fit(tmp_path, "run", 2) == 0
    assert fit(tmp_path, "run", 4, "--ckpt_path=last") == 0
    path = last_checkpoint(tmp_path / "run")
    assert "version_1" in path  # the run that went on wrote its own
    assert torch.load(path, weights_only=True, map_location="cpu")["global_step"] == 4


def test_a_processor_without_bfloat16_trains_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for i in range(4):
        for kind in ("BS", "CXR"):
            write_radiograph(tmp_path / f"pairs/{kind}/{i}.png", rng.uniform(-1, 1, (64, 64)).astype(np.float32))
    monkeypatch.setattr(precision, "bfloat16_time", lambda: 9.0)
    assert fit(tmp_path, "slow", 1) == 0
    (written,) = (tmp_path / "slow").rglob("config.yaml")
    assert yaml.safe_load(written.read_text())["trainer"]["precision"] == "32-true"
    assert "bfloat16 is slow on this processor, so trainer.precision is 32-true" in capsys.readouterr().err
    assert fit(tmp_path, "asked", 1, "--trainer.precision=bf16-mixed") == 0
    (written,) = (tmp_path / "asked").rglob("config.yaml")
    assert yaml.safe_load(written.read_text())["trainer"]["precision"] == "bf16-mixed"
    assert "bfloat16 is slow" not in capsys.readouterr().err


def test_the_newest_checkpoint_is_taken_whatever_its_run_is_called(tmp_path):
    for age, name in ((5, "version_10"), (1, "version_9")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "last.ckpt").touch()
        os.utime(tmp_path / name / "last.ckpt", (1e9 - age, 1e9 - age))
    assert last_checkpoint(tmp_path) == str(tmp_path / "version_9/last.ckpt")
    with pytest.raises(FileNotFoundError, match="start without it"):
        last_checkpoint(tmp_path / "empty")


def test_one_training_of_several_is_not_guessed(tmp_path):
    for name in ("vqgan", "diffusion"):
        path = tmp_path / name / "lightning_logs/version_0/checkpoints/last.ckpt"
        path.parent.mkdir(parents=True)
        path.touch()
    with pytest.raises(ValueError, match=r"several trainings lie under .* \(diffusion, vqgan\): set trainer"):
        last_checkpoint(tmp_path)
    assert last_checkpoint(tmp_path / "vqgan") == str(tmp_path / "vqgan/lightning_logs/version_0/checkpoints/last.ckpt")
    own = tmp_path / "lightning_logs/version_3/checkpoints/last.ckpt"
    own.parent.mkdir(parents=True)
    own.touch()
    os.utime(own, (1e9, 1e9))
    assert last_checkpoint(tmp_path) == str(own)  # the folder's own, though another's is newer


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pairs, a VQ-GAN and a suppression model of two epochs, each epoch's checkpoint kept."""
    folder = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(0)
    for i in range(10):
        for kind in ("BS", "CXR"):
            write_radiograph(folder / f"pairs/{kind}/{i}.png", rng.uniform(-1, 1, (64, 64)).astype(np.float32))
    assert fit(folder, "vqgan", 2) == 0
    assert suppression("fit", folder, "--trainer.callbacks+=lightning.pytorch.callbacks.ModelCheckpoint") == 0
    return folder


def suppression(command: str, folder: Path, *options: str) -> int:
    where = [f"--trainer.default_root_dir={folder / 'run'}", f"--data.init_args.root={folder / 'pairs'}"]
    where += ["--data.init_args.test_fraction=0.4", f"--model.init_args.vqgan={folder / 'vqgan/model'}"]
    every = ["save_top_k=-1", "every_n_train_steps=2", "filename={epoch}"]  # an epoch is two steps
    every = [f"--trainer.callbacks.{option}" for option in every]
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
    config = ["--config", str(CONFIG.parents[1] / "suppression/tiny.yaml")]
    return dispatch([command, *config, *where, *quiet, *options, *(every if command == "fit" else [])])


def same_weights(one: Path, other: Path) -> bool:
    state, theirs = (BoneSuppressionPipeline.from_pretrained(path).unet.state_dict() for path in (one, other))
    return all(torch.equal(value, theirs[name]) for name, value in state.items())


def test_any_checkpoint_becomes_a_folder(trained: Path, tmp_path: Path) -> None:
    last = Path(last_checkpoint(trained / "run"))
    assert dispatch(["export", str(last), "--out", str(tmp_path / "last")]) == 0
    assert same_weights(tmp_path / "last", trained / "run/model")
    (first,) = (trained / "run").rglob("epoch=0.ckpt")
    assert dispatch(["export", str(first), "--out", str(tmp_path / "first")]) == 0
    assert not same_weights(tmp_path / "first", trained / "run/model")
    ours, theirs = (BoneSuppressionPipeline.from_pretrained(p) for p in (tmp_path / "first", trained / "run/model"))
    assert dict(ours.config) | {"_name_or_path": ""} == dict(theirs.config) | {"_name_or_path": ""}
    assert ours.vqgan.config.scaling_factor == theirs.vqgan.config.scaling_factor != 1
    assert ours.trained_size == 64
    with pytest.raises(ValueError, match="is there already"):
        dispatch(["export", str(first), "--out", str(tmp_path / "first")])
    out = str(tmp_path / "suppressed")
    assert (
        dispatch(["suppress", str(trained / "pairs/CXR"), "--checkpoint", str(tmp_path / "first"), "--out", out]) == 0
    )


def test_an_earlier_versions_checkpoint_takes_the_config_of_its_run(trained: Path, tmp_path: Path) -> None:
    last = Path(last_checkpoint(trained / "run"))
    checkpoint = torch.load(last, weights_only=True)
    del checkpoint["model_config"], checkpoint["trained_size"]
    old = last.with_name("old.ckpt")
    torch.save(checkpoint, old)
    assert dispatch(["export", str(old), "--out", str(tmp_path / "old")]) == 0
    assert same_weights(tmp_path / "old", trained / "run/model")
    torch.save(checkpoint, tmp_path / "alone.ckpt")
    export = ["export", str(tmp_path / "alone.ckpt"), "--out", str(tmp_path / "alone")]
    with pytest.raises(FileNotFoundError, match="give --model-config FILE"):
        dispatch(export)
    config = str(CONFIG.parents[1] / "suppression/tiny.yaml")
    vqgan = str(trained / "vqgan/model")
    assert dispatch([*export, "--model-config", config, "--vqgan", vqgan]) == 0
    assert same_weights(tmp_path / "alone", trained / "run/model")


def test_what_is_no_checkpoint_or_has_diverged_is_not_exported(trained: Path, tmp_path: Path) -> None:
    last = Path(last_checkpoint(trained / "run"))
    out = ["--out", str(tmp_path / "out")]
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        dispatch(["export", str(tmp_path / "gone.ckpt"), *out])
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.ckpt: no file of torch\.save"):
        dispatch(["export", str(tmp_path / "text.ckpt"), *out])
    torch.save({"weight": torch.zeros(1)}, tmp_path / "plain.ckpt")
    with pytest.raises(ValueError, match="no checkpoint of Lightning"):
        dispatch(["export", str(tmp_path / "plain.ckpt"), *out])
    vqgan = str(CONFIG)
    with pytest.raises(ValueError, match="holds another model than a VQGANModule"):
        dispatch(["export", str(last), "--model-config", vqgan, *out])
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["state_dict"]["ema.module.conv_in.weight"][0] = float("nan")
    torch.save(checkpoint, tmp_path / "nan.ckpt")
    with pytest.raises(ValueError, match="not finite"):
        dispatch(["export", str(tmp_path / "nan.ckpt"), *out])
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".part-*"))


def test_predict_writes_what_the_pipeline_draws(trained: Path, tmp_path: Path, capsys) -> None:
    assert suppression("predict", trained, "--ckpt_path=last", f"--predictions={tmp_path}") == 0
    assert f"4 images written to {tmp_path}" in capsys.readouterr().out
    assert suppression("predict", trained, "--ckpt_path=last", "--data.init_args.batch_size=3") == 0
    assert "warning" not in capsys.readouterr().err
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == sorted(path.name for path in (trained / "run/predictions").iterdir()) and len(files) == 4
    for name in files:
        one, other = (read_radiograph(folder / name).pixels for folder in (tmp_path, trained / "run/predictions"))
        assert Image.open(tmp_path / name).mode.startswith("I;16") and one.shape == (64, 64)
        assert np.abs(one - other).max() < 1e-3  # whatever the batches
        assert one.std() > 0.01


def test_what_has_no_checkpoint_is_said_to_be_untrained(trained: Path, capsys) -> None:
    for command in ("test", "validate", "predict"):
        assert suppression(command, trained, "--trainer.limit_test_batches=1") == 0
        assert f"no --ckpt_path, so {command} takes the weights that the config builds" in capsys.readouterr().err


def test_a_vqgan_that_has_diverged_is_not_used(trained: Path, tmp_path: Path) -> None:
    model = VQGAN.from_pretrained(trained / "vqgan/model")
    with torch.no_grad():
        model.decoder.conv_out.weight[0, 0] = float("nan")
    model.save_pretrained(tmp_path / "vqgan")
    pair = [str(trained / "pairs/CXR"), "--out", str(tmp_path / "out")]
    with pytest.raises(ValueError, match=r"1 of its tensors .* decoder\.conv_out\.weight"):
        dispatch(["tokens", "encode", *pair, "--vqgan", str(tmp_path / "vqgan"), "--size", "64"])
    pipeline = BoneSuppressionPipeline.from_pretrained(trained / "run/model")
    with torch.no_grad():
        pipeline.unet.conv_in.bias[0] = float("inf")
    pipeline.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match=r"1 of its tensors .* unet\.conv_in\.bias: the training has diverged"):
        dispatch(["suppress", *pair, "--checkpoint", str(tmp_path / "model")])
