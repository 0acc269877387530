"""Drawn training pairs beside real radiographs, to be looked at: would a radiologist sort them?

    python -m benchmarks.looks --out looks.png [--real FOLDER] [--ct CT.nii.gz --ct ...] [--cache data/ct_pairs]

Rows of drawn radiographs and their soft tissue, then the real radiographs of a folder (none come with the project), all
at 384 pixels and in an order by seed. Where they differ is the next thing to mend in drr/pairs/draw.py, look.py or
film.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from drr.pairs.draw import PairOptions, draw_pair
from evaluation.inputs import images_in
from lightning_modules.data.ct_bodies import Projections, cast_missing
from radiographs import fit, read_radiograph

SIDE, COLUMNS, BODIES = 384, 6, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--real", help="folder of real radiographs")
    parser.add_argument("--ct", action="append", help="CTs besides the sample CT")
    parser.add_argument("--cache", default="data/ct_pairs")
    parser.add_argument("--rows", type=int, default=4, help="of drawn pairs")
    parser.add_argument("--pixel-mm", type=float, nargs=2, default=(0.6, 0.95))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    sources = [Projections(ct=ct) for ct in (None, *(args.ct or []))]
    cast_missing(sources, BODIES, Path(args.cache), 1)
    rng = np.random.default_rng(args.seed)
    images = []
    for _ in range(args.rows * COLUMNS // 2):
        settings = sources[int(rng.integers(len(sources)))]
        poses = np.load(settings.file(Path(args.cache), int(rng.integers(BODIES))), mmap_mode="r")
        options = PairOptions(pixel_mm=tuple(args.pixel_mm))
        pair = draw_pair(poses[int(rng.integers(len(poses)))], settings.pixel_mm, SIDE, options, rng)
        images += [pair.radiograph, pair.soft]
    if args.real:
        images += [fit(read_radiograph(path).pixels, SIDE)[0] for path in images_in(args.real).values()]
    images += [np.full((SIDE, SIDE), -1, np.float32)] * (-len(images) % COLUMNS)
    rows = [np.hstack(images[start : start + COLUMNS]) for start in range(0, len(images), COLUMNS)]
    cv2.imwrite(args.out, np.rint((np.vstack(rows) + 1) * 127.5).clip(0, 255).astype(np.uint8))
    print(f"{args.out}: {len(rows)} rows")


if __name__ == "__main__":
    main()
