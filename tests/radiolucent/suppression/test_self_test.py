"""The self-test with methods whose answer is known, and through the command line with a small, untrained pipeline."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from evaluation.nodules.implants import APART_MM, PITCH_MM, lattice
from radiographs import write_radiograph
from radiolucent.cli import dispatch
from radiolucent.suppression.self_test import CLASSES, DIAMETERS_MM, colour_of, self_test

SIDE, MM = 400, 1.0


@pytest.fixture(scope="module")
def chest() -> np.ndarray:
    """Dark lungs with texture in a bright body, dark air around it."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    pixels = np.where(np.abs(x) < 0.85, 0.4, -0.95)
    for side in (-0.4, 0.4):
        pixels[((x - side) / 0.28) ** 2 + (y / 0.7) ** 2 < 1] = -0.3
    texture = cv2.GaussianBlur(rng.normal(0, 1, pixels.shape), (0, 0), 3)
    return (pixels + 0.05 * texture / texture.std()).clip(-1, 1).astype(np.float32)


def test_doing_nothing_keeps_every_nodule_everywhere(chest: np.ndarray) -> None:
    test = self_test(lambda image: image, chest, MM)
    np.testing.assert_allclose([place.kept for place in test.places], 1, atol=1e-5)
    np.testing.assert_allclose([place.detectability for place in test.places], 1, atol=1e-5)
    assert {place.diameter_mm for place in test.places} == set(DIAMETERS_MM)
    assert all(test.lungs[round(place.row), round(place.column)] for place in test.places)
    places = {(place.row, place.column) for place in test.places}
    assert len(test.places) == len(places) * len(DIAMETERS_MM)
    assert len(places) == pytest.approx(test.lungs.sum() * MM**2 / PITCH_MM**2, rel=0.25)


def test_what_is_lost_is_found_where_it_is_lost(chest: np.ndarray) -> None:
    """A method that takes half of whatever is new in the left half, and all of it in the lower right quarter."""
    part = np.ones_like(chest)
    part[:, : SIDE // 2] = 0.5
    part[SIDE // 2 :, SIDE // 2 :] = 0
    test = self_test(lambda image: chest + part * (image - chest), chest, MM)
    for place in test.places:
        if min(abs(place.row - SIDE / 2), abs(place.column - SIDE / 2)) > 15:  # off the borders between the parts
            assert place.kept == pytest.approx(part[round(place.row), round(place.column)], abs=1e-3)
            assert place.after == pytest.approx(place.kept * place.before, rel=1e-3)
    figures = test.summary()["12 mm"]
    assert 0.2 < figures["kept"] < 0.7 and figures["at_90"] + figures["half_lost"] < 1


def test_it_asks_the_method_as_often_as_it_says_and_keeps_nodules_apart(chest: np.ndarray) -> None:
    seen: list[np.ndarray] = []

    def suppress(image: np.ndarray) -> np.ndarray:
        seen.append(image - chest)
        return image

    self_test(suppress, chest, MM, diameters_mm=(8.0,), plain=chest)
    assert len(seen) == 4
    for added in seen:
        _, _, _, centres = cv2.connectedComponentsWithStats((added > 1e-4).astype(np.uint8))
        gaps = [np.linalg.norm(a - b) for i, a in enumerate(centres[1:]) for b in centres[i + 2 :]]
        assert min(gaps) * MM > APART_MM
    assert (sum(seen) > 1e-4).sum() > 20


def test_the_map_shows_each_place_in_its_colour(chest: np.ndarray, tmp_path: Path) -> None:
    part = np.where(np.arange(SIDE) < SIDE // 2, 0.3, 1.0)[None].astype(np.float32)
    test = self_test(lambda image: chest + part * (image - chest), chest, MM)
    test.write_map(tmp_path / "map.png")
    picture = Image.open(tmp_path / "map.png")
    assert picture.text["Description"].startswith("Research use only")  # type: ignore[attr-defined]
    panel = np.asarray(picture)[26 : 26 + 640, :640].astype(int)
    for place in test.places[:6]:
        row, column = int((place.row + 0.5) * 640 / SIDE), int((place.column + 0.5) * 640 / SIDE)
        grey = (chest[round(place.row), round(place.column)] + 1) * 127.5
        expected = 0.45 * grey + 0.55 * np.array(colour_of(place.kept))
        np.testing.assert_allclose(panel[row, column], expected, atol=25)
    assert colour_of(0.3) == CLASSES[-1][1] != colour_of(1.0) and colour_of(0.9) == colour_of(1.19)
    assert colour_of(float("nan")) == CLASSES[-1][1]


def test_the_table_holds_every_place(chest: np.ndarray, tmp_path: Path) -> None:
    test = self_test(lambda image: 0.5 * image, chest, MM, diameters_mm=(12.0,))
    test.write_table(tmp_path / "t.csv")
    with open(tmp_path / "t.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(test.places) and float(rows[0]["mm"]) == 12
    assert float(rows[0]["kept"]) == pytest.approx(0.5, abs=1e-3)
    assert float(rows[0]["detectability_after"]) == pytest.approx(float(rows[0]["detectability_before"]), rel=1e-2)


def test_the_scale_is_guessed_only_where_none_is_given(chest: np.ndarray) -> None:
    given = self_test(lambda image: image, chest, MM, diameters_mm=(20.0,))
    guessed = self_test(lambda image: image, chest, diameters_mm=(20.0,))
    assert (given.assumed, guessed.assumed) == (False, True) and given.pixel_mm == MM
    assert guessed.pixel_mm == pytest.approx(240 / (1.4 / 2 * SIDE), rel=0.05)  # lungs as high as 1.4 of 2


def test_bad_input_is_refused(chest: np.ndarray) -> None:
    with pytest.raises(ValueError, match="lungs were expected"):
        self_test(lambda image: image, np.zeros((64, 64), np.float32), MM)
    with pytest.raises(ValueError, match="lengths above 0 mm"):
        self_test(lambda image: image, chest, 0.0)
    with pytest.raises(ValueError, match="lengths above 0 mm"):
        self_test(lambda image: image, chest, MM, diameters_mm=())
    speck = np.zeros(chest.shape, bool)
    assert len(lattice(np.pad(np.ones((2, 2), bool), 99), MM, 0.01, [8.0])) == 1  # a place in the middle of a speck
    with pytest.raises(ValueError, match="no place of a grid"):
        lattice(speck, MM, 0.01, [8.0])


def test_the_command_writes_map_table_and_summary_and_says_where_it_cannot(
    chest: np.ndarray, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_radiograph(tmp_path / "in" / "deep" / "chest.png", chest, 16)
    flat = np.tile(np.linspace(-0.5, 0.5, 64, dtype=np.float32), (64, 1))
    write_radiograph(tmp_path / "in" / "flat.png", flat, 16)
    out = tmp_path / "out"
    words = ["--checkpoint", str(checkpoint), "--steps", "1", "--device", "cpu", "--self-test", "--out", str(out)]
    assert dispatch(["suppress", str(tmp_path / "in"), *words]) == 0
    with open(out / "selftest" / "deep" / "chest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    kept = [float(row["kept"]) for row in rows]
    assert len(rows) > 60 and np.std(kept) > 1e-3  # an untrained network does something to each
    assert Image.open(out / "selftest" / "deep" / "chest.png").width == 3 * 640 + 8
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    records = [line for line in lines if "outputs" in line]
    found = {Path(record["outputs"][0]).stem: record for record in records}
    assert set(found["chest"]["outputs"]) == {"deep/chest.png", "selftest/deep/chest.png", "selftest/deep/chest.csv"}
    mine = [float(row["kept"]) for row in rows if row["mm"] == "12.0"]
    assert found["chest"]["self_test"]["12 mm"]["kept"] == pytest.approx(np.mean(mine), abs=2e-3)
    assert found["flat"]["outputs"] == ["flat.png"] and "self_test" not in found["flat"]
    assert "no self-test: no lungs were found" in capsys.readouterr().out
    written = (out / "selftest" / "deep" / "chest.csv").stat().st_mtime_ns
    assert dispatch(["suppress", str(tmp_path / "in"), *words]) == 0  # resumed: nothing is done again
    assert (out / "selftest" / "deep" / "chest.csv").stat().st_mtime_ns == written
    from evaluation.inputs import images_in

    assert set(images_in(out)) == {"deep/chest", "flat"}
