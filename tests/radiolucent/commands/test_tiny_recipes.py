"""Each published recipe's tiny config trains a step from its YAML and leaves a folder that suppresses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from radiographs import read_radiograph, write_radiograph
from radiolucent.cli import dispatch

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
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
        lungs = np.full((64, 64), -1, np.float32)
        lungs[16:48, 8:28] = lungs[16:48, 36:56] = 1
        write_radiograph(folder / f"pairs/Mask/{i}.png", lungs)
    fit(folder, "vqgan/tiny.yaml", "vqgan")
    fit(folder, "suppression/tiny.yaml", "teacher", f"--model.init_args.vqgan={folder / 'vqgan/model'}")
    return folder


def fit(folder: Path, config: str, name: str, *options: str) -> None:
    where = [f"--trainer.default_root_dir={folder / name}", f"--data.init_args.root={folder / 'pairs'}"]
    assert dispatch(["fit", "--config", str(CONFIGS / config), *where, *STEP, *options]) == 0


@pytest.mark.parametrize("recipe", ["consistency", "bridge"])
def test_a_tiny_recipe_trains_and_suppresses(recipe: str, runs: Path) -> None:
    teacher = [f"teacher={runs / 'teacher/model'}", f"vqgan={runs / 'teacher/model/vqgan'}"]
    given = teacher if recipe == "consistency" else [f"vqgan={runs / 'vqgan/model'}"]
    options = [f"--model.init_args.{option}" for option in given]
    fit(runs, f"suppression/{recipe}_tiny.yaml", recipe, *options)
    suppress(runs, recipe, "suppressed", "0.png")  # the folder says the size


def suppress(runs: Path, recipe: str, out: str, image: str, *options: str) -> None:
    where = [str(runs / "pairs/CXR" / image), "--checkpoint", str(runs / recipe / "model"), "--out"]
    assert dispatch(["suppress", *where, str(runs / recipe / out), "--steps", "2", *options]) == 0
    assert (runs / recipe / out / "0.png").is_file()


def test_the_second_stage_learns_from_what_the_first_drew(runs: Path) -> None:
    """As bs_diff_enhance_tiny.yaml says: train, let it draw every pair, train on that; one folder holds both."""
    fit(runs, "suppression/bs_diff_tiny.yaml", "first")
    suppress(runs, "first", "drawn", "", "--compose", "direct")
    drawn = [
        f"--data.init_args.radiographs={runs / 'first/drawn'}",
        f"--model.init_args.first_stage={runs / 'first/model'}",
    ]
    fit(runs, "suppression/bs_diff_enhance_tiny.yaml", "second", *drawn)
    suppress(runs, "second", "enhanced", "", "--compose", "direct")
    one, two = (read_radiograph(runs / name / "0.png").pixels for name in ("first/drawn", "second/enhanced"))
    assert np.abs(one - two).mean() > 0.05


def test_gl_lcm_takes_its_second_path_in_the_lungs_that_it_was_trained_on(runs: Path) -> None:
    fit(runs, "suppression/gl_lcm_tiny.yaml", "lungs", f"--model.init_args.vqgan={runs / 'vqgan/model'}")
    suppress(runs, "lungs", "one path", "0.png", "--size", "64")
    suppress(runs, "lungs", "two paths", "0.png", "--size", "64", "--lungs", str(runs / "pairs/Mask"))
    one, two = (read_radiograph(runs / "lungs" / name / "0.png").pixels for name in ("one path", "two paths"))
    assert (one[:16] == two[:16]).all() and np.abs(one - two)[16:48].max() > 0.01
