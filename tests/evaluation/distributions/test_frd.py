"""The Frechet Radiomic Distance against frd-score's own value, and what is said without pyradiomics."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest

from evaluation.distributions import frd
from evaluation.features.extract import extract
from evaluation.inputs import BadInputs, read_set
from radiographs import write_radiograph


def write_set(folder, seed: int, contrast: float, count: int = 6):
    for i in range(count):
        random = np.random.default_rng(100 * seed + i)
        grid = random.normal(0, contrast, (6, 6)).astype(np.float32)
        coarse = cv2.resize(grid, (48, 48), interpolation=cv2.INTER_CUBIC)
        pixels = coarse + random.normal(0, 0.02, coarse.shape)
        write_radiograph(folder / f"{i}.png", pixels.clip(-1, 1).astype(np.float32), 8)
    return read_set(folder)


def test_distance_of_shifted_features_in_closed_form():
    features = np.random.default_rng(0).normal(size=(200, 5)) * [1, 2, 3, 4, 0] + 7
    shifted = features + np.array([0.5, 1, 1.5, 2, 9])  # half a deviation each; the last is constant and left out
    deviations = np.array([0.5, 1, 1.5, 2]) / features[:, :4].std(axis=0)
    assert frd.frd(features, shifted) == pytest.approx(np.log((deviations**2).sum()))
    assert frd.frd(features, features) < -20


def test_features_tell_texture_and_do_not_depend_on_gain(tmp_path):
    pytest.importorskip("radiomics", reason="pyradiomics is not installed")
    real, again, other = (write_set(tmp_path / n, s, c) for n, s, c in (("a", 0, 0.2), ("b", 1, 0.2), ("c", 2, 0.05)))
    features = [extract(images, frd.EXTRACTOR).features for images in (real, again, other)]
    assert features[0].shape == (6, 398)  # 77 features of 5 images each, and 13 numeric diagnostics
    assert frd.frd(features[0], features[2]) > frd.frd(features[0], features[1]) + 1
    write_radiograph(tmp_path / "d" / "flat.png", np.zeros((48, 48), np.float32), 8)
    with pytest.raises(BadInputs, match=r"flat\.png: an image of one grey level"):
        extract(read_set(tmp_path / "d"), frd.EXTRACTOR)


def test_value_is_that_of_frd_score(tmp_path):
    pytest.importorskip("radiomics", reason="pyradiomics is not installed")
    package = pytest.importorskip("frd_score", reason="frd-score is not installed (it would replace OpenCV)")
    sets = [write_set(tmp_path / name, seed, 0.2 + 0.1 * seed) for seed, name in enumerate("ab")]
    ours = frd.frd(*(extract(images, frd.EXTRACTOR).features for images in sets))
    theirs = package.compute_frd([str(tmp_path / "a"), str(tmp_path / "b")], num_workers=1)
    assert ours == pytest.approx(theirs, abs=5e-3)  # its matrix root loses digits where images are few


def test_without_pyradiomics_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "radiomics", None)
    frd.load_pyradiomics.cache_clear()
    with pytest.raises(ValueError, match=r"FRD needs pyradiomics.*--no-build-isolation"):
        frd.radiomic_features(np.zeros((8, 8), np.float32))
    frd.load_pyradiomics.cache_clear()
