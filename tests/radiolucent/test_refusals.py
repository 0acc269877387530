"""What other libraries raise for bad input is one line; what is a bug keeps its traceback."""

from __future__ import annotations

import csv
import io
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow
import pytest
import torch
import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.demos.boring_classes import BoringModel
from pydicom import dcmread
from safetensors.torch import load
from torch.utils.data import DataLoader, Dataset

from radiolucent.cli import main
from radiolucent.refusals import refusal


def raised(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


class Broken(Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> torch.Tensor:
        raise ValueError(f"image {index}:\nno picture")


class Silent(BoringModel):
    """Logs nothing."""

    def train_dataloader(self) -> DataLoader:
        return DataLoader(torch.zeros(1, 32))

    val_dataloader = train_dataloader


def trainer(**options: object) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(accelerator="cpu", max_epochs=1, enable_model_summary=False, **quiet, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: list(csv.reader(['"a'], strict=True)), "a table: unexpected end of data"),
        (lambda: ElementTree.fromstring("<a>"), "an XML file: no element found: line 1, column 3"),
        (lambda: pyarrow.array([1]).cast(pyarrow.list_(pyarrow.int8())), "a Parquet file: Unsupported cast"),
        (lambda: zlib.decompress(b"x" * 9), "a damaged compressed file: Error -3"),
        (lambda: zipfile.ZipFile(io.BytesIO(b"x")), "an archive, or a checkpoint: File is not a zip file"),
        (lambda: pickle.loads(b"x"), "a checkpoint, or another pickled file: "),
        (lambda: yaml.safe_load("a: [1"), "a YAML file: while parsing a flow sequence"),
        (lambda: load(b"x" * 9), "a file of weights: "),
        (lambda: dcmread(io.BytesIO(b"x" * 200)), "a DICOM file: File is missing DICOM File Meta Information"),
        (lambda: trainer(fast_dev_run=-1), "the training's settings: fast_dev_run=-1"),
        (lambda: torch.nn.Linear(2, 2).load_state_dict({}), "the checkpoint is damaged, or is of another model"),
    ],
)
def test_libraries_that_read_files(call: Callable[[], object], says: str) -> None:
    line = refusal(raised(call))
    assert line is not None and says in line and "\n" not in line


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_workers_error_is_its_own_message(workers: int) -> None:
    error = raised(lambda: next(iter(DataLoader(Broken(), num_workers=workers))))
    assert refusal(error) == "image 0: no picture"


def test_a_stop_by_a_metric_that_is_not_there() -> None:
    module: LightningModule = Silent()
    line = refusal(raised(lambda: trainer(callbacks=[EarlyStopping("val_loss")]).fit(module)))
    assert line is not None and line.startswith("the training's settings: Early stopping conditioned on metric `val_l")


def test_a_bug_is_no_refusal() -> None:
    for call in (lambda: 1 / 0, lambda: {}["x"], lambda: torch.zeros(2) @ torch.zeros(3), lambda: None.x):  # type: ignore
        assert refusal(raised(call)) is None


def test_the_command_line_says_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (tmp_path / "model_index.json").write_text("{")
    monkeypatch.setenv("RADIOLUCENT_DEBUG", "")
    with pytest.raises(SystemExit) as ended:
        main(["suppress", "x.png", "--checkpoint", str(tmp_path), "--out", str(tmp_path / "out")])
    text = capsys.readouterr().err
    assert ended.value.code == 2 and text.count("\n") == 1 and "model_index.json: no JSON, or damaged" in text
    monkeypatch.setattr("radiolucent.cli.dispatch", lambda words: list(csv.reader(['"a'], strict=True)))
    with pytest.raises(SystemExit) as ended:
        main(["suppress"])
    assert ended.value.code == 2 and capsys.readouterr().err == "radiolucent: error: a table: unexpected end of data\n"
    monkeypatch.setenv("RADIOLUCENT_DEBUG", "1")
    with pytest.raises(csv.Error):
        main(["suppress"])
