"""Bad inputs are refused with the list."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.inputs import alike, match, negatives, opposite, read_set
from radiographs import write_radiograph
from radiographs.folders import BadInputs, images_in


def write(path, pixels=None):
    write_radiograph(path, np.zeros((8, 8), np.float32) if pixels is None else pixels, 8)


def test_match_lists_every_missing_unreadable_and_differing_image(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path / "truth" / f"{name}.png")
    write(tmp_path / "pred" / "a.png")
    write(tmp_path / "pred" / "b.png", np.zeros((8, 9), np.float32))
    write(tmp_path / "pred" / "d.png")
    (tmp_path / "pred" / "c.png").write_bytes(b"not a picture")
    with pytest.raises(BadInputs) as refused:
        match({"truth": tmp_path / "truth", "pred": tmp_path / "pred"})
    text = "\n".join(refused.value.problems)
    assert len(refused.value.problems) == 3
    assert "d: not in" in text and "b: sizes differ (truth 8x8, pred 8x9)" in text and "c.png" in text


def test_csv_with_chexgenbench_names(tmp_path):
    for name in ("x.png", "y.png"):
        write(tmp_path / "images" / name)
    (tmp_path / "p.csv").write_text("annotated_prompt,img_savename\nclear lungs,x.png\nedema,y.png\n")
    found = read_set(tmp_path / "p.csv", tmp_path / "images")
    assert found.names == ["x.png", "y.png"] and found.prompts == ["clear lungs", "edema"]
    with pytest.raises(ValueError, match="no column 'view'"):
        found.column("view")


def test_csv_and_folder_that_disagree_are_refused_with_the_list(tmp_path):
    write(tmp_path / "images" / "x.png")
    write(tmp_path / "images" / "extra.png")
    (tmp_path / "p.csv").write_text("prompt,img_savename\na,x.png\nb,x.png\nc,gone.png\n")
    with pytest.raises(BadInputs) as refused:
        read_set(tmp_path / "p.csv", tmp_path / "images")
    text = "\n".join(refused.value.problems)
    assert "x.png: named in 2 rows" in text and "gone.png: no such file" in text and "extra.png: no row" in text


def test_empty_folder_and_missing_source(tmp_path):
    with pytest.raises(ValueError, match="no images"):
        images_in(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder or CSV"):
        read_set(tmp_path / "nowhere")


def test_strips_of_suppress_are_no_results(tmp_path):
    for name in ("a.png", "strips/a.png", "b/strips/c.png"):
        write_radiograph(tmp_path / name, np.zeros((8, 8), np.float32))
    assert set(images_in(tmp_path)) == {"a", "b/strips/c"}


def test_a_linked_folder_is_not_left_out_without_a_word(tmp_path):
    write(tmp_path / "elsewhere/b.png")
    write(tmp_path / "set/a.png")
    (tmp_path / "set/c.png").symlink_to(tmp_path / "elsewhere/b.png")
    assert list(images_in(tmp_path / "set")) == ["a", "c"]
    (tmp_path / "set/more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(BadInputs, match="more: a linked folder"):
        images_in(tmp_path / "set")


def test_negatives_are_found_whatever_their_share():
    random = np.random.default_rng(0)
    chest = np.hypot(*np.mgrid[-1:1:32j, -1:1:32j])
    images = chest + 0.2 * random.normal(size=(20, 32, 32))
    assert negatives(images).size == 0
    turned = images.copy()
    turned[[3, 7, 11]] *= -1
    assert negatives(turned).tolist() == [3, 7, 11]
    turned[:9] = -images[:9]
    turned[9:] = images[9:]
    assert negatives(turned).tolist() == list(range(9))
    assert negatives(random.normal(size=(20, 32, 32))).size == 0
    assert opposite(images[0], -images[1]) and not opposite(images[0], images[1])


def test_pictures_beside_the_results_of_suppress_are_no_results(tmp_path):
    for name in ("a.png", "strips/a.png", "selftest/a.png", "deep/selftest.png"):
        write_radiograph(tmp_path / name, np.zeros((8, 8), np.float32), 8)
    assert list(images_in(tmp_path)) == ["a", "deep/selftest"]


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ((512, 512), (1024, 1024), True),
        ((2022, 2022), (1024, 1024), True),
        ((512, 427), (3000, 2501), True),  # rounded to a pixel of the smaller one
        ((512, 512), (1024, 1000), False),
        ((427, 512), (2501, 3000), True),
        ((427, 512), (3000, 2501), False),
    ],
)
def test_sizes_of_one_aspect(a, b, same):
    assert alike(a, b) is same and alike(b, a) is same
