"""What the tabs compute, against the commands and functions that the page stands on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from drr import ConeBeam, detector_response, project
from radiographs import read_radiograph, write_radiograph
from radiographs.dicom.deidentify import KEY_NAME
from radiolucent.app.limits import INPUT, Limits
from radiolucent.app.rotation import _Viewer
from radiolucent.app.scene import FINDINGS, Scene, Shot, picture
from radiolucent.app.scenes import written
from radiolucent.app.store import Entry
from radiolucent.cli import dispatch


@pytest.fixture(scope="module")
def scene(services: Any) -> Scene:
    return services.scenes.sample()


def opened(message: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(message[:4], "little")
    return json.loads(message[4 : 4 + length]), message[4 + length :]


def sent(services: Any, path: Path, name: str, polarity: str = "auto", samples: int = 1) -> Entry:
    """An entry in which a file was suppressed."""
    entry = services.store.new(name)
    here = entry.folder / INPUT
    here.write_bytes(path.read_bytes())
    source = services.suppression.read(entry, here, polarity)
    services.suppression.run(entry, source, samples)
    return entry


def test_dicom_comes_out_as_the_command_writes_it(
    services: Any, sample_radiograph: Path, command: Callable[..., int], tmp_path: Path
) -> None:
    pixels = read_radiograph(sample_radiograph).pixels
    write_radiograph(tmp_path / "in.dcm", -pixels, 12)  # a negative, too
    out, options = tmp_path / "out", ["--samples", "2", "--polarity", "negative", "--strength", "0.7"]
    assert command(tmp_path / "in.dcm", out, *options) == 0
    entry = sent(services, tmp_path / "in.dcm", "in.dcm", "negative", samples=2)
    other = services.suppression.download(entry, 0.7)
    (services.root / "keys" / KEY_NAME).write_bytes((out / KEY_NAME).read_bytes())  # new UIDs depend on a secret
    name, content = services.suppression.download(entry, 0.7)
    assert content != other[1]
    assert (name, content) == ("in.dcm", (out / "in.dcm").read_bytes())
    name, content = services.suppression.download(entry, 0.7, "png")
    (tmp_path / "again.png").write_bytes(content)
    assert name == "in.dcm.png"
    shown = read_radiograph(tmp_path / "again.png").pixels
    np.testing.assert_allclose(shown, read_radiograph(out / "in.dcm").pixels, atol=1e-3)


def test_a_picture_is_saved_as_dicom_without_a_name(services: Any, sample_radiograph: Path, tmp_path: Path) -> None:
    entry = sent(services, sample_radiograph, "Doe^Jane.png")
    _, content = services.suppression.download(entry, 1.0, "dicom")
    (tmp_path / "a.dcm").write_bytes(content)
    header = dcmread(tmp_path / "a.dcm")
    assert str(header.get("PatientName", "")) == "" and b"Jane" not in content


def test_layers_hold_radiograph_bone_and_spread(services: Any, sample_radiograph: Path) -> None:
    entry = sent(services, sample_radiograph, "a.png", samples=3)
    about, body = opened(services.suppression.layers(entry))
    pixels, bone, spread = np.frombuffer(body, "<i2").reshape(3, about["height"], about["width"]) / about["scale"]
    np.testing.assert_allclose(pixels, read_radiograph(sample_radiograph).pixels, atol=1e-4)
    soft = services.suppression.soft(entry, 0.5)
    np.testing.assert_allclose((pixels - 0.5 * about["own"] * bone).clip(-1, 1), soft, atol=1e-4)
    assert 0 < spread.max() <= 1


def test_strengths_out_of_range_and_nothing_to_take_are_refused(services: Any, sample_radiograph: Path) -> None:
    entry = sent(services, sample_radiograph, "a.png")
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="strength is"):
            services.suppression.download(entry, wrong)
    with pytest.raises(ValueError, match="of kind 'exe'"):
        services.suppression.download(entry, 1.0, "exe")
    with pytest.raises(ValueError, match="nothing can be lost"):
        services.suppression.self_test(entry, 0.0)


def test_the_self_test_is_that_of_the_command(
    services: Any, scene: Scene, command: Callable[..., int], tmp_path: Path
) -> None:
    from radiolucent.rendering.images import write_image

    shot = Shot(size=256, look=1)
    write_image(tmp_path / "chest.png", picture(scene.lines(shot), shot), "")
    entry = sent(services, tmp_path / "chest.png", "chest.png")
    services.suppression.self_test(entry, 1.0).write_table(tmp_path / "page.csv")
    assert command(tmp_path / "chest.png", tmp_path / "out", "--self-test") == 0
    assert (tmp_path / "page.csv").read_bytes() == (tmp_path / "out/selftest/chest.csv").read_bytes()


def test_the_map_is_shown_with_its_colours_in_words(services: Any, scene: Scene, tmp_path: Path) -> None:
    from radiolucent.app.suppress_tab import SuppressTab
    from radiolucent.rendering.images import write_image
    from radiolucent.suppression.self_test import CLASSES

    shot = Shot(size=256, look=1)
    write_image(tmp_path / "chest.png", picture(scene.lines(shot), shot), "")
    entry = sent(services, tmp_path / "chest.png", "chest.png")
    *_, (said, shown) = SuppressTab(services).test(entry.token, 0.5)
    assert "strength 0.50" in said
    for _, colour, text in CLASSES:
        assert f"rgb{colour}" in shown and text in shown
    assert f"picture/{entry.token}/selftest.png" in shown
    assert Image.open(entry.folder / "selftest.png").size[0] > 1000


def test_a_preset_is_the_image_of_drr(scene: Scene, tmp_path: Path) -> None:
    content, about = written(scene, Shot("LL", size=128), "token", tmp_path)
    words = ["drr", "sample", "--view", "LL", "--size", "128", "--materials", "total", "bone", "soft"]
    assert dispatch([*words, "--out", str(tmp_path / "out")]) == 0
    image = next((tmp_path / "out/LL").glob("*_total.png"))
    assert content == image.read_bytes()
    assert json.loads(about)["sha256"] and not list(tmp_path.glob("*.png"))


def test_a_tipped_view_with_faded_bone_is_what_project_says(scene: Scene) -> None:
    shot = Shot("PA", yaw=30, tilt=-15, size=128, bone=-1, centre=5, width=2)
    beam = ConeBeam.preset("PA", scene.volume, (128, 128)).orbit(30)
    beam = beam.orbit(-15, tuple(beam.numpy("du")))
    soft, bone = project(scene.volume, [beam], ("soft", "bone"))[0].numpy()
    np.testing.assert_array_equal(picture(scene.lines(shot), shot), detector_response(soft - bone, 5, 2).clip(-1, 1))
    about = json.loads(written(scene, shot, "token", Path("/tmp"))[1])
    np.testing.assert_allclose(about["origin"], beam.origin)


def test_each_look_shows_more_bone_where_bone_is_doubled(scene: Scene) -> None:
    lines = scene.lines(Shot(size=128))
    bony = lines[1] > 0.3
    for look in (0, 1, 5):
        none, once, twice = (picture(lines, Shot(size=128, look=look, bone=bone)) for bone in (0, 1, 2))
        assert none[bony].mean() < once[bony].mean() < twice[bony].mean()
        assert once.min() >= -1 and once.max() <= 1


def test_findings_change_the_picture_inside_their_boxes(scene: Scene) -> None:
    plain, shot = Shot(size=128), Shot(size=128, findings=("nodule",))
    truth = scene.truth(shot)
    (left, top, right, bottom) = truth.projections[0].box
    change = np.abs(scene.lines(shot) - scene.lines(plain)).sum(axis=0)
    inside = np.zeros((128, 128), bool)
    inside[top - 1 : bottom + 2, left - 1 : right + 2] = True
    assert change[inside].max() > 0.1
    assert change[~inside].max() < 0.02
    assert "22 mm nodule in the right upper lobe" in truth.report
    everything = scene.truth(Shot(size=128, findings=tuple(sorted(FINDINGS))))
    assert len(everything.findings) == len(FINDINGS)


def test_a_ct_without_labels_takes_no_findings(scene: Scene) -> None:
    bare = Scene(scene.volume.replace(labels=None, structures=None), "mine")
    with pytest.raises(ValueError, match="without a label map"):
        bare.lines(Shot(size=128, findings=("nodule",)))


@pytest.mark.parametrize(
    "given",
    [{"view": "<script>"}, {"yaw": "x"}, {"yaw": float("nan")}, {"size": 100000}, {"bone": 3}, {"look": 99},
     {"findings": ["a"]}, {"findings": 3}, {"width": 0}, {"tilt": 1e9}, {"yaw": None}],
)  # fmt: skip
def test_a_pose_that_cannot_be_is_one_line(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as caught:
        Shot.read(given)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_messages_that_are_none_are_one_line(services: Any) -> None:
    viewer = _Viewer(services.scenes.get)
    for text in ("", "[]", "{", "x" * 5000, '{"ct": 1}', '{"ct": "nobody"}'):
        with pytest.raises(ValueError) as caught:
            viewer.frame(text)
        assert "\n" not in str(caught.value)
    about, body = opened(viewer.frame('{"ct": "sample", "size": 128, "number": 7, "final": true}'))
    assert about["number"] == 7 and about["type"] == "image/png" and body.startswith(b"\x89PNG")


def test_a_finding_is_drawn_where_the_page_says(placed_synthesis: Path, synthesis: Path, services: Any) -> None:
    from radiolucent.app.drawing import Drawing

    drawing, entry = Drawing.of(str(placed_synthesis), "cpu", Limits()), services.store.new("drawn")
    assert drawing.takes_places
    found = []
    for boxes in ("", "nodule 0 0.5 0.5 1", "nodule 0.5 0.5 1 1"):
        drawing.draw(entry, "edema", "PA", 1, 2, 1, boxes)
        found.append((entry.folder / "images" / "1.png").read_bytes())
    assert len(set(found)) == 3
    for boxes in ("nodule 0.5 0.5 0.2 1", "tumour 0 0 1 1", "nodule ../../etc/passwd", "x" * 5000):
        with pytest.raises(ValueError, match=r"the box|letters"):
            drawing.draw(entry, "edema", "PA", 1, 2, 1, boxes)
    plain = Drawing.of(str(synthesis), "cpu", Limits())
    with pytest.raises(ValueError, match="leave the places empty"):
        plain.draw(entry, "edema", "PA", 1, 2, 1, "nodule 0 0.5 0.5 1")


def test_a_grid_of_seeds_is_what_synthesize_draws(synthesis: Path, services: Any, tmp_path: Path) -> None:
    from radiolucent.app.drawing import Drawing

    drawing = Drawing.of(str(synthesis), "cpu", Limits())
    entry = services.store.new("synthetic")
    assert drawing.draw(entry, "effusion", "PA", 3, 2, 2) == [3, 4]
    (tmp_path / "prompts.csv").write_text("name,prompt,view,seed\n3.png,effusion,PA,3\n4.png,effusion,PA,4\n")
    words = ["--prompts", str(tmp_path / "prompts.csv"), "--checkpoint", str(synthesis), "--steps", "2"]
    assert dispatch(["synthesize", *words, "--device", "cpu", "--out", str(tmp_path / "out")]) == 0
    for name in ("3.png", "4.png"):
        ours, theirs = (np.array(Image.open(at / "images" / name)) for at in (entry.folder, tmp_path / "out"))
        assert (ours == theirs).all()
    with pytest.raises(ValueError, match="tokens and the model reads 20"):
        drawing.draw(entry, "a very long text, longer than the encoder reads", "PA", 0, 2, 1)
    for wrong in ({"steps": 0}, {"count": 99}, {"seed": -1}, {"view": "UP"}, {"prompt": "x" * 3000}):
        asked: dict[str, Any] = {"prompt": "a", "view": "PA", "seed": 0, "steps": 2, "count": 1, **wrong}
        with pytest.raises(ValueError):
            drawing.draw(entry, **asked)


def test_ct_memory_is_bounded(services: Any, scene: Scene, tmp_path: Path) -> None:
    from radiolucent.app.scenes import Scenes

    limits = replace(Limits(), ct_bytes=int(1.5 * scene.bytes))
    scenes = Scenes(services.store, limits)
    tokens = [services.store.new(name).token for name in "ab"]
    for token in tokens:
        scenes._sent[token] = scene
        scenes._make_room(token)
    assert scenes.get(tokens[1]) is scene
    with pytest.raises(ValueError, match="make room"):
        scenes.get(tokens[0])
