"""Each published recipe's tiny config trains a step from its YAML and leaves a folder that suppresses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from radiographs import write_radiograph
from radiolucent.cli import dispatch

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
STEP = ["--trainer.max_steps=1", "--trainer.limit_val_batches=1", "--trainer.enable_progress_bar=false"]
STEP += ["--trainer.accelerator=cpu"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `pairs`, and a VQ-GAN and a teacher of one step each."""
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    for i in range(4):
        soft = np.clip(rng.normal(size=(4, 4)).repeat(16, 0).repeat(16, 1) * 0.3, -0.9, 0.7).astype(np.float32)
        write_radiograph(folder / f"pairs/BS/{i}.png", soft)
        soft[8 * i : 8 * i + 4] += 0.3
        write_radiograph(folder / f"pairs/CXR/{i}.png", soft)
    fit(folder, "vqgan/tiny.yaml", "vqgan")
    fit(folder, "suppression/tiny.yaml", "teacher", f"--model.init_args.vqgan={folder / 'vqgan/model'}")
    return folder


def fit(folder: Path, config: str, name: str, *options: str) -> None:
    where = [f"--trainer.default_root_dir={folder / name}", f"--data.init_args.root={folder / 'pairs'}"]
    assert dispatch(["fit", "--config", str(CONFIGS / config), *where, *STEP, *options]) == 0


@pytest.mark.parametrize("recipe", ["gl_lcm", "consistency", "bridge", "bs_diff"])
def test_a_tiny_recipe_trains_and_suppresses(recipe: str, runs: Path) -> None:
    teacher = [f"teacher={runs / 'teacher/model'}", f"vqgan={runs / 'teacher/model/vqgan'}"]
    given = {"consistency": teacher, "bs_diff": []}.get(recipe, [f"vqgan={runs / 'vqgan/model'}"])
    options = [f"--model.init_args.{option}" for option in given]
    fit(runs, f"suppression/{recipe}_tiny.yaml", recipe, *options)
    words = [
        str(runs / "pairs/CXR/0.png"),
        "--checkpoint",
        str(runs / recipe / "model"),
        "--steps",
        "2",
        "--size",
        "64",
    ]
    assert dispatch(["suppress", *words, "--out", str(runs / recipe / "suppressed")]) == 0
    assert (runs / recipe / "suppressed/0.png").is_file()
