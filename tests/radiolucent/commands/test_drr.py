"""`radiolucent drr`: CT-RATE trees, plain volumes, bad files, killed and resumed runs."""

from __future__ import annotations

import csv
import gzip
import hashlib
import importlib.util
import os
import time
from pathlib import Path

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest

from drr import ConeBeam, isolate_body, project, read_ct, sample_ct, separate_bone
from drr.appearance.detector import decode_lines, detector_response
from drr.io.read import LPS_FROM_RAS
from radiographs import read_radiograph, to_levels
from radiolucent.cli import dispatch
from radiolucent.commands.drr import MATERIALS

SIZE = 48
ALL = ["total", "bone", "soft"]
IMPORTED = ("radiolucent.commands.drr", "jsonargparse", "numba", "pyarrow.parquet")  # what takes the command longest
METADATA = (
    "VolumeName,Manufacturer,PatientAge,RescaleSlope,RescaleIntercept,XYSpacing,ZSpacing,ImagePositionPatient,"
    "ImageOrientationPatient\n"
)


@pytest.fixture(scope="module")
def chest():
    """The sample CT on a 5 mm grid: hu (66, 72, 72) and its affine."""
    volume = sample_ct()
    affine = volume.affine.copy()
    affine[:3, :3] *= 2
    return volume.hu[:-1:2, ::2, ::2].copy(), affine


def save(path: Path, hu: np.ndarray, affine: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(np.ascontiguousarray(hu.T), LPS_FROM_RAS @ affine).to_filename(path)
    return path


def patients(folder: Path, chest, count: int) -> list[str]:
    """`count` volumes that differ a little."""
    hu, affine = chest
    noise = np.random.default_rng(0).integers(-9, 9, (count, *hu.shape), dtype=np.int16)
    return [str(save(folder / f"ct{i:02d}.nii.gz", hu + noise[i], affine)) for i in range(count)]


def drr(*words: object) -> int:
    return dispatch(["drr", *map(str, words), "--size", str(SIZE), "--backend", "cpu"])


def errors(out: Path) -> dict[str, str]:
    with open(out / "errors.csv", newline="") as file:
        return {row["input"]: row["reason"] for row in csv.DictReader(file)}


def contents(out: Path) -> dict[str, object]:
    """Every output's bytes; the lines of manifest.jsonl, which stand in the order of finishing, as a set."""
    files = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file() and p.suffix != ".jsonl"}
    return {**files, "manifest.jsonl": set((out / "manifest.jsonl").read_text().splitlines())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, chest):
    """Twelve volumes, and the folder of an unbroken run over them."""
    home = tmp_path_factory.mktemp("whole")
    inputs = patients(home / "in", chest, 12)
    assert drr(*inputs, "--materials", *ALL, "--out", home / "out") == 0
    return inputs, home / "out"


@pytest.fixture
def tree(tmp_path, chest):
    """A CT-RATE tree: train_1 of the first release, train_2 of the second, the same chest in both; and its tables."""
    hu, affine = chest
    home = tmp_path / "CT-RATE" / "dataset"
    first = home / "train/train_1/train_1_a/train_1_a_1.nii.gz"
    first.parent.mkdir(parents=True)
    nibabel.Nifti1Image((hu.T.astype(np.int32) + 8192).astype(np.uint16), np.eye(4)).to_filename(first)
    save(home / "train_fixed/train_2/train_2_a/train_2_a_1.nii.gz", hu, affine)
    save(home / "valid_fixed/valid_3/valid_3_b/valid_3_b_2.nii.gz", np.full((66, 72, 72), -1000, np.int16), affine)
    save(home / "valid_fixed/valid_4/valid_4_a/valid_4_a_1.nii.gz", hu, affine)
    row = f'Maker,061Y,1,-8192,"[5.0, 5.0]",5.0,"{affine[:3, 3].tolist()}","[1, 0, 0, 0, 1, 0]"\n'
    (tmp_path / "metadata.csv").write_text(METADATA + "".join(f"train_{i}_a_1.nii.gz,{row}" for i in (1, 2)))
    (tmp_path / "labels.csv").write_text("VolumeName,Cardiomegaly,Lung nodule\ntrain_2_a_1.nii.gz,1,0\n")
    (tmp_path / "reports.csv").write_text(
        "VolumeName,ClinicalInformation_EN,Technique_EN,Findings_EN,Impressions_EN\n"
        "train_2_a_1.nii.gz,Not given.,Non-contrast,Clear lungs.,Normal.\n"
    )
    (tmp_path / "no_chest.txt").write_text("valid/valid_4/valid_4_a/valid_4_a_1.nii.gz\n")
    return home


def test_ct_rate_tree(tree, tmp_path):
    out = tmp_path / "out"
    tables = [w for name in ("metadata", "labels", "reports") for w in (f"--{name}", tmp_path / f"{name}.csv")]
    words = [tree, "--view", "PA", "--view", "LL", "--materials", *ALL, "--out", out, *tables]
    assert drr(*words, "--no-chest", tmp_path / "no_chest.txt") == 1
    assert "neither release" in errors(out)["valid_3_b_2"]
    assert "lists this volume as one without a chest" in errors(out)["valid_4_a_1"]
    pictures = sorted(str(path.relative_to(out)) for path in out.rglob("*.png"))
    assert pictures == sorted(
        f"train/{view}{tail}/train_{i}/train_{i}_a/train_{i}_a_1.png"
        for i in (1, 2)
        for view in ("PA", "LL")
        for tail in ("", "_bone", "_soft")
    )
    for one, two in zip(pictures[::2], pictures[1::2]):  # both releases of one chest give one picture
        np.testing.assert_array_equal(read_radiograph(out / one).pixels, read_radiograph(out / two).pixels)
    rows = pq.read_table(out / "manifest.parquet").to_pylist()
    assert len(rows) == 12
    assert rows[0]["decision"].startswith("CT-RATE release 1: the header holds no geometry and the CSV's slope 1")
    assert (rows[0]["labels"], rows[0]["report"]) == (None, None)
    last = rows[-1]
    assert (last["ImageName"], last["view"], last["material"]) == ("train_2_a_1.png", "LL", "soft")
    assert last["file"] == "train/LL_soft/train_2/train_2_a/train_2_a_1.png"
    assert last["sha256"] == hashlib.sha256((out / last["file"]).read_bytes()).hexdigest()
    assert last["labels"] == {"Cardiomegaly": 1, "Lung nodule": 0}
    assert last["report"]["findings"] == "Clear lungs." and last["report"]["clinical_information"] is None
    assert last["decision"].startswith("CT-RATE release 2: the header holds geometry and the voxels are HU")
    assert last["notes"] == []
    assert b"061Y" not in (out / "manifest.parquet").read_bytes() + (out / "manifest.jsonl").read_bytes()


@pytest.mark.parametrize("levels", ["display", "lines"])
def test_pixels_are_the_line_integrals_by_one_law(chest, tmp_path, levels):
    path = save(tmp_path / "ct.nii.gz", *chest)
    assert drr(path, "--view", "LL", "--materials", *ALL, "--out", tmp_path / "out", "--levels", levels) == 0
    volume = separate_bone(isolate_body(read_ct(path)))
    beam = ConeBeam.preset("LL", volume, (SIZE, SIZE))
    lines = project(volume, [beam], materials=ALL, backend="cpu")[0].numpy()
    row = pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist()[0]
    np.testing.assert_allclose(
        [row[n] for n in ("source", "origin", "du", "dv")], [beam.source, beam.origin, beam.du, beam.dv]
    )
    for material, expected in zip(ALL, lines):
        pixels = read_radiograph(tmp_path / "out" / "LL" / f"ct_{material}.png").pixels
        if levels == "lines":
            np.testing.assert_allclose(decode_lines(to_levels(pixels, 16)), expected.clip(0), atol=1.3 / 8192)
        else:
            response = detector_response(expected * (8 if material == "bone" else 1))
            np.testing.assert_allclose(pixels, response.clip(-1, 1), atol=2 / 65535)


def test_sample_views_and_config(tmp_path):
    assert drr("sample", "--config", Path(__file__).parents[3] / "configs/drr/tiny.yaml", "--out", tmp_path) == 0
    rows = pq.read_table(tmp_path / "manifest.parquet").to_pylist()
    assert [(row["view"], row["material"]) for row in rows] == [(v, m) for v in ("PA", "LL") for m in ALL]
    image = read_radiograph(tmp_path / "PA" / "sample_total.png").pixels
    middle = image[SIZE // 2 : SIZE * 2 // 3]
    assert (
        middle[:, SIZE // 2 : SIZE * 3 // 4].mean() > middle[:, SIZE // 4 : SIZE // 2].mean() + 0.05
    )  # heart on the right


def bad_files(folder: Path, chest) -> None:
    """Two that can be handled (left, offset), and eight that cannot."""
    hu, affine = chest
    save(folder / "good.nii.gz", hu, affine)
    whole = (folder / "good.nii.gz").read_bytes()
    (folder / "truncated.nii.gz").write_bytes(whole[: len(whole) // 2])
    header = bytearray(gzip.decompress(whole))
    header[42:44] = (144).to_bytes(2, "little")  # dim[1]
    (folder / "lying.nii.gz").write_bytes(gzip.compress(bytes(header)))
    holes = hu.astype(np.float32)
    holes[30, 30, 30] = np.nan
    save(folder / "nan.nii.gz", holes, affine)
    flat = bytearray(gzip.decompress(whole))
    flat[88:92] = flat[80:84] = bytes(4)  # pixdim[1], pixdim[3]
    flat[252:256] = bytes(4)  # no code for either affine
    (folder / "flat.nii.gz").write_bytes(gzip.compress(bytes(flat)))
    mirrored = affine @ np.diag([-1.0, 1, 1, 1])
    mirrored[:3, 3] += affine[:3, 0] * (hu.shape[2] - 1)
    save(folder / "left.nii.gz", hu[:, :, ::-1], mirrored)
    offset = nibabel.Nifti1Image((hu.T.astype(np.int32) + 1024).astype(np.uint16), LPS_FROM_RAS @ affine)
    offset.header.set_slope_inter(1, -1024)
    offset.to_filename(folder / "offset.nii.gz")
    scaled = bytearray(gzip.decompress((folder / "offset.nii.gz").read_bytes()))
    scaled[112:120] = np.array([1, -1024], "<f4").tobytes()  # nibabel writes the slope only when it scales itself
    (folder / "offset.nii.gz").write_bytes(gzip.compress(bytes(scaled)))
    save(folder / "slices.nii.gz", hu[30:33], affine)
    save(folder / "air.nii.gz", np.full_like(hu, -1000), affine)
    nibabel.Nifti1Image(np.zeros((9, 9), np.int16), np.eye(4)).to_filename(folder / "flat2d.nii.gz")
    (folder / "text.nii").write_text("not a CT")


def test_bad_files_are_skipped_and_the_rest_goes_on(chest, tmp_path, capsys):
    bad_files(tmp_path / "in", chest)
    out = tmp_path / "out"
    assert drr(tmp_path / "in", "--out", out) == 1
    assert "skipped lying: " in capsys.readouterr().out
    reasons = errors(out)
    says = {
        "truncated": "truncated",
        "lying": "its header promises",
        "nan": "NaN",
        "flat": "spacing",
        "slices": "not enough chest: 0.",
        "air": "not enough chest: 0.00 litres",
        "flat2d": "3-D",
        "text": "not a NIfTI",
    }
    assert set(reasons) == set(says)
    for name, words in says.items():
        assert words in reasons[name] and "\n" not in reasons[name], (name, reasons[name])
    done = {name: read_radiograph(out / "PA" / f"{name}_total.png").pixels for name in ("good", "left", "offset")}
    assert len(list(out.rglob("*.png"))) == 3 * len(MATERIALS)
    np.testing.assert_allclose(done["left"], done["good"], atol=1e-4)
    np.testing.assert_array_equal(done["offset"], done["good"])
    assert drr(tmp_path / "in" / "good.nii.gz", "--out", out) == 0


def rows_of(out: Path) -> dict[str, dict]:
    return {row["volume"]: row for row in pq.read_table(out / "manifest.parquet").to_pylist()}


def test_labels_and_reports_of_earlier_runs_stay(tree, tmp_path, chest, capsys):
    """train with its tables, then valid with its own, into one folder; then a corrected label."""
    out, valid = tmp_path / "out", tmp_path / "valid.csv"
    hu, affine = chest
    save(tmp_path / "more/valid_4_a_1.nii.gz", hu, affine)
    valid.write_text("VolumeName,Cardiomegaly,Emphysema\nvalid_4_a_1.nii.gz,0,1\n")
    tables = [word for name in ("labels", "reports") for word in (f"--{name}", tmp_path / f"{name}.csv")]
    total = ("--materials", "total", "--out", out)
    assert drr(tree / "train_fixed", *total, *tables) == 0
    assert drr(tmp_path / "more", *total, "--labels", valid) == 0
    train = {"Cardiomegaly": 1, "Lung nodule": 0, "Emphysema": None}
    rows = rows_of(out)
    assert rows["train_2_a_1"]["labels"] == train and rows["train_2_a_1"]["report"]["findings"] == "Clear lungs."
    assert rows["valid_4_a_1"]["labels"] == {"Cardiomegaly": 0, "Lung nodule": None, "Emphysema": 1}
    made = (out / rows["train_2_a_1"]["file"]).stat().st_mtime_ns
    (tmp_path / "labels.csv").write_text("VolumeName,Cardiomegaly\ntrain_2_a_1.nii.gz,0\n")
    assert drr(tmp_path / "more", *total, "--labels", tmp_path / "labels.csv") == 0
    assert "--labels: none of the 1 volumes stands in it, such as valid_4_a_1" in capsys.readouterr().out
    rows = rows_of(out)
    assert rows["train_2_a_1"]["labels"]["Cardiomegaly"] == 0 and rows["valid_4_a_1"]["labels"]["Emphysema"] == 1
    assert (out / rows["train_2_a_1"]["file"]).stat().st_mtime_ns == made


def test_another_ct_of_the_same_name_is_refused_and_a_changed_one_done_again(chest, tmp_path):
    hu, affine = chest
    denser = np.where(hu > 0, hu + 99, hu).astype(np.int16)
    first, second = (save(tmp_path / name / "ct.nii.gz", one, affine) for name, one in (("a", hu), ("b", denser)))
    out, total = tmp_path / "out", ("--materials", "total")
    assert drr(first, *total, "--out", out) == 0
    before = (out / "PA/ct_total.png").read_bytes()
    with pytest.raises(ValueError, match=r"PA/ct_total\.png is there and is the result of another file of that name"):
        drr(second, *total, "--out", out)
    assert (out / "PA/ct_total.png").read_bytes() == before
    save(first, denser, affine)
    assert drr(first, *total, "--out", out) == 0
    assert (out / "PA/ct_total.png").read_bytes() != before
    first.write_bytes(b"broken")
    assert drr(first, *total, "--out", out) == 1  # the image of an earlier state stands for nothing
    assert rows_of(out) == {}


def test_other_metadata_or_voxels_beside_the_header_are_another_input(tree, chest, tmp_path):
    import SimpleITK as sitk

    out, total = tmp_path / "out", ("--materials", "total")
    words = (tree / "train", *total, "--metadata", tmp_path / "metadata.csv")
    assert drr(*words, "--out", out) == 0
    before = (out / "train/PA/train_1/train_1_a/train_1_a_1.png").read_bytes()
    table = (tmp_path / "metadata.csv").read_text()
    (tmp_path / "metadata.csv").write_text(table.replace('"[5.0, 5.0]"', '"[5.5, 5.5]"'))
    assert drr(*words, "--out", out) == 0
    assert (out / "train/PA/train_1/train_1_a/train_1_a_1.png").read_bytes() != before
    made = (out / "train/PA/train_1/train_1_a/train_1_a_1.png").stat().st_mtime_ns
    assert drr(tree / "train", *total, "--out", out) == 0  # the table need not be given again
    assert (out / "train/PA/train_1/train_1_a/train_1_a_1.png").stat().st_mtime_ns == made
    (tmp_path / "no_chest.txt").write_text("train_1_a_1.nii.gz\n")
    assert drr(tree / "train", *total, "--out", out, "--no-chest", tmp_path / "no_chest.txt") == 1
    assert rows_of(out) == {}
    image = sitk.GetImageFromArray(chest[0])
    image.SetSpacing((5.0, 5.0, 5.0))
    sitk.WriteImage(image, str(tmp_path / "detached.mhd"))
    assert drr(tmp_path / "detached.mhd", *total, "--out", tmp_path / "itk") == 0
    before = (tmp_path / "itk/PA/detached_total.png").read_bytes()
    (tmp_path / "detached.raw").write_bytes(np.where(chest[0] > 0, chest[0] + 99, chest[0]).astype("<i2").tobytes())
    assert drr(tmp_path / "detached.mhd", *total, "--out", tmp_path / "itk") == 0
    assert (tmp_path / "itk/PA/detached_total.png").read_bytes() != before


def test_a_name_that_is_no_utf_8_does_not_end_the_batch(chest, tmp_path):
    good = save(tmp_path / "good.nii.gz", *chest)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/b\xe4d.nii.gz")
    Path(odd).write_bytes(good.read_bytes())
    assert drr(odd, good, "--materials", "total", "--out", tmp_path / "out") == 1
    assert errors(tmp_path / "out") == {
        "b\\udce4d": "the file's name is not UTF-8 text, as the manifest's table must be: rename the file"
    }
    assert list(rows_of(tmp_path / "out")) == ["good"]


def test_phantoms_on_request(chest, tmp_path):
    path = save(tmp_path / "block.nii.gz", np.pad(np.zeros((20, 20, 20), np.int16), 9, constant_values=-1000), chest[1])
    assert drr(path, "--out", tmp_path / "a") == 1
    assert drr(path, "--out", tmp_path / "b", "--require-chest", "false") == 0


def test_dicom_folder_leaves_no_identity(chest, tmp_path):
    import pydicom
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    hu, affine = chest
    folder = tmp_path / "series"
    folder.mkdir()
    study, series = generate_uid(), generate_uid()
    for k, plane in enumerate(hu):
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality = study, series, "CT"
        data.PatientName, data.PatientID, data.PatientBirthDate = "Doe^Jane", "ID-4711", "19600102"
        data.Rows, data.Columns = plane.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.RescaleSlope, data.RescaleIntercept = 1, 0
        data.PixelSpacing, data.SliceThickness, data.InstanceNumber = [5, 5], 5, k + 1
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient = [*affine[:2, 3].tolist(), float(affine[2, 3] + 5 * k)]
        data.PixelData = plane.tobytes()
        data.save_as(folder / f"{k:03d}.dcm", enforce_file_format=True)
    assert drr(folder, "--out", tmp_path / "out") == 0
    assert drr(save(tmp_path / "same.nii.gz", hu, affine), "--out", tmp_path / "out") == 0
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    for identity in (b"Doe", b"ID-4711", b"19600102", study.encode(), series.encode()):
        assert identity not in written
    pixels = [read_radiograph(tmp_path / f"out/PA/{name}_total.png").pixels for name in ("series", "same")]
    np.testing.assert_allclose(*pixels, atol=1e-4)


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_and_run_again_gives_the_same_bytes(whole, tmp_path, workers, start_command):
    inputs, unbroken = whole
    out = tmp_path / "broken"
    words = [*inputs, "--materials", *ALL, "--out", str(out)]
    command = ["drr", *words, "--size", str(SIZE), "--backend", "cpu", "--workers", str(workers)]
    process = start_command(command, *IMPORTED)
    deadline = time.monotonic() + 100
    while len(list(out.rglob("*_total.png"))) < 3 and time.monotonic() < deadline and process.is_alive():
        time.sleep(0.002)
    process.kill()
    process.join()
    finished = [line for line in (out / "manifest.jsonl").read_text().splitlines() if line.startswith('{"key"')]
    assert 0 < len(finished) < 12
    assert not (out / "manifest.parquet").exists()
    time.sleep(0.5)  # workers notice that their parent is gone
    assert drr(*words) == 0
    assert contents(out) == contents(unbroken)
    assert len(pq.read_table(out / "manifest.parquet")) == 36


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the ray extra")
def test_a_killed_ray_workers_volume_is_done_again(whole, tmp_path, kill_a_ray_worker):
    inputs, unbroken = whole
    out = tmp_path / "ray"
    killed = kill_a_ray_worker(lambda: len(list(out.rglob("*_total.png"))) >= 2)
    assert drr(*inputs, "--materials", *ALL, "--out", out, "--executor", "ray", "--workers", "2") == 0
    assert killed
    assert contents(out) == contents(unbroken)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["missing.nii.gz"], "there is no such file or folder"),
        (["sample", "--view", "PA", "AP"], "repeat the option for a further view: --view AP"),
        (["--view", "PA", "AP", "--size", "64", "sample"], "takes one value each time: --option A --option B"),
        (["sample", "--view", "AXIAL"], "the standard preset has the views PA, AP, LATERAL, LL"),
        (["sample", "--preset", "drr-rate"], "the drr-rate preset has the views AP, LATERAL"),
        (["sample", "--view", "PA", "--view", "PA"], "each only once"),
        (["sample", "--metadata", "missing.csv"], "no such table"),
        (["sample", "--materials", "cartilage"], "cartilage"),
        (["a/ct.nii.gz", "b/ct.nii.gz"], "would both be written as ct"),
    ],
)
def test_bad_options_are_refused_before_the_work(tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        Path(folder).mkdir()
        (Path(folder) / "ct.nii.gz").touch()
    with pytest.raises((ValueError, OSError), match=says):
        drr(*words, "--out", "out")
    assert not Path("out").exists()
