"""ReportDataModule: splits by patient, other views of a study, batches."""

from __future__ import annotations

import csv
import dataclasses
import shutil

import numpy as np
import pytest

from lightning_modules.data.reports import ReportDataModule
from radiographs import write_radiograph


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """30 patients with a study of three views each; an image's grey level tells patient and view."""
    folder = tmp_path_factory.mktemp("reports")
    with open(folder / "reports.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "report", "view", "patient", "study", "age", "sex"])
        for patient in range(30):
            for place, view in enumerate(("PA", "LL", "AP")):
                image = np.full((12, 20), (3 * patient + place) / 100, np.float32)
                image[:, :4] = 1
                write_radiograph(folder / f"{patient}_{view}.png", image)
                table.writerow([f"{patient}_{view}.png", f"Report {patient}.", view, f"p{patient}", patient, 40, "F"])
    return folder


def data(root, **options) -> ReportDataModule:
    settings = {"image_size": 8, "batch_size": 5, "validation_fraction": 0.2, "test_fraction": 0.2}
    settings["table"] = str(root / "reports.csv")
    return ReportDataModule(str(root), **{**settings, **options})


def test_no_patient_is_in_two_splits(root):
    module = data(root)
    assert module.trained_views is None  # not read yet
    module.setup()
    assert module.trained_views == ["PA", "AP", "LL"]
    patients = [{image.patient for image in module.splits[split]} for split in ("train", "validation", "test")]
    assert sum(map(len, patients)) == 30 == len(set.union(*patients))
    assert min(map(len, patients)) >= 2
    assert sum(len(images) for images in module.splits.values()) == 90


def test_batches_hold_what_belongs_together(root):
    batch = next(iter(data(root, other_views=3).train_dataloader()))
    assert batch["radiograph"].shape == (5, 1, 8, 8)
    for i, (name, view) in enumerate(zip(batch["name"], batch["view"])):
        patient = int(name.split("_")[0])
        grey = (3 * patient + ("PA", "LL", "AP").index(view)) / 100
        assert batch["radiograph"][i].mean().item() == pytest.approx(grey, abs=1e-3)
        assert batch["report"][i] == f"Report {patient}."
        assert batch["demographics"][i] == {"age": 40.0, "sex": "F"}
        others = batch["image_views"][i]
        assert others[2] is None and {view, *others[:2]} == {"PA", "LL", "AP"}
        assert (batch["images"][i, 2] == -1).all()
        for k, other in enumerate(others[:2]):
            assert batch["image_names"][i][k] == f"{patient}_{other}.png"
            grey = (3 * patient + ("PA", "LL", "AP").index(other)) / 100
            assert batch["images"][i, k].mean().item() == pytest.approx(grey, abs=1e-3)


def test_boxes_become_maps_of_the_framed_picture(root, tmp_path):
    """Pictures are 12 x 20; a box over their left 4 columns is cut off by the middle square and kept by padding."""
    with open(root / "reports.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    table = tmp_path / "boxes.csv"
    with open(table, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "report", "view", "boxes"])
        for row in rows:
            writer.writerow([row["image"], "", "PA", "nodule 0 0 0.2 1; pneumothorax 0.2 0 0.5 0.5"])
    crop = next(iter(data(root, table=str(table), region_size=4).train_dataloader()))["regions"][0]
    assert crop.shape == (5, 4, 4) and not crop[0].any()
    np.testing.assert_allclose(crop[3], np.outer([1, 1, 0, 0], [1, 1, 0, 0]))
    pad = next(iter(data(root, table=str(table), region_size=10, framing="pad").train_dataloader()))["regions"][0]
    np.testing.assert_allclose(
        pad[0], np.outer([0, 0, 1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]), atol=1e-6
    )
    assert "regions" not in next(iter(data(root).train_dataloader()))
    table.write_text("image,report,view,boxes\n0_PA.png,,PA,nodule 0.5 0 0.2 1\n")
    with pytest.raises(ValueError, match=r"boxes.csv line 2: the box of the nodule is 0.5 0 0.2 1"):
        data(root, table=str(table)).setup()


def test_a_prior_comes_first_and_the_report_says_what_changed(root, tmp_path):
    """Every PA is the prior of its patient's AP, in a study of its own; the LL has none."""
    with open(root / "reports.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    table = tmp_path / "priors.csv"
    with open(table, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "report", "view", "patient", "study", "prior_image", "comparison"])
        for row in rows:
            prior = row["image"].replace("AP", "PA") if row["view"] == "AP" else ""
            study = f"{row['study']}{'a' if row['view'] == 'PA' else 'b'}"
            writer.writerow([row["image"], "Now.", row["view"], row["patient"], study, prior, prior and "Larger."])
    batch = next(iter(data(root, table=str(table), other_views=2, priors=True, batch_size=54).train_dataloader()))
    for name, report, others, views, priors in zip(
        *(batch[key] for key in ("name", "report", "image_names", "image_views", "image_priors"))
    ):
        patient, view = name.removesuffix(".png").split("_")
        expected = {"PA": [None, None], "LL": [f"{patient}_AP.png", None]}
        assert others == expected.get(view, [f"{patient}_PA.png", f"{patient}_LL.png"])
        assert priors == [view == "AP", False] and report == ("Now. Larger." if view == "AP" else "Now.")
        assert views[0] == {"PA": None, "LL": "AP", "AP": "PA"}[view]
    plain = next(iter(data(root, table=str(table), other_views=1).train_dataloader()))
    assert "image_priors" not in plain and set(plain["report"]) == {"Now."}
    with pytest.raises(ValueError, match="make it 1 or more"):
        data(root, table=str(table), priors=True)
    table.write_text("image,report,view,patient,prior_image\n0_PA.png,,PA,a,1_PA.png\n1_PA.png,,PA,b,\n")
    with pytest.raises(ValueError, match=r"the prior of 0_PA\.png, 1_PA\.png, is of another patient"):
        data(root, table=str(table)).setup()


def test_padding_keeps_what_the_crop_cuts(root):
    cropped, padded = (next(iter(data(root, framing=framing).test_dataloader())) for framing in ("crop", "pad"))
    assert (cropped["radiograph"] < 0.99).all()
    assert (padded["radiograph"] == -1).any() and (padded["radiograph"] > 0.99).any()


def test_order_depends_on_seed_and_epoch_alone(root):
    def names(module, epoch):
        loader = module.train_dataloader()
        loader.sampler.set_epoch(epoch)
        return [name for batch in loader for name in batch["name"]]

    assert names(data(root), 1) == names(data(root), 1)
    assert names(data(root), 1) != names(data(root), 2)


def test_given_splits_are_taken_and_checked(root, tmp_path):
    rows = list(csv.DictReader((root / "reports.csv").open()))
    for overlapping in (False, True):
        with open(tmp_path / "t.csv", "w", newline="") as file:
            table = csv.DictWriter(file, [*rows[0], "split"])
            table.writeheader()
            for i, row in enumerate(rows):
                number = i if overlapping else int(row["study"])
                table.writerow({**row, "split": "test" if number % 2 else "train"})
        module = ReportDataModule(str(root), str(tmp_path / "t.csv"), image_size=8)
        if overlapping:
            with pytest.raises(ValueError, match="30 patients are in more than one split: p0"):
                module.setup()
        else:
            module.setup()
            assert {split: len(images) for split, images in module.splits.items()} == {
                "train": 45,
                "validation": 0,
                "test": 45,
            }
            assert module.val_dataloader() == []


OFFICIAL = ["train"] * 6 + ["val"] * 3 + ["test"] * 3


def split_table(root, tmp_path, words) -> ReportDataModule:
    rows = "".join(f"{i}_PA.png,PA,report,p{i},{word}\n" for i, word in enumerate(words))
    (tmp_path / "t.csv").write_text("image,view,report,patient,split\n" + rows)
    return data(root, table=str(tmp_path / "t.csv"))


@pytest.mark.parametrize("validation", ["val", "valid", "validate", "validation", "dev", "VAL"])
def test_every_word_for_a_split_is_known(root, tmp_path, validation):
    module = split_table(root, tmp_path, [word.replace("val", validation) for word in OFFICIAL])
    module.setup()
    found = {split: sorted(int(image.patient[1:]) for image in images) for split, images in module.splits.items()}
    assert found == {"train": [0, 1, 2, 3, 4, 5], "validation": [6, 7, 8], "test": [9, 10, 11]}


@pytest.mark.parametrize("word", ["", "holdout", "0"])
def test_a_split_that_is_not_known_is_refused_with_its_line(root, tmp_path, word):
    with pytest.raises(ValueError, match=rf"t\.csv line 4: the split is '{word}'; expected one of train"):
        split_table(root, tmp_path, ["train", "train", word, "test"]).setup()


def test_a_data_set_of_which_a_part_has_a_split_is_not_dealt_anew(root, tmp_path):
    module = split_table(root, tmp_path, OFFICIAL)
    images = {image.name: image for image in module._read().images}
    images["0_PA.png"] = dataclasses.replace(images["0_PA.png"], split=None)
    with pytest.raises(ValueError, match=r"1 of 12 images have no split, such as 0_PA\.png"):
        module._split(images, {name: image.patient for name, image in images.items()})


def test_images_that_cannot_be_read_are_found_before_the_first_step(root, tmp_path, caplog):
    for name in ("0_PA.png", "1_PA.png", "2_PA.png"):
        shutil.copy(root / name, tmp_path / name)
    (tmp_path / "1_PA.png").write_bytes(b"nothing")
    whole = (root / "2_PA.png").read_bytes()
    (tmp_path / "2_PA.png").write_bytes(whole[: whole.index(b"IDAT") + 20])
    (tmp_path / "t.csv").write_text("image,report,view\n" + "".join(f"{i}_PA.png,a,PA\n" for i in range(3)))
    options = {"validation_fraction": 0, "test_fraction": 0, "table": str(tmp_path / "t.csv")}
    module = data(tmp_path, **options)
    module.setup()
    assert [image.name for image in module.splits["train"]] == ["0_PA.png"]
    assert "2 x the image cannot be read (such as" in caplog.text and "1_PA.png" in caplog.text


def test_a_table_in_another_encoding(root, tmp_path):
    (tmp_path / "t.csv").write_bytes("image,report,view\n0_PA.png,Sa\u011f akci\u011fer,PA\n".encode("iso8859-9"))
    options = {"table": str(tmp_path / "t.csv"), "validation_fraction": 0, "test_fraction": 0}
    with pytest.raises(ValueError, match=r"t\.csv line 2: the byte 0xf0 is not UTF-8"):
        data(root, **options).setup()
    module = data(root, table_encoding="iso8859-9", **options)
    module.setup()
    assert module.splits["train"][0].report == "Sa\u011f akci\u011fer"


def test_bad_input_is_said(root, tmp_path):
    with pytest.raises(ValueError, match="the data set table needs `table`"):
        ReportDataModule(str(root))
    (tmp_path / "t.csv").write_text("image,report,view\nx.png,a,PA\n")
    missing = r"no image in .* to train on \(1 x the image file is missing \(such as .*x\.png\)\)"
    with pytest.raises(ValueError, match=missing):
        ReportDataModule(str(root), str(tmp_path / "t.csv")).setup()
    (tmp_path / "t.csv").write_text("image,report,view\n1_PA.png,a,PA\n1_PA.png,b,PA\n")
    with pytest.raises(ValueError, match=r"1 images of .* are listed twice"):
        ReportDataModule(str(root), str(tmp_path / "t.csv")).setup()


def test_the_old_name_of_the_manifests_reader_is_accepted_with_a_note(tmp_path, caplog):
    module = ReportDataModule(str(tmp_path), dataset="ct_rate")
    assert module.dataset == "manifest" and "ct_rate is now called manifest" in caplog.text
