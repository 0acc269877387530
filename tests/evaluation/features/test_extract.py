"""Features by networks made here: TorchScript and Hugging Face; transforms, cache, bad files; radiomics; labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from evaluation.distributions.radiomics import radiomics, radiomics_distance
from evaluation.features.extract import TRANSFORMS, Extractor, Reading, Transform, _batch, as_features, extract
from evaluation.features.labels import accuracy_by_class, has_labels, load_classifier, read_labels
from evaluation.features.networks import load_extractor
from evaluation.inputs import ImageSet, check_pair, check_set, check_splits, read_set
from radiographs import read_radiograph, write_radiograph
from radiographs.folders import BadInputs


class Moments(nn.Module):
    """Mean and standard deviation of each channel."""

    def forward(self, x):
        return torch.cat([x.mean(dim=(2, 3)), x.std(dim=(2, 3))], dim=1)


@pytest.fixture
def images(tmp_path):
    random = np.random.default_rng(0)
    ramp = np.linspace(-1, 1, 40, dtype=np.float32)[None].repeat(40, 0)
    for i in range(6):
        pixels = (0.5 * ramp + i / 10 + random.normal(0, 0.05, ramp.shape)).clip(-1, 1)
        write_radiograph(tmp_path / "set" / f"{i}.png", pixels.astype(np.float32), 16)
    return read_set(tmp_path / "set")


@pytest.fixture
def script(tmp_path):
    torch.jit.script(Moments()).save(str(tmp_path / "moments.pt"))
    return str(tmp_path / "moments.pt")


def test_transform_states_what_it_does():
    black, white = np.full((50, 30), -1, np.float32), np.ones((50, 30), np.float32)
    assert torch.allclose(TRANSFORMS["torchxrayvision"](black), torch.full((1, 224, 224), -1024.0))
    assert torch.allclose(TRANSFORMS["torchxrayvision"](white), torch.full((1, 224, 224), 1024.0))
    expected = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(TRANSFORMS["imagenet"](white)[:, 0, 0], expected)


def test_torchscript_features_are_the_networks_own(images, script):
    extractor = load_extractor(script, "unit", size=40)
    found = extract(images, extractor, Reading(batch_size=4))
    assert found.features.shape == (6, 6)
    means = found.features[:, 0]
    assert np.allclose(np.diff(means), 0.05, atol=0.01)  # 0.1 of the range of 2
    assert (found.sizes == 40).all()


def test_cache_is_found_again_and_depends_on_the_files(images, script, tmp_path):
    extractor = load_extractor(script, "unit", size=40)
    first = extract(images, extractor, Reading(cache=tmp_path / "cache"))
    broken = Extractor(
        extractor.name, nn.Identity(), extractor.transform, extractor.digest
    )  # would give other features
    assert np.array_equal(extract(images, broken, Reading(cache=tmp_path / "cache")).features, first.features)
    write_radiograph(next(iter(images.paths.values())), np.ones((40, 40), np.float32), 16)
    changed = extract(images, extractor, Reading(cache=tmp_path / "cache")).features
    assert changed[0, 0] == pytest.approx(1) and np.array_equal(changed[1:], first.features[1:])


def test_chunks_and_workers_change_nothing(images, script, tmp_path, monkeypatch):
    extractor = load_extractor(script, "unit", size=40)
    expected = extract(images, extractor).features
    monkeypatch.setattr("evaluation.features.extract.CHUNK", 4)
    seen = []
    reading = Reading(3, workers=2, cache=tmp_path / "cache", progress=lambda *state: seen.append(state))
    assert np.allclose(extract(images, extractor, reading, "all").features, expected, atol=1e-6)
    assert seen == [("all", 3, 6), ("all", 4, 6), ("all", 6, 6)]
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_workers_hand_over_few_large_arrays(images):
    pixels = [read_radiograph(path).pixels for path in images.paths.values()]
    for name, handed in (("unit", 1), ("imagenet", 3)):
        transform = Transform(**{**vars(TRANSFORMS[name]), "size": 40})
        batch = _batch([(transform(p), p[:32, :32], p.shape) for p in pixels])
        assert batch.images.shape == (6, handed, 40, 40)
        seen = batch.images.expand(-1, batch.channels, -1, -1) if batch.channels else batch.images
        assert torch.equal(seen, torch.stack([transform(p) for p in pixels]))
    assert _batch([(transform(pixels[0]), pixels[0], (40, 40)), "x.png: damaged"]).problems == ["x.png: damaged"]


def test_many_batches_and_workers_end(images, script):
    paths = {f"{i}": path for i in range(600) for path in [list(images.paths.values())[i % 6]]}
    many = ImageSet("many", paths)
    found = extract(many, load_extractor(script, "unit", size=16), Reading(batch_size=2, workers=3)).features
    assert found.shape == (600, 6) and np.array_equal(found[:6], found[594:])


def test_inception_by_weights_with_its_classes(tmp_path, images, monkeypatch):
    fidelity = pytest.importorskip("torch_fidelity", reason="torch-fidelity is not installed (extra: evaluation)")
    weights = tmp_path / "inception.pth"
    torch.save({}, weights)
    with monkeypatch.context() as patched:  # the real weights are not at hand: random ones under the same names
        patched.setattr(nn.Module, "load_state_dict", lambda self, state: None)
        names = ["2048", "logits_unbiased"]
        network = fidelity.FeatureExtractorInceptionV3("i", names, feature_extractor_weights_path=str(weights))
    torch.save(network.state_dict(), weights)
    extractor = load_extractor(f"inception:{weights}")
    found = extract(ImageSet("two", dict(list(images.paths.items())[:2])), extractor).features
    levels = [read_radiograph(path).pixels for path in list(images.paths.values())[:2]]
    batch = torch.stack([extractor.transform(p) for p in levels]).round().to(torch.uint8)
    with torch.no_grad():
        pooled, logits = network(batch)
    assert np.allclose(found, pooled, rtol=1e-4, atol=1e-5)
    assert np.allclose(found @ extractor.head.numpy().T, logits, rtol=1e-3, atol=1e-4)


def test_unreadable_files_are_refused_with_the_list(images, script):
    for name in ("1", "4"):
        images.paths[name].write_bytes(images.paths[name].read_bytes()[:200])
    with pytest.raises(BadInputs) as refused:
        extract(images, load_extractor(script, "unit", size=40))
    assert len(refused.value.problems) == 2 and "1.png" in refused.value.problems[0]


def test_mixed_sizes_negatives_and_shared_files_are_refused(images):
    sizes = np.full((6, 2), 40)
    sizes[2] = 48
    ramp = np.linspace(-1, 1, 32)[None].repeat(32, 0)
    thumbnails = np.stack([ramp] * 6)
    with pytest.raises(BadInputs, match="1 bad: 2: 48x48 pixels where most have 40x40"):
        check_set(images, thumbnails, sizes)
    check_set(images, thumbnails, sizes, accept=["sizes"])
    turned = thumbnails.copy()
    turned[5] *= -1
    with pytest.raises(BadInputs, match="1 bad: 5: a negative"):
        check_set(images, turned, sizes, accept=["sizes"])
    with pytest.raises(ValueError, match="looks like a negative"):
        check_pair(images, thumbnails, images, -thumbnails)
    with pytest.raises(BadInputs, match=r"6 bad: 0: in .* too"):
        check_pair(images, thumbnails, images, thumbnails)


def test_an_image_in_two_splits_is_refused_whatever_its_name(images, tmp_path):
    write_radiograph(tmp_path / "b" / "new.png", np.zeros((40, 40), np.float32), 16)
    (tmp_path / "b" / "renamed.png").write_bytes(images.paths["4"].read_bytes())
    other = read_set(tmp_path / "b")
    extractor = Extractor("mean", nn.AdaptiveAvgPool2d(1), TRANSFORMS["unit"], "m")
    found = [extract(part, extractor).thumbnails for part in (images, other)]
    with pytest.raises(BadInputs, match="1 bad: renamed: the same image as 4 in"):
        check_splits(images, found[0], other, found[1])
    check_splits(images, found[0], images, found[0] + 0.1)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda d: ("nowhere.pt", "unit"), "no such TorchScript file"),
        (lambda d: (d / "noise.pt", "unit"), "is no TorchScript file"),
        (lambda d: (d / "moments.pt", None), "with --transform"),
        (lambda d: (d / "moments.pt", "xray"), "--transform xray: choose one of"),
        (lambda d: ("inception:nowhere.pth", None), "no such file of weights"),
    ],
)
def test_bad_extractors(make, says, script, tmp_path):
    (tmp_path / "noise.pt").write_bytes(b"noise")
    source, transform = make(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=says):
        load_extractor(str(source), transform)


def test_hugging_face_model_brings_its_own_input(images, tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra: evaluation)")
    torch.manual_seed(0)
    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    model = transformers.Dinov2Model(config).eval()
    model.save_pretrained(tmp_path / "model")
    processor = transformers.BitImageProcessor(
        size={"shortest_edge": 28},
        crop_size={"height": 28, "width": 28},
        image_mean=[0.5307] * 3,
        image_std=[0.2583] * 3,
    )
    processor.save_pretrained(tmp_path / "model")
    extractor = load_extractor(str(tmp_path / "model"))
    assert extractor.transform == Transform(28, mean=(0.5307,) * 3, std=(0.2583,) * 3)
    found = extract(images, extractor).features
    pixels = np.linspace(-1, 1, 28, dtype=np.float32)[None].repeat(28, 0)
    with torch.no_grad():
        expected = model(extractor.transform(pixels)[None]).pooler_output
        assert torch.allclose(as_features(extractor.network(extractor.transform(pixels)[None])), expected)
    assert found.shape == (6, 16)


def test_a_classifiers_folder_gives_its_class_token_not_a_random_pooling(images, tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra: evaluation)")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=28, patch_size=14
    )
    classifier = transformers.ViTForImageClassification(config).eval()  # it has no pooling layer
    classifier.save_pretrained(tmp_path / "model")
    transformers.ViTImageProcessor(size={"height": 28, "width": 28}).save_pretrained(tmp_path / "model")
    extractor = load_extractor(str(tmp_path / "model"))
    pixels = extractor.transform(np.linspace(-1, 1, 28, dtype=np.float32)[None].repeat(28, 0))[None]
    with torch.no_grad():
        expected = classifier.vit(pixels).last_hidden_state[:, 0]
        assert torch.allclose(as_features(extractor.network(pixels)), expected, atol=1e-6)
    weights = tmp_path / "model" / "model.safetensors"
    tensors = load_file(weights)
    lost = next(name for name in tensors if "layer" in name)
    save_file({name: tensor for name, tensor in tensors.items() if name != lost}, weights, {"format": "pt"})
    with pytest.raises(ValueError, match="1 weights of its ViTModel are missing, such as"):
        load_extractor(str(tmp_path / "model"))


def test_radiomics_tells_texture_from_tone():
    random = np.random.default_rng(0)

    def noise(k):
        return (0.1 * random.normal(size=(256 // k, 256 // k))).repeat(k, 0).repeat(k, 1)

    fine, again, coarse = (np.stack([radiomics(noise(k)) for _ in range(12)]) for k in (1, 1, 4))
    assert fine.shape == (12, 66) and np.isfinite(radiomics(np.zeros((64, 64)))).all()
    assert radiomics_distance(fine, coarse) > 10 * radiomics_distance(fine, again)


def test_labels_from_dicts_and_columns(tmp_path):
    for name in "ab":
        write_radiograph(tmp_path / f"{name}.png", np.zeros((8, 8), np.float32), 8)
    (tmp_path / "x.csv").write_text(
        "filename,Edema,labels_dict\na.png,1.0,\"{'Edema': 0, 'Fracture': nan}\"\nb.png,-1,\"{'Fracture': 1.0}\"\n"
    )
    images = read_set(tmp_path / "x.csv")
    labels = read_labels(images, ["Edema", "Fracture"])
    assert np.array_equal(labels, [[1, np.nan], [np.nan, 1]], equal_nan=True)
    assert read_labels(images, ["Fracture"], missing="negative").tolist() == [[0], [1]]
    (tmp_path / "y.csv").write_text("filename,Edema\na.png,maybe\nb.png,1\n")
    with pytest.raises(ValueError, match=r"y\.csv line 2: label 'maybe' of Edema"):
        read_labels(read_set(tmp_path / "y.csv"), ["Edema"])
    with pytest.raises(ValueError, match="no column 'Fracture'"):
        read_labels(read_set(tmp_path / "y.csv"), ["Fracture"])


def test_whether_there_are_labels(tmp_path):
    write_radiograph(tmp_path / "a.png", np.zeros((8, 8), np.float32), 8)
    for table, expected in (("filename,Edema\na.png,1\n", False), ("filename,labels_dict\na.png,{}\n", True)):
        (tmp_path / "t.csv").write_text(table)
        assert has_labels(read_set(tmp_path / "t.csv"), ["Edema", "Fracture"]) is expected
    assert has_labels(read_set(tmp_path / "t.csv"), [])


def test_classifier_and_accuracy(script):
    with pytest.raises(ValueError, match=r"gives \(1, 6\) for one image where 2 classes"):
        load_classifier(script, "unit", ["PA", "AP"])
    right, confusion = accuracy_by_class(["PA", "AP", "AP"], np.array([[2, 1], [0, 1], [3, 1]]), ["PA", "AP"])
    assert right.tolist() == [True, True, False] and confusion.tolist() == [[1, 0], [1, 1]]
    with pytest.raises(ValueError, match="classes LL that the classifier"):
        accuracy_by_class(["LL"], np.zeros((1, 2)), ["PA", "AP"])
