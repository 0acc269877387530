"""Memorised and duplicated images are found, and fresh ones are not accused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from evaluation.features.extract import TRANSFORMS, Extractor, Reading, Transform
from evaluation.features.siamese import SiameseResNet, load_siamese
from evaluation.inputs import BadInputs, read_set
from evaluation.synthesis.privacy import PrivacyProtocol, evaluate_privacy
from radiographs import write_radiograph


def draw(seed: int) -> np.ndarray:
    """One 'patient': a smooth random field on a common ramp."""
    coarse = np.random.default_rng(seed).normal(0, 0.15, (8, 8))
    return (np.linspace(-0.5, 0.5, 32)[None] + coarse.repeat(4, 0).repeat(4, 1)).clip(-1, 1).astype(np.float32)


def write_set(folder, images):
    for name, pixels in images.items():
        write_radiograph(folder / f"{name}.png", pixels, 16)
    return read_set(folder)


@pytest.fixture
def reals(tmp_path):
    train = write_set(tmp_path / "train", {f"t{i}": draw(i) for i in range(30)})
    heldout = write_set(tmp_path / "heldout", {f"h{i}": draw(100 + i) for i in range(30)})
    return train, heldout


def test_copies_and_duplicates_are_named(tmp_path, reals):
    noise = np.random.default_rng(9).normal(0, 0.01, (32, 32)).astype(np.float32)
    images = {f"s{i:02d}": draw(200 + i) for i in range(16)}
    images |= {"copy1": (draw(3) + noise).clip(-1, 1), "copy2": (draw(11) - noise).clip(-1, 1), "twin": images["s05"]}
    report, offenders = evaluate_privacy(
        write_set(tmp_path / "synthetic", images), *reals, PrivacyProtocol(worst=4, reading=Reading(8)), {}
    )
    assert {(o.synthetic.stem, o.train.stem) for o in offenders[:2]} == {("copy1", "t3"), ("copy2", "t11")}
    assert max(o.ratio for o in offenders[:2]) < 0.1 < min(o.ratio for o in offenders[2:])
    assert offenders[0].distance == pytest.approx(0.01 / 2, rel=0.2)  # grey levels 0 to 1
    assert sorted(report.data["duplicates"]) == ["s05", "twin"]


def test_share_nearer_to_training_against_what_chance_gives(tmp_path, reals):
    fresh = write_set(tmp_path / "fresh", {f"s{i}": draw(300 + i) for i in range(40)})
    noise = np.random.default_rng(9).normal(0, 0.1, (40, 32, 32))
    near = write_set(
        tmp_path / "near", {f"s{i}": (draw(i % 30) + noise[i]).clip(-1, 1).astype(np.float32) for i in range(40)}
    )
    rows = {
        name: evaluate_privacy(images, *reals, PrivacyProtocol(), {})[0].tables[0].rows[0]
        for name, images in (("fresh", fresh), ("near", near))
    }
    assert rows["fresh"][5] == 0.5 and rows["fresh"][6] > 0.01
    assert rows["near"][4].value == 1 and rows["near"][6] < 1e-9 and rows["near"][3] < rows["fresh"][3]


def test_features_and_siamese_network(tmp_path, reals):
    class Siamese(nn.Module):
        def forward(self, a, b):
            return 5 - 100 * (a - b).abs().mean((1, 2, 3))  # "the same patient" under a difference of 0.05

    transform = Transform(32, channels=1)
    images = {"copy": draw(3), "fresh1": draw(400), "fresh2": draw(401)}
    protocol = PrivacyProtocol(
        features={"flat": Extractor("flat", nn.Flatten(), transform, "f")},
        siamese=Extractor("siamese", Siamese(), transform, "s"),
        reading=Reading(2),
    )
    report, _ = evaluate_privacy(write_set(tmp_path / "synthetic", images), *reals, protocol, {})
    assert [row[0] for row in report.tables[0].rows] == ["pixels (RMS)", "flat"]
    scores = report.data["re-identification"]
    assert scores[0] == pytest.approx(1 / (1 + np.exp(-5))) and (scores[1:] < 0.5).all()


def test_without_heldout_images_it_says_what_is_missing(tmp_path, reals):
    report, offenders = evaluate_privacy(
        write_set(tmp_path / "synthetic", {"s": draw(3), "t": draw(500)}), reals[0], None, PrivacyProtocol(), {}
    )
    assert offenders[0].synthetic.stem == "s" and offenders[0].distance == 0 and offenders[0].heldout is None
    assert any("--heldout" in note for note in report.notes)


def test_a_training_image_among_the_synthetic_is_refused(reals):
    with pytest.raises(BadInputs, match="30 bad"):
        evaluate_privacy(reals[0], reals[0], reals[1], PrivacyProtocol(), {})


def test_siamese_network_of_another_shape():
    from evaluation.synthesis.privacy import reidentification

    class Wrong(nn.Module):
        def forward(self, a, b):
            return a.flatten(1)

    with pytest.raises(ValueError, match="expected one logit each"):
        reidentification(Wrong(), [(torch.zeros(1, 4, 4), torch.zeros(1, 4, 4))] * 2, "cpu")


def test_chexgenbenchs_checkpoint_and_what_is_none(tmp_path):
    torch.manual_seed(0)
    network = SiameseResNet().eval()
    torch.save(network.state_dict(), tmp_path / "reid.pth")
    loaded = load_siamese(str(tmp_path / "reid.pth"))
    assert loaded.transform == TRANSFORMS["unit"]  # the benchmark resizes to 224 and does not normalise
    a, b = torch.rand(2, 2, 3, 64, 64)
    with torch.no_grad():
        codes = [network.model(x).sigmoid() for x in (a, b)]
        expected = network.fc_end((codes[0] - codes[1]).abs())
        assert torch.equal(loaded.network(a, b), expected)
    torch.save({"fc_end.bias": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="neither TorchScript nor the tensors"):
        load_siamese(str(tmp_path / "other.pth"))
    (tmp_path / "text.pth").write_text("no tensors")
    with pytest.raises(ValueError, match="neither TorchScript nor the tensors"):
        load_siamese(str(tmp_path / "text.pth"))
    with pytest.raises(FileNotFoundError, match="no such TorchScript file"):
        load_siamese(str(tmp_path / "none.pth"))
