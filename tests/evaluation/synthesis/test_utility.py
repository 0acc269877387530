"""Training on images that show the label, and on images that show its opposite."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from safetensors.torch import save_file

from evaluation.features.extract import Reading
from evaluation.inputs import read_set
from evaluation.synthesis.utility import UtilityProtocol, build_network, evaluate_utility
from radiographs import write_radiograph

pytest.importorskip("timm", reason="timm is not installed (extra: evaluation)")

PROTOCOL = UtilityProtocol(
    ["Edema", "Fracture"], model="test_resnet", size=32, steps=40, learning_rate=3e-3, reading=Reading(batch_size=16)
)


def write_set(folder, count: int, seed: int, right: bool):
    """A bright blob on the left where Edema is 1, or where it is 0 if not right. No Fracture is known."""
    random = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        edema = int(random.integers(0, 2))
        pixels = np.linspace(-0.5, 0.5, 32, dtype=np.float32)[None].repeat(32, 0) + random.normal(0, 0.05, (32, 32))
        seen = edema if right else 1 - edema
        pixels[8:24, 4:14] += 0.8 * seen
        write_radiograph(folder / f"p{i}_{seed}.png", pixels.astype(np.float32).clip(-1, 1), 8)
        rows.append([f"p{i}_{seed}.png", edema, ""])
    with open(folder / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([["path", "Edema", "Fracture"], *rows])
    return read_set(folder / "labels.csv")


def test_what_a_set_teaches_shows_on_real_images(tmp_path):
    real = write_set(tmp_path / "real", 64, 0, right=True)
    wrong = write_set(tmp_path / "synthetic", 64, 1, right=False)
    test = write_set(tmp_path / "test", 60, 2, right=True)
    seen = []
    reading = Reading(batch_size=16, progress=lambda what, done, total: seen.append(what))
    protocol = UtilityProtocol(**{**vars(PROTOCOL), "reading": reading})
    report = evaluate_utility(real, wrong, test, protocol, {})
    table = report.tables[0]
    assert list(table.columns) == ["label", "positive", "real", "synthetic", "both"]
    trained, misled = table.rows[0][2], table.rows[0][3]
    assert trained.value > 0.95 and misled.value < 0.05
    assert np.isnan(table.rows[1][2].value)  # Fracture is unknown everywhere
    assert table.rows[2][2] == pytest.approx(trained.value)
    assert {"training on real", "training on both"} <= set(seen)


def test_weights_must_be_the_models_own(tmp_path):
    state = build_network(UtilityProtocol(["a", "b", "c"], model="test_resnet", seed=7)).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    network = build_network(UtilityProtocol(["a"], model="test_resnet", weights=str(tmp_path / "w.safetensors")))
    assert all(
        (tensor == state[name]).all()
        for name, tensor in network.state_dict().items()
        if "head" not in name and "fc" not in name
    )
    save_file({"conv1.weight": state[next(iter(state))].clone()}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="is it this model's"):
        build_network(UtilityProtocol(["a"], model="test_resnet", weights=str(tmp_path / "x.safetensors")))
    with pytest.raises(ValueError, match="--model no_such_model"):
        build_network(UtilityProtocol(["a"], model="no_such_model"))
