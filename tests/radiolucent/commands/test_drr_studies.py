"""`radiolucent drr` with findings, priors and currents, structures, looks, physics and orbits."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest

from drr import ConeBeam, project, sample_ct, separate_bone
from drr.anatomy.structures import locations
from drr.anatomy.tissue import isolate_body
from drr.appearance.detector import decode_lines, detector_response
from drr.findings.comparison import CHANGE_WORDS
from drr.geometry import body_box
from drr.io.read import LPS_FROM_RAS
from radiographs import read_radiograph, to_levels
from radiolucent.cli import dispatch
from radiolucent.rendering.exposures import decode_difference
from radiolucent.rendering.masks import decode_mask

SIZE = 96
PLAN = """
seed: 11
studies: 2
findings:
  - {kind: pleural effusion, place: left, volume_ml: 700, changes: [grown]}
  - {kind: nodule, place: right upper lobe, diameter_mm: 30, changes: [unchanged]}
  - {kind: consolidation, place: left upper lobe, lobe_fraction: 0.6, changes: [resolved]}
"""


def drr(*words: object) -> int:
    return dispatch(["drr", *map(str, words), "--size", str(SIZE), "--backend", "cpu"])


def levels(path: Path) -> np.ndarray:
    return to_levels(read_radiograph(path).pixels, 16)


def truths(out: Path) -> dict[str, dict]:
    return {
        path.relative_to(out / "truth").as_posix(): json.loads(path.read_text())
        for path in out.rglob("truth/**/*.json")
    }


def contents(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file() and p.suffix != ".jsonl"}


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "findings.yaml"
    path.write_text(PLAN)
    return path


@pytest.fixture(scope="module")
def pairs(plan, tmp_path_factory) -> Path:
    """Two pairs of studies of the sample CT, PA and LL."""
    out = tmp_path_factory.mktemp("pairs") / "out"
    words = ["sample", "--view", "PA", "--view", "LL", "--materials", "total", "--findings", plan, "--prior-current"]
    exports = [w for name in ("radvlm", "libra", "mlrg", "llava", "coco") for w in ("--export", name)]
    assert drr(*words, *exports, "--contact-sheet", 2, "--out", out) == 0
    return out


def test_the_files_of_pairs_and_their_truth(pairs):
    found = truths(pairs)
    assert set(found) == {
        f"sample/s000{n}_{time}/{view}.json" for n in (0, 1) for time in ("prior", "current") for view in ("PA", "LL")
    }
    now = found["sample/s0000_current/PA.json"]
    assert {row["kind"]: row["change"] for row in now["findings"]} == {
        "nodule": "unchanged", "consolidation": "resolved", "pleural effusion": "grown",
    }  # fmt: skip
    by_kind = {row["kind"]: row for row in now["findings"]}
    assert by_kind["pleural effusion"]["size"]["volume_ml"] == 700
    assert 300 < by_kind["pleural effusion"]["prior_size"]["volume_ml"] < 520
    assert by_kind["consolidation"]["box"] is None and by_kind["consolidation"]["prior_box"] is not None
    assert by_kind["pleural effusion"]["locations"][0].startswith("left")
    assert by_kind["nodule"]["locations"] and all(name.startswith("right") for name in by_kind["nodule"]["locations"])
    assert now["labels"]["Pleural Effusion"] == 1 and now["labels"]["Consolidation"] is None
    for row in now["findings"]:
        assert row["change_phrase"] in now["comparison"]["findings"]
        words = [w.split("{")[0] for w in CHANGE_WORDS[row["change"]]]
        assert row["change_phrase"].startswith(tuple(word for word in words if word))
        if row["box"] is not None:
            mask = decode_mask(row["mask"])
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            assert row["box"] == [columns[0], rows[0], columns[-1], rows[-1]]
    # the patient's left is on the viewer's right, and the effusion at the bottom
    left, _, _, bottom = by_kind["pleural effusion"]["box"]
    assert left > 0.4 * SIZE and bottom > 0.6 * SIZE
    assert by_kind["nodule"]["box"][2] < 0.55 * SIZE
    assert "left" not in found["sample/s0000_current/LL.json"]["comparison"]["findings"].lower()


def test_the_difference_is_what_changed_and_nothing_else(pairs):
    now = truths(pairs)["sample/s0000_current/PA.json"]
    by_kind = {row["kind"]: row for row in now["findings"]}
    lines = decode_difference(levels(pairs / now["difference"]["lines"]), "lines")
    picture = decode_difference(levels(pairs / now["difference"]["picture"]), "picture")
    fluid = decode_mask(by_kind["pleural effusion"]["mask"])
    left, top, right, bottom = by_kind["consolidation"]["prior_box"]
    gone = np.zeros_like(fluid)
    gone[top : bottom + 1, left : right + 1] = True
    assert lines[fluid & ~gone].max() > 0.3 and lines[gone].min() < -0.2
    outside = ~fluid & ~gone
    outside[:, 1:] &= ~fluid[:, :-1]
    assert np.abs(lines[outside]).max() < 0.06 and np.median(np.abs(lines[outside])) == 0
    assert np.sign(picture[np.abs(lines) > 0.1]).tolist() == np.sign(lines[np.abs(lines) > 0.1]).tolist()
    box = by_kind["nodule"]["box"]  # it did not change
    assert not lines[box[1] : box[3] + 1, box[0] : box[2] + 1].any()


def test_two_poses_of_one_body(pairs):
    rows = {row["file"]: row for row in pq.read_table(pairs / "manifest.parquet").to_pylist()}
    prior, now = (rows[f"images/sample/s0000_{time}/PA.png"] for time in ("prior", "current"))
    shift = np.linalg.norm(np.subtract(prior["source"], now["source"]))
    assert 5 < shift < 300
    assert now["labels"]["Pleural Effusion"] == 1 and now["labels"]["Edema"] is None
    assert now["report"]["findings"] and now["volume"] == "sample/s0000"


def test_the_same_again_more_studies_and_another_seed(pairs, plan, tmp_path):
    words = ["sample", "--view", "PA", "--view", "LL", "--materials", "total", "--prior-current"]
    more = tmp_path / "more.yaml"
    more.write_text(PLAN.replace("studies: 2", "studies: 1"))
    out = tmp_path / "again"
    assert drr(*words, "--findings", more, "--out", out) == 0
    again = contents(out)
    for name, content in again.items():
        if name.startswith(("images", "truth", "difference")):
            assert (pairs / name).read_bytes() == content, name
    more.write_text(PLAN)
    before = (out / "images/sample/s0000_current/PA.png").stat().st_mtime_ns
    assert drr(*words, "--findings", more, "--out", out) == 0  # the number of studies can grow in one folder
    assert (out / "images/sample/s0000_current/PA.png").stat().st_mtime_ns == before
    assert (out / "images/sample/s0001_current/PA.png").is_file()
    with pytest.raises(ValueError, match=r"other settings|made with"):
        drr(*words, "--findings", more, "--out", out, "--seed", 5)


def test_exports_of_the_batch(pairs):
    folder = pairs / "exports"
    assert sorted(path.name for path in folder.iterdir()) == [
        "coco.json", "libra.json", "llava.json", "mlrg.json", "radvlm.json",
    ]  # fmt: skip
    libra = json.loads((folder / "libra.json").read_text())
    assert len(libra) == 4 and all((pairs / image).is_file() for cell in libra for image in cell["image"])
    radvlm = json.loads((folder / "radvlm.json").read_text())
    assert {cell["task"] for cell in radvlm} == {"report", "labels", "abnormality", "phrase"}
    assert read_radiograph_size(pairs / "contact_sheet.png")[1] > 3 * 380
    from torchvision.datasets import CocoDetection  # reads with pycocotools

    coco = pytest.importorskip("pycocotools", reason="pip install pycocotools") and CocoDetection(
        str(pairs), str(folder / "coco.json")
    )
    image, found = coco[0]
    assert image.size == (SIZE, SIZE) and found


def read_radiograph_size(path: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as picture:
        return picture.size[1], picture.size[0]


def test_nothing_changed_and_the_same_pose_give_no_difference(tmp_path):
    path = tmp_path / "same.yaml"
    path.write_text("pose: {turn_degrees: 0}\nfindings:\n  - {kind: pneumothorax, changes: [unchanged]}\n")
    out = tmp_path / "out"
    words = ["sample", "--findings", path, "--prior-current", "--physics", "typical", "--look", "random"]
    assert drr(*words, "--out", out) == 0
    for part in ("lines", "picture"):
        assert (levels(out / f"difference/sample/s0000_current/PA_{part}.png") == 32768).all()
    prior, now = (levels(out / f"images/sample/s0000_{time}/PA.png") for time in ("prior", "current"))
    assert (prior != now).any()  # other quanta, another look


def test_structures_and_the_scene_graph(tmp_path):
    out = tmp_path / "out"
    assert drr("sample", "--structures", "--materials", "total", "--export", "imagenome", "--out", out) == 0
    (truth,) = truths(out).values()
    volume = sample_ct()
    assert set(truth["locations"]) == set(locations(volume))
    assert {"heart", "rib_left_5", "lung_upper_lobe_right"} <= set(truth["structures"])
    heart, right = truth["structures"]["heart"]["box"], truth["locations"]["right lung"]["box"]
    assert right[0] < heart[0] < heart[2] and decode_mask(truth["structures"]["heart"]["mask"]).sum() > 100
    assert truth["report"]["findings"] == "No finding was added to the underlying examination."
    (graph,) = (json.loads(path.read_text()) for path in out.rglob("*_SceneGraph.json"))
    assert {thing["bbox_name"] for thing in graph["objects"]} == set(truth["locations"])


def test_a_ct_without_a_label_map_is_skipped_and_one_with_it_is_done(plan, tmp_path):
    volume = sample_ct()
    hu, labels, affine = volume.hu[::2, ::2, ::2], volume.labels[::2, ::2, ::2], volume.affine.copy()
    affine[:3, :3] *= 2
    for folder, name, array in (("in", "a", hu), ("in", "b", hu), ("maps", "a", labels)):
        (tmp_path / folder).mkdir(exist_ok=True)
        image = nibabel.Nifti1Image(np.ascontiguousarray(array.T), LPS_FROM_RAS @ affine)
        image.to_filename(tmp_path / folder / f"{name}.nii.gz")
    out = tmp_path / "out"
    words = [tmp_path / "in", "--findings", plan, "--materials", "total", "--out", out]
    assert drr(*words, "--label-maps", tmp_path / "maps") == 1
    with open(out / "errors.csv", newline="") as file:
        (error,) = csv.DictReader(file)
    assert error["input"] == "b/s0000" and "no label map" in error["reason"] and "b.nii.gz" in error["reason"]
    assert sorted(path.name for path in (out / "images/a").iterdir()) == ["s0000", "s0001"]
    with pytest.raises(FileNotFoundError, match="no such folder"):
        drr(*words, "--label-maps", tmp_path / "none")


def test_lobes_and_heart_of_a_ct_without_a_label_map_are_inferred_on_request(tmp_path):
    volume = sample_ct()
    image = nibabel.Nifti1Image(np.ascontiguousarray(volume.hu.T), LPS_FROM_RAS @ volume.affine)
    image.to_filename(tmp_path / "unlabelled.nii.gz")
    (tmp_path / "plan.yaml").write_text(
        "seed: 3\nstudies: 1\nfindings:\n  - {kind: consolidation, place: right lower lobe, lobe_fraction: 0.8}\n"
    )
    words = ["--findings", tmp_path / "plan.yaml", "--materials", "total", "--out", tmp_path / "out"]
    assert drr(tmp_path / "unlabelled.nii.gz", *words, "--label-maps", "infer") == 0
    (truth,) = truths(tmp_path / "out").values()
    (finding,) = truth["findings"]
    filled = decode_mask(finding["mask"])
    assert filled.sum() > 200 and finding["place"] == "right lower lobe"
    assert np.argwhere(filled)[:, 1].mean() < SIZE / 2 < np.argwhere(filled)[:, 0].mean()  # on the left, below
    record = (tmp_path / "out/manifest.jsonl").read_text()
    assert "Lobes and heart were inferred" in record and "label map inferred" in record


def test_looks_orbits_and_obliques_of_a_ct_as_it_is(tmp_path):
    volume = separate_bone(isolate_body(sample_ct()))
    beam = ConeBeam.preset("PA", volume, (SIZE, SIZE), box=body_box(volume))
    for look in ("film", "dark-bones", "equalised", "raw", "random"):
        assert drr("sample", "--look", look, "--orbit", 0, "--orbit", -30, "--out", tmp_path / look) == 0
    film, dark, raw, even = (
        read_radiograph(tmp_path / look / "PA/sample_total.png").pixels
        for look in ("film", "dark-bones", "raw", "equalised")
    )
    total = project(volume, [beam], materials=("total",), backend="cpu")[0, 0].numpy()
    np.testing.assert_allclose(film, detector_response(total), atol=2e-2)
    np.testing.assert_allclose(dark, -film, atol=1e-4)
    np.testing.assert_allclose(decode_lines(to_levels(raw, 16)), total.clip(0), atol=0.02)
    body = total > 0.5
    assert np.histogram(even[body], 10, (even[body].min(), 1))[0].min() > 0.05 * body.sum()  # flat
    parts = [decode_lines(levels(tmp_path / f"raw/PA/sample_{m}.png")) for m in ("total", "bone", "soft")]
    np.testing.assert_allclose(parts[0], parts[1] + parts[2], atol=0.02)  # fatty marrow below 0 is not stored
    turned = project(volume, [beam.orbit(-30)], materials=("total",), backend="cpu")[0, 0].numpy()
    seen = decode_lines(levels(tmp_path / "raw/PA-30/sample_total.png"))
    assert np.abs(seen - turned).mean() < 0.01 and np.abs(seen - total).mean() > 0.3
    assert drr("sample", "--oblique", "--materials", "total", "--out", tmp_path / "oblique") == 0
    assert sorted(path.name for path in (tmp_path / "oblique").iterdir() if path.is_dir()) == ["LAO", "PA", "RAO"]


def test_physics_of_a_ct_as_it_is(tmp_path):
    plain, noisy, again = (tmp_path / name for name in ("plain", "noisy", "again"))
    assert drr("sample", "--look", "raw", "--out", plain) == 0
    for out in (noisy, again):
        words = ["sample", "--look", "raw", "--physics", "scatter=1", "--physics", "photons=1000", "--out", out]
        assert drr(*words) == 0
    clean, dirty = (decode_lines(levels(out / "PA/sample_total.png")) for out in (plain, noisy))
    thick = clean > 4
    assert (dirty[thick] < clean[thick]).mean() > 0.9  # scatter brightens the shadow
    assert contents(noisy)["PA/sample_total.png"] == contents(again)["PA/sample_total.png"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--physics", "kvp"], "--physics kvp: give typical, random, or NAME=NUMBER"),
        (["--physics", "voltage=3"], "NAME=NUMBER with one of energy_kev"),
        (["--physics", "scatter=much"], "'much' is no number"),
        (["--physics", "scatter=-1"], "must not be negative"),
        (["--look", "raw", "--levels", "lines"], "give one of them"),
        (["--orbit", "400"], "angles lie between"),
        (["--orbit", "10", "--orbit", "10"], "each only once"),
        (["--view", "XX"], "the standard preset has the views PA"),
        (["--prior-current"], "--prior-current needs --findings"),
        (["--export", "coco"], "--export is for studies"),
        (["--label-maps", "x"], "--label-maps is for studies"),
        (["--structures", "--export", "libra"], "give --prior-current"),
        (["--structures", "--labels", "x.csv"], "leave them out"),
        (["--structures", "--contact-sheet", "-1"], "give the number of studies"),
        (["--seed", "-2"], "--seed -2"),
        (["--findings", "none.yaml"], "there is no such file of findings"),
    ],
)
def test_what_cannot_be(words, said, tmp_path):
    with pytest.raises((ValueError, OSError)) as error:
        drr("sample", *words, "--out", tmp_path / "out")
    assert said in str(error.value)
