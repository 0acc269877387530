"""The model that docs/how-to/new-model.md adds trains from its YAMLs, and its folder suppresses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from radiographs import read_radiograph, write_radiograph
from radiolucent.cli import dispatch

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "new_model"


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(8):
        soft = rng.uniform(-0.8, 0.2, (8, 8)).repeat(8, 0).repeat(8, 1).astype(np.float32)
        radiograph = soft + 0.4 * (np.arange(64) % 16 < 4)[:, None].astype(np.float32)
        for kind, image in (("CXR", radiograph), ("BS", soft)):
            write_radiograph(tmp_path / "pairs" / kind / f"{number}.png", image)
    return tmp_path / "pairs"


def test_it_trains_and_suppresses(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PAGE))
    monkeypatch.chdir(tmp_path)
    configs = [f"--config={PAGE / name}" for name in ("pix2pix.yaml", "pix2pix_tiny.yaml")]
    options = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.max_epochs=20"]
    assert dispatch(["fit", *configs, f"--data.init_args.root={pairs}", *options]) == 0
    command = ["suppress", str(pairs / "CXR"), "--checkpoint", "runs/pix2pix_tiny/model", "--out", "soft"]
    assert dispatch([*command, "--trust-remote-code"]) == 0
    before, after = [], []
    for path in sorted((pairs / "BS").iterdir()):
        truth, radiograph, result = (
            read_radiograph(file).pixels for file in (path, pairs / "CXR" / path.name, Path("soft", path.name))
        )
        before.append(np.abs(radiograph - truth).mean())
        after.append(np.abs(result - truth).mean())
    assert np.mean(after) < 0.8 * np.mean(before)


def test_code_in_the_folder_runs_only_if_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PAGE))
    from pix2pix import Generator, Pix2PixPipeline

    Pix2PixPipeline(Generator(8), 64).save_pretrained(tmp_path / "model")
    write_radiograph(tmp_path / "a.png", np.eye(64, dtype=np.float32))
    with pytest.raises(ValueError, match="trust-remote-code"):
        dispatch(["suppress", str(tmp_path / "a.png"), "--checkpoint", str(tmp_path / "model"), "--out", str(tmp_path)])
