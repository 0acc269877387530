"""`radiolucent synthesize` with real, small, untrained pipelines of diffusers and our own."""

from __future__ import annotations

import csv
import importlib.util
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from radiolucent.cli import dispatch

STEPS = ["--steps", "2"]
STABLE_DIFFUSION = "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion"


def write_prompts(path: Path, rows: list[dict[str, Any]]) -> str:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def reports(count: int) -> list[dict[str, Any]]:
    """Every third prompt is the same; the lengths differ."""
    return [
        {"annotated_prompt": "clear lungs." if i % 3 == 0 else f"edema{'a' * i}.", "img_savename": f"case{i}.png"}
        for i in range(count)
    ]


def synthesize(prompts: str, checkpoint: Path, out: Path, *words: str) -> int:
    steps = [] if "--steps" in words else STEPS
    return dispatch(
        ["synthesize", "--prompts", prompts, "--checkpoint", str(checkpoint), "--out", str(out), *steps, *words]
    )


def dataset(out: Path) -> dict[str, bytes]:
    """Every file but the log of the run."""
    files = (path for path in out.rglob("*") if path.is_file() and path.name not in ("manifest.jsonl", "errors.csv"))
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def whole(stable_diffusion: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    prompts = write_prompts(folder / "prompts.csv", reports(9))
    assert synthesize(prompts, stable_diffusion, folder / "out") == 0
    return dataset(folder / "out")


@pytest.mark.parametrize(
    "words", [["--batch-size", "1"], ["--batch-size", "3"], ["--batch-size", "8"], ["--workers", "2"]]
)
def test_bytes_do_not_depend_on_batch_workers_or_order(
    stable_diffusion: Path, whole: dict[str, bytes], tmp_path: Path, words: list[str]
) -> None:
    prompts = write_prompts(tmp_path / "prompts.csv", reports(9)[::-1])
    batch = [] if "--batch-size" in words else ["--batch-size", "2"]
    assert synthesize(prompts, stable_diffusion, tmp_path / "out", *words, *batch) == 0
    assert dataset(tmp_path / "out") == whole
    assert len({content for name, content in whole.items() if name.startswith("images/")}) == 9


def test_micro_batches_are_always_full(stable_diffusion: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    found = []
    for name, rows, size in (("a", reports(9), "9"), ("b", reports(9)[::-1], "3"), ("c", reports(9), "1")):
        prompts = write_prompts(tmp_path / f"{name}.csv", rows)
        words = ["--micro-batch", "4", "--batch-size", size]
        assert synthesize(prompts, stable_diffusion, tmp_path / name, *words) == 0
        found.append(dataset(tmp_path / name))
    assert found[0] == found[1] == found[2]
    for i in range(9):  # and of the same picture, up to rounding, as one at a time
        (tmp_path / "one.png").write_bytes(whole[f"images/case{i}.png"])
        one, four = (
            np.array(Image.open(path)).astype(int)
            for path in (tmp_path / "one.png", tmp_path / f"a/images/case{i}.png")
        )
        assert np.abs(one - four).max() <= 1


def test_killed_and_run_again(
    stable_diffusion: Path, whole: dict[str, bytes], tmp_path: Path, start_command: Callable[..., BaseProcess]
) -> None:
    prompts = write_prompts(tmp_path / "prompts.csv", reports(9))
    out = tmp_path / "out"
    words = [
        "--prompts",
        prompts,
        "--checkpoint",
        str(stable_diffusion),
        "--out",
        str(out),
        "--batch-size",
        "3",
        *STEPS,
    ]
    for count in (1, 4):
        process = start_command(["synthesize", *words], "radiolucent.synthesis.loading", STABLE_DIFFUSION)
        deadline = time.monotonic() + 300
        while len(list(out.glob("images/case*.png"))) < count and time.monotonic() < deadline:
            time.sleep(0.002)
        process.kill()
        process.join()
        assert count <= len(list(out.glob("images/case*.png")))
    before = {path: path.stat().st_mtime_ns for path in out.glob("images/case*.png")}
    (out / "images" / ".part-0123456789ab-case8.png").write_bytes(b"half")
    assert dispatch(["synthesize", *words]) == 0
    assert dataset(out) == whole
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())  # drawn once


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the ray extra")
def test_two_ray_workers_of_which_one_is_killed(
    stable_diffusion: Path,
    whole: dict[str, bytes],
    tmp_path: Path,
    kill_a_ray_worker: Callable[[Callable[[], bool]], list[int]],
) -> None:
    prompts = write_prompts(tmp_path / "prompts.csv", reports(9))
    out = tmp_path / "out"
    ray = ["--executor", "ray", "--workers", "2", "--device", "cpu", "--batch-size", "2"]
    killed = kill_a_ray_worker(lambda: bool(list(out.glob("images/case*.png"))))
    assert synthesize(prompts, stable_diffusion, out, *ray) == 0
    assert killed
    assert dataset(out) == whole


def test_other_options_are_refused_and_other_prompts_are_drawn_anew(stable_diffusion: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"edema{i}", "name": f"{i}"} for i in range(3)]
    out = tmp_path / "out"
    assert synthesize(write_prompts(tmp_path / "p.csv", rows), stable_diffusion, out) == 0
    first = dataset(out)
    with pytest.raises(ValueError, match="guidance"):
        synthesize(str(tmp_path / "p.csv"), stable_diffusion, out, "--guidance", "2")
    rows[1]["prompt"] = "clear."
    (out / "images" / "2.png").unlink()
    assert synthesize(write_prompts(tmp_path / "p.csv", rows), stable_diffusion, out) == 0
    second = dataset(out)
    same = {name: first[f"images/{name}.png"] == second[f"images/{name}.png"] for name in "012"}
    assert same == {"0": True, "1": False, "2": True}


def test_bad_rows_are_skipped(stable_diffusion: Path, tmp_path: Path) -> None:
    good = {"annotated_prompt": "edema.", "img_savename": "good.png", "view": "PA", "seed": "3", "labels_dict": "{}"}
    bad = {
        "the prompt is empty": {"annotated_prompt": "  "},
        "'../../escape.png'": {"img_savename": "../../escape.png"},
        "'/etc/passwd'": {"img_savename": "/etc/passwd"},
        "'a\\..\\b.png'": {"img_savename": "a\\..\\b.png"},
        "begin with a dot": {"img_savename": ".part-a.png"},
        "longer than 200 bytes": {"img_savename": "é" * 101},
        "the view is 'OBLIQUE'": {"view": "OBLIQUE"},
        "the seed is '-1'": {"seed": "-1"},
        "expected a dict": {"labels_dict": "Edema"},
        "the label Edema is '7'": {"labels_dict": "{'Edema': 7}"},
        "20002 tokens and the encoder takes 40": {"annotated_prompt": "aa " * 10_000},
    }
    rows = [good, *({**good, "img_savename": f"bad{i}.png", **change} for i, change in enumerate(bad.values()))]
    assert synthesize(write_prompts(tmp_path / "p.csv", rows), stable_diffusion, tmp_path / "out") == 1
    reasons = [row["reason"] for row in table(tmp_path / "out" / "errors.csv")]
    assert len(reasons) == len(bad)
    for message in bad:
        assert sum(message in reason for reason in reasons) == 1, message
    assert [row["filename"] for row in table(tmp_path / "out" / "metadata.csv")] == ["good.png"]
    assert not list(tmp_path.parent.rglob("escape.png"))
    assert "skipped: 11" in (tmp_path / "out" / "README.md").read_text()


def test_a_long_report_is_cut_only_when_allowed_and_that_is_said(
    stable_diffusion: Path, tmp_path: Path, capsys: Any
) -> None:
    rows = [{"prompt": "a" * 60, "name": "long"}, {"prompt": "a" * 30, "name": "short"}]
    prompts = write_prompts(tmp_path / "p.csv", rows)
    assert synthesize(prompts, stable_diffusion, tmp_path / "out", "--long-prompts", "cut") == 0
    assert "1 of 2 texts are longer" in capsys.readouterr().out
    cut = {row["filename"]: row["tokens_cut"] for row in table(tmp_path / "out" / "metadata.csv")}
    assert cut == {"long.png": "22", "short.png": "0"}  # 60 letters, a beginning and an end; 40 fit
    assert "cut: 1" in (tmp_path / "out" / "README.md").read_text()


def test_what_cannot_work_is_told_before_the_batch(
    stable_diffusion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "")
    out = tmp_path / "out"
    for rows, message in {
        ("text\n", "edema\n"): "no column annotated_prompt or prompt; its columns are text",
        ("prompt,name\n", "a,x.png\n", "b,X.jpg\n"): "more than once: x.png",
        ("prompt\n",): "no rows",
    }.items():
        (tmp_path / "p.csv").write_text("".join(rows))
        with pytest.raises(ValueError, match=message):
            synthesize(str(tmp_path / "p.csv"), stable_diffusion, out)
    for text, message in {
        'prompt\nclear\n"edema\n': r"p\.csv line 3: a quote is opened in the row that begins here and never closed",
        "prompt,name,prompt\na,b,c\n": "the column prompt is there more than once",
    }.items():
        (tmp_path / "p.csv").write_text(text)
        with pytest.raises(ValueError, match=message):
            synthesize(str(tmp_path / "p.csv"), stable_diffusion, out)
    (tmp_path / "p.csv").write_bytes(b"prompt\n\xff\xfe\n")
    with pytest.raises(ValueError, match="not UTF-8"):
        synthesize(str(tmp_path / "p.csv"), stable_diffusion, out)
    prompts = write_prompts(tmp_path / "p.csv", [{"prompt": "a"}])
    for words, message in {
        ("--steps", "0"): "--steps 0",
        ("--guidance", "report=3"): "one guidance scale",
        ("--guidance", "much"): "expected a number",
        ("--template", "x"): "must hold",
        ("--format", "zip"): "webdataset, parquet, llava",
        ("--lora", str(tmp_path / "gone.safetensors")): "no such .safetensors",
        ("--filter-threshold", "2"): "from 0 to 1",
        ("--size", "33"): "--size 33: .*divisible by 8",
        ("--size", "33", "--workers", "2"): "--size 33: .*divisible by 8",
        ("--filter", str(tmp_path / "gone.pt")): "no such classifier",
        ("--executor", "ray", "--ray-address", "127.0.0.1:9"): "no Ray cluster answers at 127.0.0.1:9",
    }.items():
        with pytest.raises((ValueError, OSError), match=message):
            synthesize(prompts, stable_diffusion, out, *words)
    with pytest.raises(OSError, match="model_index"):
        synthesize(prompts, tmp_path, out)
    with pytest.raises(OSError, match="no such CSV"):
        synthesize(str(tmp_path / "none.csv"), stable_diffusion, out)
    assert not out.exists()


def test_equal_rows_without_names_get_names_and_seeds_of_their_own(stable_diffusion: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "edema."}, {"prompt": "clear."}, {"prompt": "edema."}]
    found = []
    for name, order in (("a", rows), ("b", [rows[1], rows[0], rows[2]])):
        assert synthesize(write_prompts(tmp_path / "p.csv", order), stable_diffusion, tmp_path / name) == 0
        found.append(dataset(tmp_path / name))
    assert found[0] == found[1]
    assert len({content for name, content in found[0].items() if name.startswith("images/")}) == 3
    assert synthesize(str(tmp_path / "p.csv"), stable_diffusion, tmp_path / "c", "--seed", "1") == 0
    other = dataset(tmp_path / "c")
    pictures = [name for name in other if name.startswith("images/")]
    assert len(pictures) == 3 and all(other[name] != found[0][name] for name in pictures)
