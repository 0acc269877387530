"""docs/how-to/new-model.md, done: a GAN in one file with its pipeline and its module, two YAMLs, and every command."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from radiographs import read_radiograph, write_radiograph
from radiolucent import Suppressor
from radiolucent.cli import dispatch

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "new_model"  # the code that the page shows


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the two files of code, the two YAMLs and pairs with straight ribs."""
    for name in ("lab_gan_pipeline.py", "lab_gan_module.py", "gan.yaml", "gan_tiny.yaml"):
        shutil.copy(PAGE / name, tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    rng = np.random.default_rng(0)
    for i in range(8):
        soft = np.full((64, 64), -0.3, np.float32) + rng.normal(0, 0.02, (64, 64)).astype(np.float32)
        bone = np.zeros((64, 64), np.float32)
        bone[i::12] = bone[i + 1 :: 12] = 0.4
        write_radiograph(tmp_path / f"pairs/BS/{i}.png", soft)
        write_radiograph(tmp_path / f"pairs/CXR/{i}.png", soft + bone)
    yield tmp_path
    for name in ("lab_gan_pipeline", "lab_gan_module"):
        sys.modules.pop(name, None)


def test_a_new_model_trains_suppresses_and_is_evaluated(lab: Path) -> None:
    configs = ["--config", str(lab / "gan.yaml"), "--config", str(lab / "gan_tiny.yaml")]
    where = [f"--trainer.default_root_dir={lab / 'run'}", f"--data.init_args.root={lab / 'pairs'}"]
    assert dispatch(["fit", *configs, *where]) == 0
    model = lab / "run" / "model"
    assert json.loads((model / "generator" / "config.json").read_text())["channels"] == 4  # the experiment's
    assert json.loads((model / "model_index.json").read_text())["trained_size"] == 64  # the base's

    for name in ("lab_gan_pipeline", "lab_gan_module"):  # as in another process, which has not imported them
        sys.modules.pop(name)
    suppress = ["suppress", str(lab / "pairs/CXR"), "--checkpoint", str(model), "--out", str(lab / "suppressed")]
    with pytest.raises(ValueError, match=r"holds a GanPipeline, whose code lies in the folder.*--trust-remote-code"):
        dispatch(suppress)
    assert dispatch([*suppress, "--trust-remote-code", "--samples", "2", "--strip"]) == 0
    before, after, truth = (
        read_radiograph(lab / folder / "0.png").pixels for folder in ("pairs/CXR", "suppressed", "pairs/BS")
    )
    assert np.abs(after - truth).mean() < 0.8 * np.abs(before - truth).mean()
    assert read_radiograph(lab / "suppressed" / "0_std.png").pixels.max() > -1

    result = Suppressor(model, trust_remote_code=True)(before)
    np.testing.assert_allclose(result.soft + result.bone, before, atol=1e-6)

    words = ["--checkpoint", f"gan={model}", "--trust-remote-code", "--nodules", "0", "--lungs", "none"]
    folders = ["--truth", str(lab / "pairs/BS"), "--input", str(lab / "pairs/CXR"), "--out", str(lab / "report")]
    assert dispatch(["evaluate", "suppression", *words, *folders]) == 0
    rows = list(csv.DictReader((lab / "report" / "gains.csv").read_text().splitlines()))
    assert "gan" in {value for row in rows for value in row.values()}
