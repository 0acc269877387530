"""Pairs in both layouts, and everything that is wrong with a folder, listed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from radiographs import Pair, find_pairs, write_radiograph
from radiographs.pairs import read_list, select


def write(path: Path, shape: tuple[int, int] = (5, 7)) -> None:
    write_radiograph(path, np.zeros(shape, np.float32), 8)


def test_pairs_are_matched_by_name_in_order(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        write(tmp_path / "x" / name)
    write(tmp_path / "y" / "a.tif")
    write(tmp_path / "y" / "b.png")
    (tmp_path / "x" / "notes.txt").write_text("not an image")
    assert find_pairs(tmp_path / "x", tmp_path / "y") == [
        Pair("a.png", tmp_path / "x" / "a.png", tmp_path / "y" / "a.tif"),
        Pair("b.png", tmp_path / "x" / "b.png", tmp_path / "y" / "b.png"),
    ]


def test_everything_bad_is_listed(tmp_path: Path) -> None:
    for name in ("lone.png", "odd.png", "broken.png", "good.png"):
        write(tmp_path / "CXR" / name)
    for name in ("other.png", "broken.png", "good.png"):
        write(tmp_path / "BS" / name)
    write(tmp_path / "BS" / "odd.png", (6, 7))
    (tmp_path / "BS" / "broken.png").write_bytes(b"\x89PNG")
    write(tmp_path / "BS" / "cut.png")
    whole = (tmp_path / "BS" / "cut.png").read_bytes()
    (tmp_path / "CXR" / "cut.png").write_bytes(whole[: whole.index(b"IDAT") + 6])
    with pytest.raises(ValueError, match="5 bad") as error:
        find_pairs(tmp_path / "CXR", tmp_path / "BS")
    message = str(error.value)
    assert "lone.png: no partner" in message and "other.png: no partner" in message
    assert "odd.png: 5x7 pixels, its partner 6x7" in message
    assert "broken.png: neither PNG" in message and "good.png" not in message
    assert "CXR/cut.png: a PNG file that is damaged" in message


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_pairs(tmp_path / "CXR", tmp_path)
    (tmp_path / "CXR").mkdir()
    with pytest.raises(ValueError, match="no images"):
        find_pairs(tmp_path / "CXR", tmp_path / "CXR")


def test_a_list_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "train_set.txt").write_bytes(b"\xef\xbb\xbf1.png\r\n0.png\tsomething\n\n")
    names = read_list(tmp_path / "train_set.txt")
    assert names == ["1.png", "0.png"]
    pairs = [Pair(f"{i}.png", tmp_path, tmp_path) for i in range(3)]
    assert [pair.name for pair in select(pairs, names, "list")] == ["1.png", "0.png"]
    with pytest.raises(ValueError, match=r"2 bad: 7\.png: no such pair; 0\.png: named more than once"):
        select(pairs, ["0.png", "0.png", "7.png"], "list")
