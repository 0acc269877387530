"""Boxes and fields of the exports, from truths that are written down here."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest

from drr import ConeBeam, Finding, Volume
from drr.anatomy.structures import project_mask
from radiographs import write_radiograph
from radiographs.readers.table import read_table
from radiographs.regions import Region
from radiolucent.rendering.exports.coco import write_coco
from radiolucent.rendering.exports.common import unit_box
from radiolucent.rendering.exports.imagenome import scene_graph
from radiolucent.rendering.exports.libra import write_libra
from radiolucent.rendering.exports.llava import write_llava
from radiolucent.rendering.exports.mlrg import write_mlrg
from radiolucent.rendering.exports.radvlm import conversations, format_boxes, write_radvlm
from radiolucent.rendering.exports.registry import EXPORTS, refuse_unknown
from radiolucent.rendering.exports.table import write_table
from radiolucent.rendering.masks import encode_mask
from radiolucent.rendering.truth import finding_truth

SIZE = (100, 200)  # H, W
MASK = np.zeros(SIZE, bool)
MASK[20:40, 50:60] = True
SEEN = {"box": [50, 20, 59, 39], "mask": encode_mask(MASK)}


def finding(number: int, **more: object) -> dict[str, object]:
    about = {"kind": "nodule", "side": "right", "place": "right upper lobe", "locations": ["right upper lung zone"]}
    size = {"diameter_mm": 12.0, "hu": 40.0, "spiculation": 0.0}
    return {"number": number, **about, "size": size, **SEEN, "phrase": "There is a 12 mm nodule.", **more}


def picture(time: str, **more: object) -> dict[str, object]:
    said = {"technique": "PA", "comparison": "", "findings": "There is a 12 mm nodule.", "impression": "Nodule."}
    about = {"view": "PA", "orbit_degrees": 0.0, "size": list(SIZE), "ct": "ct1", "study": f"s0000_{time}"}
    return {
        "image": f"images/ct1/s0000_{time}/PA.png",
        **about,
        "time": time,
        "labels": {},
        "report": said,
        "findings": [finding(0)],
        "locations": {"right lung": SEEN, "right upper lung zone": SEEN},
        "structures": {"heart": SEEN},
        **more,
    }


PRIOR = picture("prior")
CURRENT = picture(
    "current",
    prior_image=PRIOR["image"],
    prior_study="s0000_prior",
    comparison={"comparison": "Prior PA.", "findings": "The nodule has increased.", "impression": ""},
    findings=[
        finding(0, change="grown", change_phrase="The nodule has increased.", prior_size={}, prior_box=[1, 2, 3, 4]),
        finding(
            1, change="resolved", change_phrase="Resolved.", kind="pneumothorax", size=None, box=None, mask=None,
            phrase=None, prior_size={"gap_mm": 20.0}, prior_box=[1, 2, 3, 4],
        ),
    ],
)  # fmt: skip


def written(write, tmp_path, *truths):
    write(lambda: iter(truths), tmp_path)
    (path,) = tmp_path.rglob("*.json")
    return json.loads(path.read_text())


def test_the_box_of_a_sphere_is_where_geometry_says():
    """A sphere of 20 mm, 30 mm to the left of and 40 mm above the beam's middle, 500 mm before the detector."""
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = (-60, -60, -60)
    places = np.stack(np.meshgrid(*(np.arange(121) - 60.0,) * 3, indexing="ij"), axis=-1)  # z, y, x in mm
    ball = np.linalg.norm(places - (40, 0, 30), axis=-1) <= 10
    volume = Volume(np.full((121,) * 3, -1000, np.int16), affine)
    beam = ConeBeam((0, 1000, 0), (-200, -500, 200), (2, 0, 0), (0, 0, -2), (201, 201))  # magnifies by 1.5
    found = Finding("nodule", "left", "left upper lobe", ball, {"diameter_mm": 20.0})
    truth = finding_truth(0, found, project_mask(volume, ball, beam), ["left lung"])
    left, top, right, bottom = truth["box"]
    # pixel c lies at x = 2 c - 200 on the detector: 30 mm and 40 mm, by 1.5, are 45 and 60 mm; the radius is 15 mm
    assert (left + right) / 2 == pytest.approx((45 + 200) / 2, abs=0.6)
    assert (top + bottom) / 2 == pytest.approx((200 - 60) / 2, abs=0.6)
    assert right - left + 1 == pytest.approx(15, abs=1.5) and bottom - top + 1 == pytest.approx(15, abs=1.5)
    assert truth["thickness_mm"] == pytest.approx(20, abs=1.5)


def test_conventions_of_boxes(tmp_path):
    assert unit_box([0, 0, 199, 99], SIZE) == [0, 0, 1, 1]
    assert unit_box([50, 20, 59, 39], SIZE) == [0.25, 0.2, 0.3, 0.4]
    assert format_boxes([[0.25, 0.2, 0.3, 0.4]]) == "[0.25, 0.20, 0.30, 0.40]"
    assert (
        format_boxes([[0, 0, 1, 1]] * 3)
        == "[0.00, 0.00, 1.00, 1.00], [0.00, 0.00, 1.00, 1.00] and [0.00, 0.00, 1.00, 1.00]"
    )
    coco = written(write_coco, tmp_path, CURRENT)
    assert coco["annotations"][0]["bbox"] == [50, 20, 10, 20] and coco["annotations"][0]["area"] == 200
    graph = scene_graph(CURRENT)
    box = {name: graph["objects"][0][f"original_{name}"] for name in ("x1", "y1", "x2", "y2", "width", "height")}
    assert box == {"x1": 50, "y1": 20, "x2": 60, "y2": 40, "width": 10, "height": 20}
    small = [graph["objects"][0][name] for name in ("x1", "y1", "x2", "y2")]
    assert small == [56, 78, 67, 101]  # scaled by 224 / 200, 56 pixels of border above


def test_radvlm(tmp_path):
    cells = written(write_radvlm, tmp_path, PRIOR, CURRENT)
    assert [cell["task"] for cell in cells] == ["report", "labels", "abnormality", "phrase", "region", "region"] * 2
    for cell in cells:
        human, gpt = cell["conversations"]
        assert (human["from"], gpt["from"]) == ("human", "gpt")
        assert human["value"].startswith("<image>\n") and human["value"].count("<image>") == 1
        assert "pneumothorax" not in gpt["value"]  # it has resolved
        if cell["task"] in ("abnormality", "phrase", "region"):
            (numbers,) = re.findall(r"\[(\d\.\d\d), (\d\.\d\d), (\d\.\d\d), (\d\.\d\d)\]", gpt["value"])
            assert numbers == ("0.25", "0.20", "0.30", "0.40")
    assert len({cell["id"] for cell in cells}) == len(cells)
    answers = {task: answer for task, _, answer in conversations(PRIOR)}
    assert answers["report"] == "There is a 12 mm nodule. Nodule." and "nodule" in answers["labels"]


def test_nothing_is_denied_that_nobody_knows():
    empty = {**PRIOR, "findings": [], "locations": {}}
    assert [task for task, _, _ in conversations(empty)] == ["report"]
    names = ("Lung Lesion", "Consolidation", "Pleural Effusion", "Pneumothorax", "Cardiomegaly")
    clear = conversations({**empty, "labels": dict.fromkeys(names, 0)})
    assert [task for task, _, _ in clear] == ["report", "labels", "abnormality"] and "no" in clear[1][2].lower()


def test_libra_takes_the_current_image_first(tmp_path):
    (cell,) = written(write_libra, tmp_path, PRIOR, CURRENT)
    assert cell["image"] == [CURRENT["image"], PRIOR["image"]]
    human, gpt = cell["conversations"]
    assert human["value"].count("<image>") == 1 and gpt["value"] == "The nodule has increased."


def test_llava_has_an_image_token_for_each_image(tmp_path):
    (cell,) = written(write_llava, tmp_path, PRIOR, CURRENT)
    assert cell["image"] == [PRIOR["image"], CURRENT["image"]]
    tokens = sum(turn["value"].count("<image>") for turn in cell["conversations"])
    assert tokens == 2 and cell["conversations"][0]["value"].startswith("<image>\n<image>\n")
    assert [turn["from"] for turn in cell["conversations"]] == ["human", "gpt"] * 2
    assert cell["conversations"][3]["value"] == "The nodule has increased. [0.25, 0.20, 0.30, 0.40]"


def test_mlrg_as_its_data_set_reads_it(tmp_path):
    lateral = {**CURRENT, "image": "images/ct1/s0000_current/LL.png", "view": "LL"}
    splits = written(write_mlrg, tmp_path, PRIOR, CURRENT, lateral)
    assert set(splits) == {"train", "val", "test"} and len(splits["train"]) == 2
    item = splits["train"][0]
    assert item["anchor_scan"] == {"image_path": [CURRENT["image"]], "view_position": ["PA"]}
    assert item["auxiliary_references"] == {"image_path": [lateral["image"]], "view_position": ["LL"]}
    assert item["findings_factual_serialization"] == ["The nodule has increased.", "Resolved."]
    latest = item["prior_study"]["latest_study"]
    assert (latest["image_path"], latest["view_position"]) == (PRIOR["image"], "PA")
    assert latest["findings_factual_serialization"] == ["There is a 12 mm nodule."]
    assert item["indication_pure"] == "" and item["findings"] == "The nodule has increased."
    study = "_".join(item["anchor_scan"]["image_path"][0].split("/")[1:3])  # as MLRG names patient and study
    assert study == "ct1_s0000_current"


def test_scene_graph():
    graph = scene_graph(CURRENT)
    assert graph["image_id"] == "ct1_s0000_current_PA" and graph["viewpoint"] == "PA"
    assert [thing["object_id"] for thing in graph["objects"]] == [
        "ct1_s0000_current_PA_right lung", "ct1_s0000_current_PA_right upper lung zone",
    ]  # fmt: skip
    (entry,) = graph["attributes"]
    assert entry[entry["bbox_name"]] is True and entry["bbox_name"] == "right upper lung zone"
    lengths = {len(entry[name]) for name in ("attributes", "attributes_ids", "phrases", "phrase_IDs", "sections")}
    assert lengths == {1} == {len(entry[f"{cue}_cues"]) for cue in ("comparison", "temporal", "severity", "texture")}
    for name in entry["attributes"][0]:
        category, polarity, label = name.split("|")
        assert (category in ("anatomicalfinding", "nlp")) and polarity == "yes" and label
    assert entry["comparison_cues"] == [["comparison|yes|worsened"]]
    relations = {relation["attributes"][0]: relation for relation in graph["relationships"]}
    gone = relations["anatomicalfinding|yes|pneumothorax"]
    assert gone["relationship_names"] == ["comparison|yes|improved"]
    assert gone["subject_id"] == "ct1_s0000_current_PA_right upper lung zone"
    assert gone["object_id"] == "ct1_s0000_prior_PA_right upper lung zone"


def test_coco_is_opened_by_its_readers(tmp_path):
    write_coco(lambda: iter([PRIOR, CURRENT]), tmp_path)
    coco_api = pytest.importorskip("pycocotools.coco", reason="pip install pycocotools")
    coco = coco_api.COCO(str(tmp_path / "coco.json"))
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == [PRIOR["image"], CURRENT["image"]]
    (category,) = coco.getCatIds(catNms=["nodule"])
    found = coco.loadAnns(coco.getAnnIds(catIds=[category]))
    assert len(found) == 2 and found[1]["change"] == "grown"
    np.testing.assert_array_equal(coco.annToMask(found[0]).astype(bool), MASK)
    kinds = {one["supercategory"] for one in coco.loadCats(coco.getCatIds())}
    assert kinds == {"finding", "location", "structure"}


def test_the_table_is_what_our_own_reader_takes(tmp_path):
    for truth in (PRIOR, CURRENT):
        write_radiograph(tmp_path / str(truth["image"]), np.zeros(SIZE, np.float32), bits=8)
    oblique = {**PRIOR, "view": "RAO", "image": PRIOR["image"]}
    write_table(lambda: iter([PRIOR, CURRENT]), tmp_path / "exports")
    prior, now = read_table(tmp_path, tmp_path / "exports" / "table.csv").images
    assert (prior.view, prior.patient, prior.study) == ("PA", "ct1", "ct1_s0000_prior")
    assert prior.report == "There is a 12 mm nodule. Nodule."
    assert now.boxes == (Region("nodule", (0.25, 0.2, 0.3, 0.4)),)  # what has resolved has none
    with open(tmp_path / "exports" / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1]["prior_image"] == PRIOR["image"] and rows[1]["prior_report"] == prior.report
    assert rows[0]["prior_image"] == "" and "increased" in rows[1]["comparison"]
    write_table(lambda: iter([oblique]), tmp_path / "exports")
    assert read_table(tmp_path, tmp_path / "exports" / "table.csv").images[0].view is None


def test_what_is_asked_for_in_vain():
    refuse_unknown(list(EXPORTS), True, True)
    for names, pair, structures, said in (
        (["xml"], True, True, "--export xml: give one of radvlm"),
        (["libra"], False, True, "--export libra is of priors and currents: give --prior-current"),
        (["imagenome"], True, False, "--export imagenome is of anatomical locations: give --structures"),
        (["coco", "coco"], True, True, "each only once"),
    ):
        with pytest.raises(ValueError, match=said):
            refuse_unknown(names, pair, structures)
