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


def test_a_folder_is_decoded_as_its_files_are(vqgan: Path, radiographs: Path, tmp_path: Path) -> None:
    words = ["--vqgan", str(vqgan), "--size", "32", "--shard-size", "2", "--out", str(tmp_path / "t")]
    assert dispatch(["tokens", "encode", str(radiographs), *words]) == 0
    shards = sorted((tmp_path / "t").glob("*.parquet"))
    assert len(shards) > 1 and decode(tmp_path / "t", vqgan, tmp_path / "whole") == 0
    for shard in shards:
        assert decode(shard, vqgan, tmp_path / shard.stem) == 0
        for path in (tmp_path / shard.stem).glob("*.png"):
            assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()
    assert len(list((tmp_path / "whole").glob("*.png"))) == len(list(radiographs.glob("*")))
    with pytest.raises(FileNotFoundError, match="no Parquet file in this folder"):
        decode(radiographs, vqgan, tmp_path / "none")


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


def test_tokens_stand_for_the_image_that_is_there(vqgan: Path, radiographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "t"
    out.mkdir()
    (out / "tokens-00007.parquet").write_bytes(b"theirs")
    (out / "tokens-00000.parquet").write_bytes(b"theirs")
    with pytest.raises(ValueError, match=r"tokens-00000\.parquet is there and is no result of this batch"):
        encode(radiographs, vqgan, out)
    (out / "tokens-00000.parquet").unlink()
    assert encode(radiographs, vqgan, out, "--shard-size", "1") == 0
    assert (out / "tokens-00002.parquet").is_file()
    (radiographs / "0.png").write_bytes(b"no picture any more")
    (radiographs / "1.png").write_bytes((radiographs / "2.png").read_bytes())
    assert encode(radiographs, vqgan, out) == 1
    rows = parquet.read_table(out / "tokens-00000.parquet").to_pylist()
    assert [row["name"] for row in rows] == ["1.png", "2.png"] and rows[0]["tokens"] == rows[1]["tokens"]
    assert sorted(path.name for path in out.glob("*.parquet")) == ["tokens-00000.parquet", "tokens-00007.parquet"]
    assert (out / "tokens-00007.parquet").read_bytes() == b"theirs"


def test_decoded_images_stand_for_the_tokens_that_are_there(vqgan: Path, tmp_path: Path) -> None:
    def tokens(name: str, *codes: list[int]) -> Path:
        rows = [{"name": f"{i}", "height": 1, "width": 2, "tokens": code} for i, code in enumerate(codes)]
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / name)
        return tmp_path / name

    out = tmp_path / "d"
    assert decode(tokens("a.parquet", [1, 2], [3, 4]), vqgan, out) == 0
    first, second = (out / "0.png").read_bytes(), (out / "1.png").stat().st_mtime_ns
    assert decode(tokens("a.parquet", [9, 8], [3, 4]), vqgan, out) == 0
    assert (out / "0.png").read_bytes() != first and (out / "1.png").stat().st_mtime_ns == second
    with pytest.raises(ValueError, match=r"0\.png is there and is the result of another file"):
        decode(tokens("b.parquet", [1, 2]), vqgan, out)
    with pytest.raises(ValueError, match=r"x\.png would be written for x and for x\.png"):
        rows = [{"name": name, "height": 1, "width": 2, "tokens": [1, 2]} for name in ("x", "x.png")]
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "c.parquet")
        decode(tmp_path / "c.parquet", vqgan, tmp_path / "e")


def test_bad_tokens_are_skipped_and_bad_files_refused(vqgan: Path, radiographs: Path, tmp_path: Path) -> None:
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
    parquet.write_table(
        pyarrow.table({n: [1] for n in ("name", "height", "width", "tokens")}), tmp_path / "flat.parquet"
    )
    table = pyarrow.Table.from_pylist(rows[:1])
    parquet.write_table(table.replace_schema_metadata({"radiolucent": "{"}), tmp_path / "about.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:-30])
    for name, message in {
        "few": "no column height, width, tokens",
        "no": "no Parquet file",
        "cut": "no Parquet file, or a damaged one",
        "flat": "the column tokens is of int64",
        "about": "its metadata 'radiolucent' are damaged",
    }.items():
        with pytest.raises(ValueError, match=message):
            decode(tmp_path / f"{name}.parquet", vqgan, tmp_path / "e")
    assert encode(radiographs, vqgan, tmp_path / "t") == 0
    other = VQGAN(channels=32, channel_multipliers=(1, 2), residual_blocks=1, resolution=16, codebook_size=32)
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="another VQ-GAN"):
        decode(tmp_path / "t" / "tokens-00000.parquet", tmp_path / "other", tmp_path / "e")
