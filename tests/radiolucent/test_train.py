"""`radiolucent fit` goes on where a stopped run was."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from radiographs import write_radiograph
from radiolucent.cli import dispatch
from radiolucent.train import last_checkpoint

CONFIG = Path(__file__).resolve().parents[2] / "configs/vqgan/tiny.yaml"


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
