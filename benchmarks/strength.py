"""How strongly an image shows its bones: the law that a model reads it off by, fitted on drawn pairs.

    python -m benchmarks.strength MODEL --ct CT.nii.gz [--out radiolucent/model [--record]] [--pairs 96]

Pairs are drawn from a CT that the model was not trained on. For each, the factor on the predicted bone that is best
within the lungs is set against the slope of the radiograph on that bone (radiolucent.suppression.strength), which
needs no truth. MODEL is any SuppressionModel that says what size it was trained on. With --out it is written in 16 bits
for the package. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch

from diffusion.pipelines.contract import StrengthLaw, SuppressionModel, SuppressionPipeline
from drr.pairs.draw import PairOptions, draw_pair
from lightning_modules.data.ct_bodies import Projections, cast_missing
from lightning_modules.model_folder import replace_folder
from radiolucent.suppression.model import load_pipeline
from radiolucent.suppression.strength import bone_slope, strength_of

BODIES = 4
DETAIL = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--ct", help="default: the sample CT")
    parser.add_argument("--pairs", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="where to write the model for the package")
    parser.add_argument("--record", action="store_true", help="with --out: record the law, so that suppress applies it")
    args = parser.parse_args()
    pipeline = load_pipeline(args.model, "cpu")
    rows = measure(pipeline, args.ct, args.pairs, args.seed)
    slope, best = rows[:, 0], rows[:, 1]
    half = len(rows) // 2
    gain, offset = np.polyfit(slope[:half], best[:half], 1)
    low, high = np.quantile(best[:half], [0.1, 0.9])
    law = {"gain": round(float(gain), 3), "offset": round(float(offset), 3)}
    law["bounds"] = [round(float(min(low, 1.0)), 2), round(float(high), 2)]
    chosen = np.array([strength_of(s, law["gain"], law["offset"], law["bounds"]) for s in slope[half:]])
    figures = {
        name: round(float(np.mean(gains(rows[half:], factor))), 3)
        for name, factor in (
            ("gain_plain_db", np.ones(len(chosen))),
            ("gain_law_db", chosen),
            ("gain_best_factor_db", best[half:]),
        )
    }
    print(json.dumps({"law": law, "correlation": round(float(np.corrcoef(slope, best)[0, 1]), 3), **figures}))
    if args.out:
        package(pipeline, law if args.record else None, Path(args.out))


def measure(pipeline: SuppressionModel, ct: str | None, pairs: int, seed: int) -> np.ndarray:
    """(pairs, 5): slope, best factor, and <b, b>, <b, p>, <p, p> of truth b and prediction p in the lungs' rib band."""
    settings, rows = Projections(ct=ct), []
    size = pipeline.trained_size
    if size is None:
        raise SystemExit(f"a {type(pipeline).__name__} without trained_size: give a folder that records it")
    with tempfile.TemporaryDirectory() as cache:
        cast_missing([settings], BODIES, Path(cache), 1)
        for number in range(pairs):
            rng = np.random.default_rng([seed, number])
            poses = np.load(settings.file(Path(cache), number % BODIES), mmap_mode="r")
            options = PairOptions(pixel_mm=(0.7, 0.85), girdle_turn=40.0)
            pair = draw_pair(poses[int(rng.integers(len(poses)))], settings.pixel_mm, size, options, rng)
            predicted = pipeline.bone(torch.from_numpy(pair.radiograph)[None, None])[0, 0].detach().numpy()
            slope = bone_slope(pair.radiograph, predicted, pair.lungs)
            if slope is None:
                continue
            inside = cv2.erode(pair.lungs.astype(np.uint8), np.ones((9, 9))) > 0
            truth, answer = (_band(image)[inside] for image in (pair.radiograph - pair.soft, predicted))
            products = [float((truth * truth).sum()), float((truth * answer).sum()), float((answer * answer).sum())]
            rows.append([slope, products[1] / products[2], *products])
    return np.array(rows)


def gains(rows: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Gain in dB over doing nothing, in the lungs' rib band, of taking `factor` times the predicted bone."""
    _, _, bb, bp, pp = rows.T
    return 10 * np.log10(bb / (bb - 2 * factor * bp + factor**2 * pp))


def package(pipeline: SuppressionPipeline, law: StrengthLaw | None, out: Path) -> None:
    """Write the model in 16 bits, with a law or none and a second look at twice the size; `out`'s README.md stays."""
    if law is not None and "strength" not in pipeline.config:
        raise SystemExit(
            f"a {type(pipeline).__name__} has no option `strength` to record the law in: leave --record out"
        )
    made, options = pipeline.to(dtype=torch.float16), {"flips": True, "detail_size": DETAIL, "strength": law}
    made.register_to_config(**{name: value for name, value in options.items() if name in made.config})
    readme = out / "README.md"
    text = readme.read_text() if readme.is_file() else None
    replace_folder(made, out)
    if text is not None:
        readme.write_text(text)


def _band(image: np.ndarray) -> np.ndarray:
    low, high = (cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma) for sigma in (1.2, 14.0))
    return low - high


if __name__ == "__main__":
    main()
