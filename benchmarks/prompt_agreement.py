"""A synthesis model for the package, and whether it draws what is asked: `python -m benchmarks.prompt_agreement`.

On data whose truth is known: radiographs rendered from CTs with random findings, views and reports (proof_data) ->
a classifier of findings and views trained on these rendered radiographs, never on drawn ones (proof_classifier) ->
`radiolucent fit` of configs/vqgan/rendered.yaml and configs/synthesis/rendered.yaml -> the guidance, chosen on prompts
of its own -> `radiolucent synthesize` of 200 prompts, of wordings that training never saw and of bodies of a CT held
out (--held-out), in several numbers of steps, and with boxes -> results.json, montage.png and boxes.png; with --ship
FOLDER the model as it is packaged. Where findings were drawn is found by a detector (proof_detector), trained as the
classifier is. A stage whose result is there is skipped; a training that was stopped resumes from last.ckpt.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks import proof_data
from benchmarks.proof_classifier import (
    agreement,
    distances,
    load_classifier,
    read_images,
    save_classifier,
    train_classifier,
)
from benchmarks.proof_data import VIEWS, Row, read_rows
from benchmarks.proof_detector import load_detector, placement, save_detector, train_detector
from benchmarks.proof_pictures import asked, draw_boxes, montage_rows, picture
from evaluation.reporting.montage import montage
from radiographs.files import atomic_path
from radiolucent.cli import dispatch

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
SIZE = 192  # pixels, as both configs say
ABOUT = (
    "Its model was trained on radiographs rendered from CT with findings put in, not on patients' radiographs; "
    "research use only."
)
# regions as strongly as the report, which costs no answer of the network more
GUIDANCE = [("report=1",)] + [
    (f"report={report}", f"region={report}", f"view={view}") for report, view in ((2, 2), (4, 3), (6, 3), (8, 4))
]
BOX_GUIDANCE = 2.0  # of boxes that are given: as strong as the report's, findings glare in them
FEW_STEPS = (1, 2, 4)  # beside --sampling-steps
MONTAGE_SEEDS = (1, 2, 3, 4)


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


def synthesize(
    out: Path,
    model: Path,
    prompts: Sequence[tuple[str, Row, str, int]],
    options: Sequence[object],
    boxes: bool = False,
) -> Path:
    """`radiolucent synthesize` of (name, row, view, seed), if asked with the rows' boxes; the folder of the images."""
    table = out.with_suffix(".csv")
    with atomic_path(table) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("filename", "prompt", "view", "seed", "boxes"))
        places = (row["boxes"] if boxes else "" for _, row, _, _ in prompts)
        writer.writerows(
            (name, row["report"], view, seed, place) for (name, row, view, seed), place in zip(prompts, places)
        )
    radiolucent("synthesize", "--prompts", table, "--checkpoint", model, "--out", out, "--workers", 0, *options)
    return out / "images"


def drawn(
    out: Path, model: Path, rows: Sequence[Row], options: Sequence[object], seed: int, boxes: bool = False
) -> Tensor:
    """One image a row, (N, 1, S, S)."""
    prompts = [(f"{i:04d}.png", row, row["view"], 1000 * seed + i) for i, row in enumerate(rows)]
    folder = synthesize(out, model, prompts, options, boxes)
    return read_images(folder, [name for name, *_ in prompts])


def judged(out: Path, model: Path, rows: Sequence[Row], options: Sequence[object], classifier: Path, seed: int) -> dict:
    """What the classifier says of one image a row."""
    return agreement(load_classifier(classifier), drawn(out, model, rows, options, seed), rows, seed)


def placed(
    options: argparse.Namespace, model: Path, data: Path, rows: Sequence[Row], sampling: Sequence[object]
) -> dict:
    """Where the detector finds findings: rendered, drawn with the prompt's boxes, and drawn from its words alone."""
    out = Path(options.out)
    path = out / "detector.safetensors"
    if not path.is_file():
        save_detector(train_detector(data, read_rows(data / "reports.csv", "train"), options.detector_epochs, 0), path)
    detector = load_detector(path)
    boxed = [row for row in rows if row["boxes"]]
    if len(boxed) < 2:
        return {}
    rendered = read_images(data / "CXR", [row["image"] for row in boxed])
    with_boxes = drawn(out / "boxed", model, boxed, sampling, 3, boxes=True)
    draw_boxes(out, boxed, with_boxes)
    found = {"rendered": rendered, "with_boxes": with_boxes, "words": drawn(out / "unboxed", model, boxed, sampling, 3)}
    return {name: placement(detector, images, boxed, options.seed) for name, images in found.items()}


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


def render(options: argparse.Namespace) -> Path:
    """The folder of rendered radiographs with reports.csv."""
    data = Path(options.out) / "data"
    if not (data / "reports.csv").is_file():
        scenes = {
            "train": options.scenes,
            "validation": max(1, options.prompts * 3 // 25),
            "test": options.prompts,  # two pictures each; some reports are left out
        }
        cts = (None, *options.ct)
        proof_data.render(data, scenes, options.poses, SIZE, options.seed, options.workers, cts, options.held_out)
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
    out = Path(options.out)
    encoder = (
        [f"--model.init_args.text_encoder.init_args.source={options.text_encoder}"] if options.text_encoder else []
    )
    shared = (
        f"--seed_everything={options.seed}",
        "--trainer.enable_progress_bar=false",
        f"--data.init_args.workers={options.workers}",
    )
    vqgan = fit(
        "vqgan/rendered.yaml",
        out / "vqgan",
        f"--data.init_args.root={data}",
        f"--trainer.max_epochs={options.vqgan_epochs}",
        *shared,
    )
    return fit(
        "synthesis/rendered.yaml",
        out / "diffusion",
        f"--model.init_args.vqgan={vqgan}",
        *encoder,
        f"--model.init_args.text_encoder.init_args.cache={out / 'texts'}",
        f"--data.init_args.root={data / 'CXR'}",
        f"--data.init_args.table={data / 'reports.csv'}",
        f"--trainer.max_steps={options.steps}",
        *shared,
    )


def choose_guidance(out: Path, model: Path, rows: Sequence[Row], given: Sequence[object], judge: Path) -> dict:
    """Each of GUIDANCE on prompts of their own, and the one with the best `score`."""
    path = out / "guidance.json"
    if not path.is_file():
        tried = {}
        for n, scales in enumerate(GUIDANCE):
            words = [*given, *(word for scale in scales for word in ("--guidance", scale))]
            found = judged(out / f"tune_{n}", model, rows, words, judge, seed=1)
            tried[" ".join(scales)] = {key: found[key] for key in ("views", "mean_points", "sides")}
            print(scales, tried[" ".join(scales)], flush=True)
        best = max(tried, key=lambda name: score(tried[name]))
        path.write_text(json.dumps({"chosen": best, "tried": tried}, indent=1))
    return json.loads(path.read_text())


def score(found: dict[str, Any]) -> float:
    """What a guidance is chosen by, in points: findings above chance, views and sides."""
    right = found["sides"]["right"]
    return found["mean_points"] + 100 * found["views"] + (0 if math.isnan(right) else 100 * right)


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
    model = Path(options.model) if options.model else train_model(options, data)
    sampling = ["--steps", options.sampling_steps, "--micro-batch", 8]
    guidance = choose_guidance(out, model, tune, sampling, judge)
    sampling += [word for scale in guidance["chosen"].split() for word in ("--guidance", scale)]
    classifier = load_classifier(judge)
    pictures = drawn(out / "drawn", model, rows, sampling, options.seed)
    results["drawn"] = agreement(classifier, pictures, rows, options.seed)
    results["distances"] = distances(classifier, pictures, images)
    results["boxes"] = placed(options, model, data, rows, [*sampling, "--guidance", f"region={BOX_GUIDANCE}"])
    for steps in FEW_STEPS:
        few = ["--steps", steps, *sampling[2:]]
        results[f"drawn_in_{steps}"] = judged(out / f"drawn_{steps}", model, rows, few, judge, options.seed)
    results |= {"guidance": guidance, "train_images": len(train), "steps": options.steps}
    aside = [row for row in test if row not in rows]  # nothing was ever chosen by these
    if aside:
        results["drawn_aside"] = judged(out / "aside", model, aside, sampling, judge, seed=2)
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    draw_montage(out, model, data, rows, sampling)
    if options.ship:
        scales = dict(scale.split("=") for scale in guidance["chosen"].split())
        kept = {name: float(scale) for name, scale in scales.items()} | {"region": BOX_GUIDANCE}
        ship(model, Path(options.ship), kept, options.sampling_steps)
    return results


def ship(model: Path, folder: Path, guidance: dict[str, float], steps: int) -> None:
    """The model as it is packaged: half precision, without its text encoder, with its guidance and what it is."""
    import torch

    from diffusion import SynthesisPipeline

    trained = SynthesisPipeline.from_pretrained(model, text_encoder=None, tokenizer=None)
    parts = (trained.vqgan, trained.unet, trained.scheduler, trained.conditioner)
    views = trained.config["trained_views"]
    kept = SynthesisPipeline(
        *parts, SIZE, trained.config["latent"], steps, guidance=guidance, about=ABOUT, trained_views=views
    )
    kept.to(torch.float16).save_pretrained(folder)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder for data, models, images, results.json and montage.png")
    parser.add_argument("--model", help="folder of a model to judge, instead of training one")
    parser.add_argument("--text-encoder", help="folder of a text encoder 384 wide; default: MiniLM")
    parser.add_argument("--ct", nargs="*", default=[], help="CTs to train on beside the packaged one")
    parser.add_argument("--held-out", help="CT of the prompts' bodies; default: other deformations of those trained on")
    parser.add_argument("--ship", help="folder for the model as it is packaged")
    parser.add_argument("--scenes", type=int, default=1000, help="bodies with findings to train on")
    parser.add_argument("--poses", type=int, default=2, help="pictures of each of them in each of the four views")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--vqgan-epochs", type=int, default=7, help="of 150 steps")
    parser.add_argument("--steps", type=int, default=12000, help="of the diffusion model's training")
    parser.add_argument("--sampling-steps", type=int, default=20)
    parser.add_argument("--classifier-epochs", type=int, default=30)
    parser.add_argument("--detector-epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes that render and read; 0: this one")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    options = parse(argv)
    Path(options.out).mkdir(parents=True, exist_ok=True)
    print(json.dumps(run(options)))


if __name__ == "__main__":
    main()
