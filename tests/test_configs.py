"""Every shipped config builds what it names; the tiny ones train, one on top of the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI

from radiolucent.cli import dispatch
from radiolucent.commands.fit import LAID_OVER, with_bases

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
TRAINING = sorted(
    [*CONFIGS.glob("vqgan/*.yaml"), *CONFIGS.glob("suppression/*.yaml"), *CONFIGS.glob("synthesis/*.yaml")]
)
RENDERING = sorted(CONFIGS.glob("drr/*.yaml"))


def name(path: Path) -> str:
    return str(path.relative_to(CONFIGS))


def test_every_folder_of_experiments_has_a_tiny_one():
    folders = {path.parent for path in CONFIGS.rglob("*.yaml")}
    assert all((folder / "tiny.yaml").exists() for folder in folders)


def build(*names: str) -> LightningCLI:
    with torch.device("meta"):  # the published sizes need no memory
        return LightningCLI(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            run=False,
            args=[
                *(word for one in names for word in ("--config", str(CONFIGS / one))),
                "--trainer.accelerator=cpu",
                "--trainer.logger=false",
            ],
        )


@pytest.mark.parametrize("path", TRAINING, ids=name)
def test_training_config_builds(path):
    layers = [CONFIGS / LAID_OVER[name(path)], path] if name(path) in LAID_OVER else [path]
    cli = build(*map(name, layers))
    written = yaml.safe_load(layers[0].read_text())
    assert type(cli.model).__name__ == written["model"]["class_path"].rsplit(".", 1)[1]
    assert cli.datamodule.image_size == written["data"]["init_args"]["image_size"]
    assert sum(parameter.numel() for parameter in cli.model.parameters()) > 0
    # with save_top_k 0, Lightning writes last.ckpt at the very end alone: a run that was killed would be lost
    assert all(saver.save_top_k != 0 for saver in cli.trainer.checkpoint_callbacks)


@pytest.mark.parametrize("path", TRAINING, ids=name)
def test_the_length_of_a_training_stands_once(path):
    """A schedule that ends with the training takes its length from the trainer (lightning_modules.schedules)."""
    written = yaml.safe_load(path.read_text())
    options = written["model"]["init_args"]
    schedules = [options.get(key) or {} for key in ("lr_scheduler", "scheduler")]
    lengths = [
        schedule.get("init_args", {}).get(key) for schedule in schedules for key in ("total_iters", "total_steps")
    ]
    most = {written["trainer"].get(key) for key in ("max_steps", "max_epochs")} - {None}
    assert not most & set(lengths)
    falling = ("PolynomialLR", "OneCycleLR", "CosineAnnealingLR")
    assert not [one["class_path"] for one in schedules if one.get("class_path", "").endswith(falling)]


def test_configs_go_by_their_old_names_too(capsys):
    from radiolucent.commands.fit import RENAMED, with_new_names

    for old, new in RENAMED.items():
        assert (CONFIGS / new).is_file() and not (CONFIGS / old).exists()
        for word, expected in (
            (str(CONFIGS / old), str(CONFIGS / new)),
            (f"--config={CONFIGS / old}", f"--config={CONFIGS / new}"),
        ):
            assert with_new_names(["fit", word, "--trainer.max_steps=3"]) == ["fit", expected, "--trainer.max_steps=3"]
            assert f"configs/{old} is now called configs/{new}" in capsys.readouterr().err
    assert with_new_names(["fit", "--config", "mine/box.yaml"]) == ["fit", "--config", "mine/box.yaml"]


def test_a_config_that_is_laid_over_another_finds_its_base():
    for over, under in LAID_OVER.items():
        base, path = str(CONFIGS / under), str(CONFIGS / over)
        for given in (["--config", path], ["--config", base, "--config", path]):
            assert with_bases(["fit", *given]) == ["fit", "--config", base, "--config", path]
        assert with_bases(["fit", f"--config={path}"]) == ["fit", f"--config={base}", f"--config={path}"]
    assert with_bases(["fit", "--config", "mine.yaml"]) == ["fit", "--config", "mine.yaml"]


def test_a_config_that_is_laid_over_another_is_that_one_but_for_what_it_says():
    """As one YAML that says everything would be built."""
    cli = build("synthesis/ldm_512.yaml", "synthesis/viewxgen.yaml")
    unet, conditioner = (cli.model.networks[part].config for part in ("unet", "conditioner"))
    assert (unet.in_channels, list(unet.block_out_channels), unet.cross_attention_dim) == (12, [192, 384, 768], 768)
    assert (conditioner.images, conditioner.text_length, conditioner.demographics) == (2, 256, False)
    assert cli.model.dropout == {"view": 0.1, "report": 0.1, "image": 0.3}
    assert cli.model.guidance == {"image": 1.5, "view": 3.0, "report": 5.0}
    assert (cli.model.text_encoder.source, cli.model.min_snr_gamma) == ("data/cxr_bert", 5.0)
    assert (cli.datamodule.other_views, cli.datamodule.batch_size) == (2, 16)


@pytest.mark.parametrize("path", RENDERING, ids=name)
def test_rendering_config_parses(path):
    from jsonargparse import ArgumentParser

    from radiolucent.commands import drr

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    drr.add_arguments(parser)
    arguments = parser.parse_args(["--config", str(path)])
    assert arguments.view == yaml.safe_load(path.read_text())["view"]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("findings/*.yaml")), ids=name)
def test_plan_of_findings_reads(path):
    from drr.findings.plan import read_plan

    assert read_plan(path).wishes


def test_the_config_of_priors_and_currents_asks_for_every_export():
    from radiolucent.rendering.exports import EXPORTS

    written = yaml.safe_load((CONFIGS / "drr" / "prior_current.yaml").read_text())
    assert written["export"] == list(EXPORTS) and (CONFIGS.parent / written["findings"]).is_file()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    from radiographs import write_radiograph

    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    for i in range(8):
        soft = np.clip(rng.normal(size=(4, 4)).repeat(16, 0).repeat(16, 1) * 0.3, -0.9, 0.7).astype(np.float32)
        radiograph = soft.copy()
        radiograph[8 * i : 8 * i + 4] += 0.3
        for kind, image in (("CXR", radiograph), ("BS", soft)):
            write_radiograph(folder / kind / f"{i}.png", image)
    return folder


def test_tiny_configs_train_and_suppress(pairs, tmp_path):
    def fit(config: str, *options: str) -> None:
        root = f"--trainer.default_root_dir={tmp_path / Path(config).parts[0]}"
        epochs = ("--trainer.max_epochs=1", "--trainer.enable_progress_bar=false")
        assert (
            dispatch(
                ["fit", "--config", str(CONFIGS / config), root, f"--data.init_args.root={pairs}", *epochs, *options]
            )
            == 0
        )

    fit("vqgan/tiny.yaml")
    fit("suppression/tiny.yaml", f"--model.init_args.vqgan={tmp_path / 'vqgan/model'}")
    checkpoint, out = tmp_path / "suppression/model", tmp_path / "suppressed"
    suppress = ["suppress", str(pairs / "CXR/0.png"), "--checkpoint", str(checkpoint), "--out", str(out)]
    assert dispatch([*suppress, "--steps", "2"]) == 0
    assert (out / "0.png").stat().st_size > 0
