"""`radiolucent fit` and `test` on two CPU processes: one set of weights, and the metrics of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from radiographs import write_radiograph

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ROOT = CONFIGS.parent
WATCH = """
import json
from pathlib import Path
import torch
from lightning.pytorch import Callback

class Watch(Callback):
    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_end(self, trainer, module):
        torch.save(module.state_dict(), self.folder / f"{trainer.global_rank}.pt")

    def on_test_end(self, trainer, module):
        metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
        (self.folder / f"test_{trainer.world_size}_{trainer.global_rank}.json").write_text(json.dumps(metrics))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs: 5 to test on, so that two processes have an uneven number in two batches."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "watch.py").write_text(WATCH)
    rng = np.random.default_rng(0)
    for i in range(13):
        soft = np.clip(rng.normal(size=(4, 4)).repeat(16, 0).repeat(16, 1) * 0.3, -0.9, 0.7).astype(np.float32)
        write_radiograph(folder / f"pairs/BS/{i}.png", soft)
        write_radiograph(folder / f"pairs/CXR/{i}.png", (soft + 0.02 * i).clip(-1, 1))
    names = [f"{i}.png" for i in range(13)]
    (folder / "pairs/train_set.txt").write_text("\n".join(names[:8]))
    (folder / "pairs/test_set.txt").write_text("\n".join(names[8:]))
    return folder


SEVERAL = """
import json, sys
from radiolucent.cli import dispatch

for words in json.loads(sys.argv[1]):
    if dispatch(words):
        sys.exit(1)
"""


def words(command: str, recipe: str, folder: Path, name: str, processes: int, *options: str) -> list[str]:
    """A command's words, whose results lie in folder / name."""
    out = folder / name
    out.mkdir(exist_ok=True)
    given = [command, "--config", str(CONFIGS / recipe / "tiny.yaml")]
    given += [f"--data.init_args.root={folder / 'pairs'}", f"--trainer.default_root_dir={out}"]
    given += ["--data.init_args.augment=false", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
    given += ["--trainer.precision=32", f"--trainer.devices={processes}"]
    return [*given, "--trainer.callbacks+=watch.Watch", f"--trainer.callbacks.folder={out}", *options]


def run(folder: Path, *given: str) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *given], capture_output=True, text=True, cwd=folder, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr


def measurings(recipe: str, folder: Path, checkpoint: Path, *options: str) -> list[list[str]]:
    """The words of `test` on two processes and on one."""
    given = [f"--ckpt_path={checkpoint}", "--data.init_args.batch_size=2", *options]
    names = {2: f"test {recipe} 2", 1: f"test {recipe} 1"}
    both = words("test", recipe, folder, names[2], 2, *given, "--trainer.strategy=ddp_fork")
    return [both, words("test", recipe, folder, names[1], 1, *given)]


def same_metrics(recipe: str, folder: Path) -> dict[str, float]:
    """What `test` measured, checked to be the same on one process and on each of two."""
    paths = [path for count in (1, 2) for path in sorted((folder / f"test {recipe} {count}").glob("test_*.json"))]
    alone, *both = [json.loads(path.read_text()) for path in paths]
    assert len(both) == 2 and all(one == pytest.approx(alone, rel=1e-4) for one in both)
    return alone


def test_networks_that_learn_in_turns_and_latents_are_those_of_both(folder: Path) -> None:
    """The first training starts its second process as users do; what follows forks, since imports take longest."""
    short = ["--trainer.max_epochs=1", "--trainer.limit_val_batches=0", "--data.init_args.validation_fraction=0"]
    first = [*short, "--model.init_args.loss.init_args.adversarial_start=1", "--trainer.strategy=ddp"]
    run(folder, "-m", "radiolucent", *words("fit", "vqgan", folder, "vqgan", 2, *first))
    out = folder / "vqgan"
    ours, theirs = (torch.load(out / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    differ = [name for name, value in ours.items() if not torch.equal(value, theirs[name])]
    assert all(".running_" in name for name in differ), differ  # batch norms, which DDP hands on at the next step
    assert int(ours["updates"]) == 2  # 8 pairs on two processes, 2 at a time

    vqgan, second = f"--model.init_args.vqgan={out / 'model'}", folder / "suppression"
    kept = "lightning_logs/version_0/checkpoints/last.ckpt"
    commands = [
        words("fit", "suppression", folder, "suppression", 2, *short, vqgan, "--trainer.strategy=ddp_fork"),
        *measurings("vqgan", folder, out / kept),
        *measurings("suppression", folder, second / kept, vqgan),
    ]
    run(folder, "-c", SEVERAL, json.dumps(commands))
    ours, theirs = (torch.load(second / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    metrics = same_metrics("vqgan", folder)
    assert {"test/psnr", "test/perplexity", "test/latent_deviation", "test/codebook_usage"} <= metrics.keys()
    metrics = same_metrics("suppression", folder)
    assert {"test/loss", "test/psnr", "test/psnr_do_nothing"} == metrics.keys()
