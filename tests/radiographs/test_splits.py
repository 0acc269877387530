"""Splits hold patients together, move nobody, and refuse overlap."""

from __future__ import annotations

from pathlib import Path

import pytest

from radiographs.splits import patients_from_csv, patients_from_names, refuse_overlap, split_by_patient

NAMES = [f"p{patient:04d}_{view}.png" for patient in range(2000) for view in range(3)]
FRACTIONS = {"train": 0.7, "validation": 0.2, "test": 0.1}


def test_patients_stay_together_in_about_the_fractions() -> None:
    patients = patients_from_names(NAMES, r"p(\d+)_")
    splits = split_by_patient(NAMES, patients, FRACTIONS, seed=3)
    assert sorted(name for names in splits.values() for name in names) == NAMES
    refuse_overlap(splits, patients)
    for split, fraction in FRACTIONS.items():
        assert len(splits[split]) / len(NAMES) == pytest.approx(fraction, abs=0.03)


def test_seeded_and_steady_when_patients_are_added() -> None:
    patients = patients_from_names(NAMES, r"p(\d+)_")
    first = split_by_patient(NAMES, patients, FRACTIONS, seed=3)
    assert first == split_by_patient(NAMES, patients, FRACTIONS, seed=3)
    assert first != split_by_patient(NAMES, patients, FRACTIONS, seed=4)
    fewer = split_by_patient(NAMES[:900], patients, FRACTIONS, seed=3)
    assert all(set(fewer[split]) <= set(first[split]) for split in FRACTIONS)


def test_overlap_is_refused_with_the_patients() -> None:
    patients = {"a1": "anna", "a2": "anna", "b1": "ben", "c1": "cem", "c2": "cem"}
    with pytest.raises(ValueError, match=r"2 patients .*: anna \(test, train\), cem \(test, train\)"):
        refuse_overlap({"train": ["a1", "b1", "c1"], "test": ["a2", "c2"]}, patients)
    refuse_overlap({"train": ["a1", "a2"], "test": ["c1", "c2"]}, patients)


def test_names_without_a_patient_are_listed() -> None:
    assert patients_from_names(["x_1.png"]) == {"x_1.png": "x_1"}
    assert patients_from_names(["x7_1.png"], r"x\d+") == {"x7_1.png": "x7"}
    with pytest.raises(ValueError, match=r"1 names .*: y\.png"):
        patients_from_names(["p1_0.png", "y.png"], r"p(\d+)_")
    with pytest.raises(ValueError, match="not a regular expression"):
        patients_from_names(["a"], "(")


def test_patients_from_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "patients.csv"
    path.write_text("file,id\na.png,7\nb.png,7\nc.png,8\n")
    assert patients_from_csv(["a.png", "b.png"], path, "file", "id") == {"a.png": "7", "b.png": "7"}
    with pytest.raises(ValueError, match=r"1 images: z\.png"):
        patients_from_csv(["a.png", "z.png"], path, "file", "id")
    with pytest.raises(ValueError, match="lacks the column patient; it has file, id"):
        patients_from_csv(["a.png"], path, "file", "patient")
    path.write_text("file,id\na.png,7\nb.png,8\na.png,9\n")
    with pytest.raises(ValueError, match=r"patients\.csv line 4: a\.png is of patient 9 here and of 7 before"):
        patients_from_csv(["a.png"], path, "file", "id")


@pytest.mark.parametrize("fractions", [{"a": 0.5, "b": 0.6}, {"a": 1.5, "b": -0.5}])
def test_fractions_are_checked(fractions: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        split_by_patient(["a"], {"a": "a"}, fractions)


def test_few_patients_leave_no_split_empty() -> None:
    names = [f"p{i}_0.png" for i in range(3)]
    for seed in range(20):
        splits = split_by_patient(names, patients_from_names(names), FRACTIONS, seed=seed)
        assert all(len(chosen) == 1 for chosen in splits.values())
    many = [*(f"a_{i}.png" for i in range(11)), "b_0.png"]  # 2% takes the patient of one image
    for seed in range(20):
        fractions = {"train": 0.98, "validation": 0.02}
        splits = split_by_patient(many, patients_from_names(many, r"^[ab]"), fractions, seed=seed)
        assert splits["validation"] == ["b_0.png"]
    with pytest.raises(ValueError, match="2 patients for 3 splits"):
        split_by_patient(names[:2], patients_from_names(names), FRACTIONS)
