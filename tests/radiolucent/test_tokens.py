"""`radiolucent tokens`: code indices out and in again, with a real, small VQ-GAN."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet

from radiographs import fit, read_radiograph, write_radiograph
from radiolucent.cli import dispatch
from vqgan import VQGAN


@pytest.fixture(scope="module")
def vqgan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = VQGAN(channels=32, channel_multipliers=(1, 2), residual_blocks=1, resolution=16, codebook_size=32)
    with torch.no_grad():
        model.quantizer.embedding.weight.normal_()
    folder = tmp_path_factory.mktemp("vqgan") / "model"
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def radiographs(tmp_path: Path) -> Path:
    for i, shape in enumerate(((16, 16), (16, 12), (40, 20))):
        pixels = np.random.default_rng(i).uniform(-1, 1, shape).astype(np.float32)
        write_radiograph(tmp_path / "in" / f"{i}.png", pixels, 16)
    return tmp_path / "in"


def encode(inputs: Path, vqgan: Path, out: Path, *words: str) -> int:
    return dispatch(["tokens", "encode", str(inputs), "--vqgan", str(vqgan), "--out", str(out), "--size", "16", *words])


def decode(inputs: Path, vqgan: Path, out: Path) -> int:
    return dispatch(["tokens", "decode", str(inputs), "--vqgan", str(vqgan), "--out", str(out), "--bits", "16"])


def test_there_and_back_is_the_reconstruction(vqgan: Path, radiographs: Path, tmp_path: Path) -> None:
    assert encode(radiographs, vqgan, tmp_path / "t", "--shard-size", "2") == 0
    shards = sorted((tmp_path / "t").glob("*.parquet"))
    assert [path.name for path in shards] == ["tokens-00000.parquet", "tokens-00001.parquet"]
    model = VQGAN.from_pretrained(vqgan).eval()
    rows = [row for path in shards for row in parquet.read_table(path).to_pylist()]
    assert [row["name"] for row in rows] == ["0.png", "1.png", "2.png"]
    for shard in shards:
        assert decode(shard, vqgan, tmp_path / shard.stem) == 0
    for row, shard in zip(rows, (shards[0], shards[0], shards[1])):
        fitted, _ = fit(read_radiograph(radiographs / row["name"]).pixels, 16)
        with torch.no_grad():
            expected, _, indices = model(torch.from_numpy(fitted)[None, None])
        assert (row["height"], row["width"]) == (8, 8) and row["tokens"] == indices.flatten().tolist()
        assert len(set(row["tokens"])) > 3
        found = read_radiograph(tmp_path / shard.stem / row["name"]).pixels
        np.testing.assert_allclose(found, expected[0, 0].clamp(-1, 1).numpy(), atol=1e-4)


def test_run_again_goes_on_and_bad_images_are_set_aside(vqgan: Path, radiographs: Path, tmp_path: Path) -> None:
    (radiographs / "bad.png").write_bytes(b"nothing")
    assert encode(radiographs, vqgan, tmp_path / "t") == 1
    (shard,) = (tmp_path / "t").glob("*.parquet")
    before, codes = shard.read_bytes(), tmp_path / "t" / "codes" / "0.png.npy"
    made = codes.stat().st_mtime_ns
    (tmp_path / "t" / "codes" / "1.png.npy").unlink()
    (radiographs / "bad.png").unlink()
    assert encode(radiographs, vqgan, tmp_path / "t") == 0
    assert shard.read_bytes() == before and codes.stat().st_mtime_ns == made
    with pytest.raises(ValueError, match="multiple of 2"):
        dispatch(["tokens", "encode", str(radiographs), "--vqgan", str(vqgan), "--out", "x", "--size", "15"])


def test_bad_tokens_are_set_aside_and_bad_files_refused(vqgan: Path, radiographs: Path, tmp_path: Path) -> None:
    rows = [
        {"name": "good", "height": 2, "width": 3, "tokens": [0, 31, 5, 6, 7, 8]},
        {"name": "short", "height": 2, "width": 3, "tokens": [1, 2]},
        {"name": "none", "height": 2, "width": 3, "tokens": None},
        {"name": "gap", "height": 1, "width": 2, "tokens": [1, None]},
        {"name": "beyond", "height": 1, "width": 2, "tokens": [1, 32]},
        {"name": "below", "height": 1, "width": 2, "tokens": [-1, 3]},
        {"name": "../out", "height": 1, "width": 2, "tokens": [1, 3]},
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "t.parquet")  # as a token model writes it
    assert decode(tmp_path / "t.parquet", vqgan, tmp_path / "d") == 1
    assert read_radiograph(tmp_path / "d" / "good.png").pixels.shape == (4, 6)
    with open(tmp_path / "d" / "errors.csv", newline="") as file:
        reasons = {row["input"]: row["reason"] for row in csv.DictReader(file)}
    assert set(reasons) == {row["name"] for row in rows[1:]}
    assert "2 tokens where height 2 times width 3" in reasons["short"] and "0 tokens" in reasons["none"]
    assert all("from 0 to 31" in reasons[name] for name in ("gap", "beyond", "below"))
    parquet.write_table(pyarrow.table({"name": ["a"]}), tmp_path / "few.parquet")
    (tmp_path / "no.parquet").write_bytes(b"text")
    for name, message in {"few": "no column height, width, tokens", "no": "no Parquet file"}.items():
        with pytest.raises(ValueError, match=message):
            decode(tmp_path / f"{name}.parquet", vqgan, tmp_path / "e")
    assert encode(radiographs, vqgan, tmp_path / "t") == 0
    other = VQGAN(channels=32, channel_multipliers=(1, 2), residual_blocks=1, resolution=16, codebook_size=32)
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="another VQ-GAN"):
        decode(tmp_path / "t" / "tokens-00000.parquet", tmp_path / "other", tmp_path / "e")
