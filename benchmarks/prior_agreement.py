"""A model that draws the current film of a given prior, and whether it does: `python -m benchmarks.prior_agreement`.

`radiolucent drr --prior-current` of the packaged CT and others (--ct) -> `radiolucent fit` of
configs/synthesis/prior_rendered.yaml, from the packaged synthesis model, first on pairs whose two exposures differ in
pose, then on pairs whose exposures are alike, by which it learns to copy; with --rendered, the data of
benchmarks.prompt_agreement, then on all of these together, by which it draws without a prior as well, with each finding
weighed alike however small -> `radiolucent synthesize` of the current
films of a CT held out (--held-out), whose exposures are alike too, so that only what the report says has changed. Each
is drawn from its own prior and its own report with what changed; and, to compare, with the words of another pair, with
another body's prior, and without one. results.json has, for each, against the true current film after a blur of 2
pixels:

- likeness: the mean correlation with it; nearest: how often it is the most alike of all true films;
- change: where findings changed, the mean correlation of drawn minus prior with true minus prior; amount: the mean
  slope of the one on the other, 1 where all of the change was drawn and 0 where nothing was.

montage.png shows prior, true current film, and what was drawn; --ship FOLDER is the model as it is packaged. A stage
whose result is there is skipped.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import yaml

from benchmarks.prompt_agreement import BOX_GUIDANCE, SIZE, fit, radiolucent, ship
from benchmarks.proof_bodies import body_of
from benchmarks.proof_classifier import read_images
from drr import Volume
from evaluation.reporting.montage import montage, to_grey
from radiographs.files import atomic_path
from radiographs.readers.base import joined

PACKAGED = Path(__file__).resolve().parents[1] / "radiolucent" / "synthesis_model"
FINDINGS = [  # of the sizes that the packaged model knows
    {"kind": "nodule", "probability": 0.45, "diameter_mm": [32, 52]},
    {"kind": "consolidation", "probability": 0.35},
    {"kind": "pleural effusion", "probability": 0.45},
    {"kind": "pneumothorax", "probability": 0.35, "severity": ["moderate", "large"]},
    {"kind": "cardiomegaly", "probability": 0.3},
]
STILL = {"turn_degrees": 0, "tip_degrees": 0, "shift_mm": 0, "zoom": 0, "exposure": 0}
COLUMNS = ["image", "report", "view", "patient", "study", "split", "boxes", "masks", "prior_image", "comparison"]
PLACE_WEIGHT = 0.3  # of the whole picture's, for each finding
PACKAGED_GUIDANCE = {"report": 8.0, "view": 4.0, "region": BOX_GUIDANCE}  # chosen by benchmarks.prompt_agreement
BLUR = 2.0  # pixels
SHOWN = 6  # pairs on the montage
Row = dict[str, str]


def write_body(ct: str, folder: Path, maps: Path) -> Path:
    """A CT on voxels of 2 mm, and its label map; the file."""
    import SimpleITK as sitk

    body: Volume = body_of(ct)
    path = folder / f"{Path(ct).name.split('.')[0]}.nii.gz"
    spacing = np.linalg.norm(body.affine[:3, :3], axis=0)
    assert body.labels is not None
    for values, file in ((body.hu, path), (body.labels.astype(np.uint8), maps / path.name)):
        image = sitk.GetImageFromArray(values)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((body.affine[:3, :3] / spacing).ravel().tolist())
        image.SetOrigin(body.affine[:3, 3].tolist())
        file.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(file), True)
    with open(maps / "structures.csv", "w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([("id", "structure"), *body.structures.items()])
    return path


def render(out: Path, cts: Sequence[str], studies: int, seed: int, still: bool, sample: bool) -> Path:
    """Pairs of priors and currents, frontal, of each CT; the folder with exports/table.csv."""
    pairs = out / "pairs"
    if not (pairs / "exports" / "table.csv").is_file():
        files = [write_body(ct, out / "cts", out / "maps") for ct in cts]
        plan = {
            "seed": seed,
            "studies": studies,
            "body_mm": 8,
            "findings": FINDINGS,
            **({"pose": STILL} if still else {}),
        }
        out.mkdir(parents=True, exist_ok=True)
        (out / "plan.yaml").write_text(yaml.safe_dump(plan))
        maps = ["--label-maps", out / "maps"] if files else []
        views = ["--view", "PA", "--view", "AP"]
        shown = ["--size", SIZE, "--materials", "total", "--look", "equalised", "--export", "table"]
        asked = ["--findings", out / "plan.yaml", "--prior-current", *maps, *views, *shown, "--out", pairs]
        radiolucent("drr", *(["sample"] if sample else []), *files, *asked)
    return pairs


def read_pairs(pairs: Path) -> list[Row]:
    """The current films' rows."""
    with open(pairs / "exports" / "table.csv", newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["prior_image"]]


def changed(pairs: Path, row: Row) -> bool:
    """Whether a finding is new, gone or of another size."""
    truth = json.loads((pairs / row["image"].replace("images/", "truth/")).with_suffix(".json").read_text())
    return any(finding["change"] != "unchanged" for finding in truth["findings"])


def drawn(
    out: Path, model: Path, pairs: Path, rows: Sequence[Row], priors: Sequence[Row], words: Sequence[Row], options
):
    """(N, S, S): each row's view, drawn of another row's words and prior; without `priors` of the words alone."""
    table = out.with_suffix(".csv")
    names = [f"{number:04d}.png" for number in range(len(rows))]
    with atomic_path(table) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("filename", "prompt", "view", "seed", "prior"))
        for number, (name, row, word) in enumerate(zip(names, rows, words)):
            prior = str((pairs / priors[number]["prior_image"]).resolve()) if priors else ""
            writer.writerow((name, joined(word["report"], word["comparison"]), row["view"], number, prior))
    radiolucent("synthesize", "--prompts", table, "--checkpoint", model, "--out", out, "--workers", 0, *options)
    return read_images(out / "images", names)[:, 0].numpy()


def centred(images: np.ndarray) -> np.ndarray:
    """(N, S * S): blurred, of mean 0."""
    flat = np.stack([cv2.GaussianBlur(image, (0, 0), BLUR) for image in images]).reshape(len(images), -1)
    return flat - flat.mean(axis=1, keepdims=True)


def correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M) of the rows of two arrays as `centred` gives them."""
    norms = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
    return a @ b.T / np.maximum(norms, 1e-9)


def figures(images: np.ndarray, true: np.ndarray, prior: np.ndarray, there: np.ndarray) -> dict[str, float]:
    """What the module's docstring says of (N, S, S) each; there: bool (N,), which pairs' findings changed."""
    seen, truth, before = centred(images), centred(true), centred(prior)
    alike = correlations(seen, truth)
    ours, theirs = (seen - before)[there], (truth - before)[there]
    return {
        "likeness": float(np.diag(alike).mean()),
        "nearest": float((alike.argmax(axis=1) == np.arange(len(alike))).mean()),
        "change": float(np.diag(correlations(ours, theirs)).mean()),
        "amount": float(((ours * theirs).sum(axis=1) / (theirs**2).sum(axis=1)).mean()),
    }


def train(
    out: Path, start: str, data: Path, steps: int, rate: float, seed: int, table: Path | None = None, weight: float = 0
) -> Path:
    """The folder of the model that training makes of another one."""
    given = (
        f"--model.init_args.start={start}",
        f"--model.init_args.vqgan={Path(start) / 'vqgan'}",
        f"--model.init_args.text_encoder.init_args.cache={out.parent / 'texts'}",
        f"--model.init_args.optimizer.init_args.lr={rate}",
        f"--data.init_args.root={data}",
        f"--data.init_args.table={table or data / 'exports' / 'table.csv'}",
        f"--model.init_args.place_weight={weight}",
        f"--trainer.max_steps={steps}",
        "--trainer.enable_progress_bar=false",
        f"--seed_everything={seed}",
    )
    return fit("synthesis/prior_rendered.yaml", out, *given)


def mix(out: Path, rendered: Path) -> tuple[Path, Path]:
    """One table of rendered radiographs without a prior and of both kinds of pairs: (the images' root, the table)."""
    root = out / "mixed_data"
    root.mkdir(exist_ok=True)
    parts = {"rendered": rendered / "CXR", "moved": out / "train" / "pairs", "alike": out / "alike" / "pairs"}
    for name, folder in {**parts, "masks": rendered / "masks"}.items():
        if not (root / name).is_symlink():
            (root / name).symlink_to(folder.resolve())
    rows: list[Row] = []
    with open(rendered / "reports.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] == "train":
                alone = row["image"] if int(row["patient"][-2:]) % 4 else row["study"]  # a fourth see another view
                rows.append({**row, "image": f"rendered/{row['image']}", "study": alone})
    for part in ("moved", "alike"):
        with open(root / part / "exports" / "table.csv", newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                named = {key: f"{part}/{row[key]}" for key in ("image", "prior_image", "patient", "study") if row[key]}
                rows.append({**row, **named, "split": "train", "masks": ""})
    with atomic_path(root / "table.csv") as path, open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return root, root / "table.csv"


def run(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Every stage; the results, which are also in results.json."""
    out = Path(options.out)
    seed = options.seed
    moved = render(out / "train", options.ct, options.studies, seed, still=False, sample=True)
    alike = render(out / "alike", options.ct, options.alike_studies, seed + 2, still=True, sample=True)
    pairs = render(out / "held_out", [options.held_out], options.held_out_studies, seed + 1, still=True, sample=False)
    first = train(out / "first", options.start, moved, options.steps, 6e-4, seed)
    model = train(out / "diffusion", str(first), alike, options.alike_steps, 1e-3, seed)
    if options.rendered:
        data, table = mix(out, Path(options.rendered))
        model = train(out / "mixed", str(model), data, options.mixed_steps, 6e-4, seed, table, PLACE_WEIGHT)
    rows = read_pairs(pairs)
    sampling = ["--steps", options.sampling_steps, "--micro-batch", 8, "--guidance", f"image={options.image_guidance}"]
    sampling += ["--guidance", f"report={options.report_guidance}"]
    half = len(rows) // 2
    others = [*rows[half:], *rows[:half]]  # of another study
    asked = {
        "own prior, own words": (rows, rows),
        "own prior, other words": (rows, others),
        "other prior, own words": (others, rows),
        "no prior, own words": ((), rows),
    }
    size = (SIZE, SIZE)
    true, prior = (read_images(pairs, [row[key] for row in rows])[:, 0].numpy() for key in ("image", "prior_image"))
    assert true.shape[1:] == size
    there = np.array([changed(pairs, row) for row in rows])
    results: dict[str, dict[str, float]] = {"pairs": {"all": len(rows), "changed": int(there.sum())}}
    results["the prior itself"] = figures(prior, true, prior, there)
    columns = [prior, true]
    for name, (priors, words) in asked.items():
        folder = out / name.replace(", ", "_").replace(" ", "_")
        columns.append(drawn(folder, model, pairs, rows, priors, words, sampling))
        results[name] = figures(columns[-1], true, prior, there)
        print(name, json.dumps(results[name]), flush=True)
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    if options.ship:
        kept = {**PACKAGED_GUIDANCE, "image": options.image_guidance}
        ship(model, Path(options.ship), kept, options.sampling_steps)
    chosen = np.flatnonzero(there)[:: max(1, int(there.sum()) // SHOWN)][:SHOWN]
    pictures = [[cv2.resize(to_grey(one[n]), None, fx=1.4, fy=1.4) for one in columns] for n in chosen]
    montage(pictures, ["prior", "true current", *asked], out / "montage.png")
    return results


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder for data, model, images, results.json and montage.png")
    parser.add_argument("--ct", nargs="*", default=[], help="CTs to train on beside the packaged one")
    parser.add_argument("--held-out", required=True, help="CT of the pairs that judge")
    parser.add_argument(
        "--start", default=str(PACKAGED), help="the synthesis model to begin with; default: the packaged one"
    )
    parser.add_argument(
        "--studies", type=int, default=250, help="pairs of studies of each CT, each seen from PA and AP"
    )
    parser.add_argument("--held-out-studies", type=int, default=60)
    parser.add_argument("--steps", type=int, default=3500, help="of 16 pictures, on these")
    parser.add_argument("--alike-studies", type=int, default=120, help="pairs of each CT whose exposures are alike")
    parser.add_argument("--alike-steps", type=int, default=1300, help="of 16 pictures, on these")
    parser.add_argument("--rendered", help="prompt_agreement's folder of data, to train on beside the pairs")
    parser.add_argument("--mixed-steps", type=int, default=4800, help="of 16 pictures, on all of these")
    parser.add_argument("--ship", help="folder for the model as it is packaged")
    parser.add_argument("--sampling-steps", type=int, default=20)
    parser.add_argument("--image-guidance", type=float, default=3.0)
    parser.add_argument("--report-guidance", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    options = parse(argv)
    Path(options.out).mkdir(parents=True, exist_ok=True)
    print(json.dumps(run(options), indent=1))


if __name__ == "__main__":
    main()
