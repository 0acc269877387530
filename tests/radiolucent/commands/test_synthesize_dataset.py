"""The dataset that `radiolucent synthesize` writes: formats, card, filter; and our own pipeline as its generator."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from radiographs import read_radiograph, write_radiograph
from radiolucent.cli import dispatch
from radiolucent.synthesis.dataset_formats import Example, write_llava, write_parquet, write_tables, write_webdataset
from radiolucent.synthesis.prompts import Row, parse_labels
from radiolucent.synthesis.quality_filter import agreement

ROWS = [
    Row("a.png", "Effusion, on the left.\nNo pneumothorax.", "PA", 5, (("Pleural Effusion", 1), ("Pneumothorax", 0))),
    Row("deep/b.png", "Clear.", None, 2**62, ()),
    Row("c.png", "Größe normal.", "LL", 7, (("No Finding", 1), ("Edema", -1))),
]


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, row in enumerate(ROWS):
        write_radiograph(tmp_path / "images" / row.name, np.full((4, 4), i / 4, np.float32), 8)
    return tmp_path


EXAMPLES = [Example(ROWS[0], 3, 0.75), Example(ROWS[1]), Example(ROWS[2])]


def test_tables_are_read_by_the_evaluation(folder: Path) -> None:
    from evaluation.features.labels import read_labels
    from evaluation.inputs import read_set

    write_tables(EXAMPLES, folder)
    first = table(folder / "metadata.csv")[0]
    assert list(first)[:4] == ["image", "filename", "prompt", "labels_dict"]  # SynthCheX-75K's
    assert first["image"] == "images/a.png" and first["tokens_cut"] == "3" and first["agreement"] == "0.750000"
    for name in ("metadata.csv", "chexgenbench.csv"):
        images = read_set(folder / name, folder / "images")
        assert images.prompts == [row.prompt for row in ROWS]
        labels = read_labels(images, ["Pleural Effusion", "Pneumothorax", "Edema"])
        np.testing.assert_array_equal(labels, [[1, 0, np.nan], [np.nan] * 3, [np.nan] * 3])


def test_webdataset_shards_hold_the_same_bytes_each_time(folder: Path) -> None:
    (folder / "webdataset").mkdir()
    (folder / "webdataset" / "000009.tar").touch()  # of an earlier, larger dataset
    write_webdataset(EXAMPLES, folder, 2)
    shards = sorted((folder / "webdataset").iterdir())
    assert [path.name for path in shards] == ["000000.tar", "000001.tar"]
    with tarfile.open(shards[1]) as tar:
        assert tar.getnames() == ["00000002.png", "00000002.txt", "00000002.json"]
        content = [tar.extractfile(name).read() for name in tar.getnames()]  # type: ignore[union-attr]
    assert content[0] == (folder / "images" / "c.png").read_bytes()
    assert content[1].decode() == ROWS[2].prompt
    assert json.loads(content[2])["labels_dict"] == '{"No Finding": 1, "Edema": -1}'
    before = [path.read_bytes() for path in shards]
    write_webdataset(EXAMPLES, folder, 2)
    assert [path.read_bytes() for path in shards] == before


def test_another_programs_folders_and_files_are_left_alone(stable_diffusion: Path, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("prompt,name\nclear.,a\n")
    out, words = tmp_path / "out", [word for name in ("parquet", "webdataset") for word in ("--format", name)]
    for name in ("parquet/data.txt", "webdataset/000000.tar", "README.md", "images/a.png", "dropped/a.png"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("theirs")
        with pytest.raises(ValueError, match="is there and is no result of this batch"):
            synthesize(tmp_path / "p.csv", stable_diffusion, out, *words)
        assert (out / name).read_text() == "theirs"
        (out / name).unlink()
        if name.split("/")[0] in ("parquet", "webdataset"):
            (out / name).parent.rmdir()
    assert synthesize(tmp_path / "p.csv", stable_diffusion, out, *words) == 0
    (out / "parquet/notes.txt").write_text("mine")
    assert synthesize(tmp_path / "p.csv", stable_diffusion, out, *words, "--shard-size", "1") == 0
    assert (out / "parquet/notes.txt").read_text() == "mine"


def test_images_of_earlier_prompts_are_told(stable_diffusion: Path, tmp_path: Path, capsys: Any) -> None:
    for names in (("a", "b"), ("b",)):
        (tmp_path / "p.csv").write_text("prompt,name\n" + "".join(f"clear.,{name}\n" for name in names))
        assert synthesize(tmp_path / "p.csv", stable_diffusion, tmp_path / "out") == 0
    assert "1 other images lie in" in (text := capsys.readouterr().out) and "such as a.png" in text


@pytest.mark.parametrize("token", ["<image>", "<Video>"])
def test_a_text_that_llava_takes_for_a_picture_is_skipped(stable_diffusion: Path, tmp_path: Path, token: str) -> None:
    (tmp_path / "p.csv").write_text(f"prompt,name\n{token} of it,a\nclear.,b\n")
    assert synthesize(tmp_path / "p.csv", stable_diffusion, tmp_path / "out", "--format", "llava") == 1
    (entry,) = json.loads((tmp_path / "out/llava.json").read_text())
    assert [turn["value"].count("<image>") for turn in entry["conversations"]] == [1, 0]
    assert token in table(tmp_path / "out/errors.csv")[0]["reason"]


def test_parquet_holds_the_images(folder: Path) -> None:
    from pyarrow import parquet

    write_parquet(EXAMPLES, folder, 2)
    names = sorted(path.name for path in (folder / "parquet").iterdir())
    assert names == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    found = parquet.read_table(folder / "parquet" / names[0])
    rows = found.to_pylist()
    assert [row["seed"] for row in rows] == [5, 2**62] and rows[0]["prompt"] == ROWS[0].prompt
    assert rows[1]["image"]["path"] == "deep/b.png"
    assert np.array(Image.open(io.BytesIO(rows[1]["image"]["bytes"]))).mean() == 159  # round(1.25 * 127.5)
    features = json.loads(found.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"} and set(features) == set(found.column_names)


def test_llava_asks_for_the_report(folder: Path) -> None:
    write_llava(EXAMPLES, folder, 1)
    first, second, third = json.loads((folder / "llava.json").read_text(encoding="utf-8"))
    assert first["image"] == "images/a.png" and second["id"] == "deep/b"
    question, answer = third["conversations"]
    assert question == {"from": "human", "value": "<image>\nWrite the report of this left lateral chest radiograph."}
    assert answer == {"from": "gpt", "value": "Größe normal."}


def test_labels_as_python_json_and_pandas_write_them() -> None:
    expected = (("Edema", 1), ("Fracture", 0), ("Pneumonia", -1))
    for text in (
        "{'Edema': 1.0, 'Fracture': False, 'Pneumonia': -1, 'Support Devices': nan, 'Lung Lesion': None}",
        '{"Edema": 1, "Fracture": 0, "Pneumonia": -1.0, "Support Devices": NaN, "Lung Lesion": null}',
    ):
        assert parse_labels(text) == expected
    assert parse_labels("") == ()
    with pytest.raises(ValueError, match="expected a dict"):
        parse_labels("__import__('os')")


def test_agreement_is_that_of_the_label_in_doubt() -> None:
    known = {"Edema": 0.9, "Fracture": 0.3, "Pneumonia": 0.8}
    verdict = agreement({"Edema": 1, "Fracture": 0, "Pneumonia": -1, "Other": 1}, known)
    assert (verdict.score, verdict.label, verdict.wanted) == (pytest.approx(0.7), "Fracture", 0)
    assert agreement({"Pneumonia": -1, "Other": 1}, known).score is None
    with pytest.raises(ValueError, match="cannot judge"):
        agreement({"Edema": 1}, {"Edema": float("nan")})


class Brightness(torch.nn.Module):
    """Two logits of images (B, 1, S, S) in [0, 255]-like units: bright, and dark."""

    def __init__(self, middle: float) -> None:
        super().__init__()
        self.middle = middle

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = (images.mean(dim=(1, 2, 3)) - self.middle) / 20
        return torch.stack([bright, -bright], dim=1)


def synthesize(prompts: Path, checkpoint: Path, out: Path, *words: str) -> int:
    given = ["--prompts", str(prompts), "--checkpoint", str(checkpoint), "--out", str(out), "--steps", "2"]
    return dispatch(["synthesize", *given, *words])


def test_the_filter_drops_what_a_classifier_denies_and_takes_it_back(stable_diffusion: Path, tmp_path: Path) -> None:
    lines = [f"edema{i},{i}.png,\"{{'bright': 1}}\"\n" for i in range(6)] + ["clear,plain.png,{}\n"]
    (tmp_path / "p.csv").write_text("prompt,name,labels_dict\n" + "".join(lines))
    out = tmp_path / "out"
    assert synthesize(tmp_path / "p.csv", stable_diffusion, out) == 0
    drawn = {path.name: path.read_bytes() for path in (out / "images").iterdir()}
    means = {f"{i}.png": 1024 * float(read_radiograph(out / "images" / f"{i}.png").pixels.mean()) for i in range(6)}
    middle = float(np.median(list(means.values())))
    torch.jit.script(Brightness(middle)).save(str(tmp_path / "judge.pt"))
    words = ["--filter", str(tmp_path / "judge.pt"), "--filter-classes", "bright", "--filter-classes", "dark"]
    assert synthesize(tmp_path / "p.csv", stable_diffusion, out, *words, "--format", "llava") == 0
    dropped = {row["filename"]: row for row in table(out / "dropped.csv")}
    assert set(dropped) == {name for name, mean in means.items() if mean < middle} and len(dropped) == 3
    for name, row in dropped.items():
        expected = 1 / (1 + np.exp(-(means[name] - middle) / 20))
        assert float(row["score"]) == pytest.approx(expected, abs=0.01) and row["label"] == "bright"
        assert (out / "dropped" / name).is_file() and not (out / "images" / name).exists()
    kept = {row["filename"] for row in table(out / "metadata.csv")}
    assert kept == {*means, "plain.png"} - set(dropped) and len(json.loads((out / "llava.json").read_text())) == 4
    assert "3 of 7 images were dropped" in (out / "README.md").read_text()
    manifest = (out / "manifest.jsonl").read_text()
    assert synthesize(tmp_path / "p.csv", stable_diffusion, out) == 0  # without the filter: all are back, none redrawn
    assert {path.name: path.read_bytes() for path in (out / "images").iterdir()} == drawn
    assert not (out / "dropped.csv").exists() and manifest in (out / "manifest.jsonl").read_text()
    with pytest.raises(ValueError, match="no label that"):
        synthesize(
            tmp_path / "p.csv", stable_diffusion, out, *words[:2], "--filter-classes", "x", "--filter-classes", "y"
        )


def test_our_pipeline_draws_view_and_report(synthesis: Path, tmp_path: Path, capsys: Any) -> None:
    from diffusion import SynthesisPipeline
    from diffusion.networks.text import TextEncoder

    rows = ["a,edema.,PA,3", "b,edema.,LL,3", "c,clear.,PA,3", f"long,{'a' * 40},PA,1", "view,edema,lateral,1"]
    (tmp_path / "p.csv").write_text("name,prompt,view,seed\n" + "\n".join(rows) + "\n")
    words = ["--guidance", "3", "--guidance", "view=2", "--bits", "16"]
    assert synthesize(tmp_path / "p.csv", synthesis, tmp_path / "out", *words) == 1
    reasons = [row["reason"] for row in table(tmp_path / "out" / "errors.csv")]
    assert any("42 tokens and the encoder takes 20" in reason for reason in reasons)
    assert any("the view is 'lateral'" in reason for reason in reasons) and len(reasons) == 2
    pipeline: Any = SynthesisPipeline.from_pretrained(synthesis)
    embeddings, mask = TextEncoder(str(synthesis.parent / "encoder"), 20)(["edema.", "edema.", "clear."])
    expected = pipeline(
        ["PA", "LL", "PA"],
        embeddings,
        mask,
        num_inference_steps=2,
        guidance={"report": 3.0, "view": 2.0},
        seeds=[3, 3, 3],
    ).images
    for name, image in zip("abc", expected):
        found = read_radiograph(tmp_path / "out" / "images" / f"{name}.png").pixels
        np.testing.assert_allclose(found, image[0].numpy(), atol=1e-4)
    assert all((expected[0] - other).abs().max() > 1e-3 for other in expected[1:])
    assert "| guidance | report 3, view 2 |" in (tmp_path / "out" / "README.md").read_text()
    for more, message in {
        ("--guidance", "age=3"): "the conditions are image, view",
        ("--negative-prompt", "x"): "are for diffusers' pipelines",
    }.items():
        with pytest.raises(ValueError, match=message):
            synthesize(tmp_path / "p.csv", synthesis, tmp_path / "out2", *more)


def test_findings_are_drawn_where_boxes_and_masks_say(
    placed_synthesis: Path, synthesis: Path, tmp_path: Path, capsys: Any
) -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[16:, :16] = 255
    Image.fromarray(mask).save(tmp_path / "left.png")
    rows = [
        "free,edema,PA,1,,",
        "box,edema,PA,1,nodule 0 0.5 0.5 1,",
        "mask,edema,PA,1,,nodule left.png",
        "other,edema,PA,1,nodule 0.5 0.5 1 1,",
        "bad,edema,PA,1,nodule 0.5 0.5 0.5 1,",
        "gone,edema,PA,1,,nodule gone.png",
    ]
    (tmp_path / "p.csv").write_text("name,prompt,view,seed,boxes,masks\n" + "\n".join(rows) + "\n")
    out = tmp_path / "out"
    assert synthesize(tmp_path / "p.csv", placed_synthesis, out, "--guidance", "region=2") == 1
    drawn = {path.stem: read_radiograph(path).pixels for path in (out / "images").iterdir()}
    assert sorted(drawn) == ["box", "free", "mask", "other"]
    assert np.abs(drawn["box"] - drawn["mask"]).max() == 0  # a mask that fills its box
    assert min(np.abs(drawn["box"] - drawn[name]).max() for name in ("free", "other")) > 0.01
    reasons = " ".join(row["reason"] for row in table(out / "errors.csv"))
    assert "x1 < x2" in reasons and "gone.png does not exist" in reasons
    boxes = {row["filename"]: row["boxes"] for row in table(out / "metadata.csv")}
    assert boxes["mask.png"] == boxes["box.png"] == "nodule 0.0000 0.5000 0.5000 1.0000" and boxes["free.png"] == ""
    mask[16:, :8] = 0
    Image.fromarray(mask).save(tmp_path / "left.png")  # the outline changed: its picture is drawn anew, and no other
    before = {path.stem: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    synthesize(tmp_path / "p.csv", placed_synthesis, out, "--guidance", "region=2")
    after = {path.stem: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    assert [name for name in sorted(after) if after[name] != before[name]] == ["mask"]
    assert synthesize(tmp_path / "p.csv", synthesis, tmp_path / "plain") == 1  # without places in its training
    assert "this model takes none" in (tmp_path / "plain" / "errors.csv").read_text()
    assert [path.stem for path in (tmp_path / "plain" / "images").iterdir()] == ["free"]


def test_the_current_film_follows_its_prior(following_synthesis: Path, synthesis: Path, tmp_path: Path) -> None:
    from diffusion import SynthesisPipeline

    dark, bright = (np.full((24, 40), grey, np.float32) for grey in (-0.8, 0.8))
    for name, image in (("dark.png", dark), ("bright.png", bright)):
        write_radiograph(tmp_path / name, image)
    rows = ["none,,", "dark,dark.png,PA", "bright,bright.png,", "gone,gone.png,PA", "view,dark.png,pa"]
    (tmp_path / "p.csv").write_text("name,prior,prior_view\n" + "\n".join(rows) + "\n")
    text = (tmp_path / "p.csv").read_text().splitlines()
    (tmp_path / "p.csv").write_text(
        "\n".join([f"{text[0]},prompt,view,seed", *(f"{row},edema,LL,1" for row in text[1:])])
    )
    assert synthesize(tmp_path / "p.csv", following_synthesis, tmp_path / "out") == 1
    drawn = {path.stem: read_radiograph(path).pixels for path in (tmp_path / "out/images").iterdir()}
    assert sorted(drawn) == ["bright", "dark", "none"]
    pipeline = SynthesisPipeline.from_pretrained(following_synthesis)
    given = torch.full((1, 2, 1, 16, 16), -1.0)
    given[0, 0] = torch.from_numpy(read_radiograph(tmp_path / "bright.png").pixels[:16, 12:28])
    asked = {"images": given, "image_views": [["LL", None]], "image_priors": [[True, False]]}
    expected = pipeline(prompt="edema", view="LL", seeds=[1], num_inference_steps=2, **asked).images[0, 0].numpy()
    np.testing.assert_allclose(drawn["bright"], expected, atol=0.01)
    assert min(np.abs(drawn["bright"] - drawn[name]).max() for name in ("dark", "none")) > 0.01
    reasons = " ".join(row["reason"] for row in table(tmp_path / "out/errors.csv"))
    assert "gone.png does not exist" in reasons and "the view is 'pa'" in reasons
    assert synthesize(tmp_path / "p.csv", synthesis, tmp_path / "plain") == 1
    assert "the row has a prior, and this model takes none" in (tmp_path / "plain/errors.csv").read_text()


def test_our_pipelines_bytes_do_not_depend_on_the_batch(synthesis: Path, tmp_path: Path) -> None:
    rows = [f"{i},{'edema' if i % 2 else 'clear'},{'PA' if i < 4 else 'LL'}\n" for i in range(7)]
    found = []
    for size, order in (("1", rows), ("3", rows[::-1]), ("8", rows[3:] + rows[:3])):
        (tmp_path / "p.csv").write_text("name,prompt,view\n" + "".join(order))
        words = ["--batch-size", size, "--micro-batch", "2", "--guidance", "2"]
        assert synthesize(tmp_path / "p.csv", synthesis, tmp_path / size, *words) == 0
        found.append({path.name: path.read_bytes() for path in (tmp_path / size / "images").iterdir()})
    assert found[0] == found[1] == found[2] and len(set(found[0].values())) == 7


def test_few_steps_as_the_folder_of_a_distilled_model_says(synthesis: Path, tmp_path: Path) -> None:
    from diffusers import LCMScheduler

    from diffusion import SynthesisPipeline

    sampler = LCMScheduler(prediction_type="v_prediction", original_inference_steps=8, clip_sample=False)
    pipeline = SynthesisPipeline.from_pretrained(synthesis, scheduler=sampler)
    pipeline.register_to_config(num_inference_steps=2)
    pipeline.save_pretrained(tmp_path / "student")
    rows = [f"{i},edema,{'PA' if i < 3 else 'LL'}\n" for i in range(5)]
    found = {}
    for name, words in {"a": ["1"], "b": ["4"], "one": ["4", "--steps", "1"], "four": ["4", "--steps", "4"]}.items():
        (tmp_path / "p.csv").write_text("name,prompt,view\n" + "".join(rows[::-1] if name == "b" else rows))
        given = [
            "--prompts",
            str(tmp_path / "p.csv"),
            "--checkpoint",
            str(tmp_path / "student"),
            "--batch-size",
            *words,
        ]
        assert dispatch(["synthesize", *given, "--out", str(tmp_path / name)]) == 0
        found[name] = {path.name: path.read_bytes() for path in (tmp_path / name / "images").iterdir()}
    assert found["a"] == found["b"]  # each step's noise is the row's own
    assert all(len({found[name][f"{i}.png"] for name in ("a", "one", "four")}) == 3 for i in range(5))
    assert "| steps | 2 |" in (tmp_path / "a" / "README.md").read_text()


def test_another_text_encoder_than_in_training_is_refused(
    synthesis: Path, stable_diffusion: Path, tmp_path: Path
) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(synthesis.parent / "encoder", tmp_path / "other")
    weights = load_file(tmp_path / "other" / "model.safetensors")
    save_file({k: v + 1 for k, v in weights.items()}, tmp_path / "other" / "model.safetensors", {"format": "pt"})
    (tmp_path / "p.csv").write_text("prompt\nedema\n")
    with pytest.raises(ValueError, match="not the text encoder"):
        synthesize(tmp_path / "p.csv", synthesis, tmp_path / "out", "--text-encoder", str(tmp_path / "other"))


def test_a_model_of_an_older_version_is_told_before_the_batch(synthesis: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(synthesis, tmp_path / "old")
    weights = tmp_path / "old" / "conditioner" / "diffusion_pytorch_model.safetensors"
    save_file({name.replace("report.1.", "report."): tensor for name, tensor in load_file(weights).items()}, weights)
    (tmp_path / "p.csv").write_text("prompt\nedema\n")
    with pytest.raises(ValueError, match="lacks weights of its conditioner"):
        synthesize(tmp_path / "p.csv", tmp_path / "old", tmp_path / "out")
    assert not (tmp_path / "out").exists()
