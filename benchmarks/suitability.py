"""What is said of suppress's inputs: `python -m benchmarks.suitability [--ct FILE...] [--radiographs DIR] [--views]`.

One JSON line a group, {"group", "images", and how many of them were called what} by `radiographs.suitability`, and with
--views also by the view classifier, of what passed as fine ("judged ..."). Groups: the CTs' renderings from the
front, the side and between, in the plain look and in random vendor looks, whole and cut to the body; the same turned
into negatives; axial slices in four windows; frontals that are cropped, tilted, framed and made opaque; the images in
DIR, as they are and as negatives; the test images of scikit-image where that is installed. Without --ct the packaged
sample CT.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from drr import (
    ConeBeam,
    Look,
    Volume,
    detector_response,
    isolate_body,
    project,
    read_ct,
    render_pair,
    sample_ct,
    separate_bone,
)
from radiographs import read_radiograph
from radiographs.kinds import radiographs_in
from radiographs.suitability import Suitability, assess
from radiolucent.suppression.input_check import view_warning

SIDE = 256
ORBITS = {"oblique 10": 10, "oblique 20": 20, "oblique 30": 30, "oblique 45": 45, "oblique 60": 60}
FRONTAL = ("PA", "AP")
WINDOWS = {"full": (300, 2600), "lung": (-600, 1500), "soft": (40, 400), "wide": (-200, 1600)}  # HU: centre, width
WORDS = {
    "maybe bones": "maybe negative",
    "on its side": "on its side",
    "one lung": "lateral",
    "no frontal": "no chest",
    "a slice": "slice",
    "without greys": "drawing",
    "no anatomy": "noise",
    "nothing to see": "flat",
}
JUDGED = {"a lateral": "judged lateral", "a negative": "judged negative", "to lie": "judged turned"}
Images = list[tuple[str, np.ndarray]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ct", nargs="*", type=str, default=[], help="CT volumes (default: the packaged sample)")
    parser.add_argument("--radiographs", nargs="*", type=str, default=[], help="folders of frontal radiographs")
    parser.add_argument("--looks", type=int, default=4, help="random vendor looks for each view")
    parser.add_argument("--views", action="store_true", help="what the view classifier adds, too")
    options = parser.parse_args()
    images: Images = []
    for number, volume in enumerate([read_ct(path) for path in options.ct] or [sample_ct()]):
        images += renderings(volume, options.looks, number)
    for folder in options.radiographs:
        found = [read_radiograph(path).pixels for path in radiographs_in(Path(folder))[0]]
        images += [(f"radiographs of {Path(folder).name}", pixels) for pixels in found]
    images += pictures()
    frontal = [pixels for group, pixels in images if group in FRONTAL or group.startswith("radiographs of")]
    negatives = [(f"negative of {group}", -pixels) for group, pixels in images]
    for group, count in confusion([*images, *spoiled(frontal), *negatives], options.views).items():
        print(json.dumps({"group": group, "images": sum(count.values()), **count}), flush=True)


def renderings(volume: Volume, looks: int, seed: int) -> Images:
    """(group, float32 (H, W) in [-1, 1]): projections in `looks` random looks and a plain one, and axial slices."""
    volume, rng = separate_bone(isolate_body(volume)), np.random.default_rng(seed)
    beams = {view: ConeBeam.preset(view, volume, shape=(SIDE, SIDE)) for view in ("PA", "AP", "LL", "RL")}
    beams |= {name: beams["PA"].orbit(degrees) for name, degrees in ORBITS.items()}
    lines = project(volume, list(beams.values()), materials=("bone", "soft")).numpy()
    images = []
    for view, (bone, soft) in zip(beams, lines):
        body = _box(bone + soft)
        drawn = [detector_response(bone + soft), *(render_pair(soft, bone, Look.random(rng))[0] for _ in range(looks))]
        images += [(view, image[box]) for image in drawn for box in (slice(None), body)]
    for part in (0.15, 0.3, 0.45, 0.6, 0.75, 0.9):
        plane = volume.hu[int(part * (len(volume.hu) - 1))].astype(np.float32)
        images += [("axial slice", np.clip((plane - c) / w * 2, -1, 1)) for c, w in WINDOWS.values()]
    return images


def _box(lines: np.ndarray) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(lines.max(axis=1) > 1), np.flatnonzero(lines.max(axis=0) > 1)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def spoiled(frontal: list[np.ndarray]) -> Images:
    """Frontal radiographs as they may come: none of them is to be turned, and few are to be called odd."""
    images: Images = []
    for pixels in frontal:
        height, width = pixels.shape
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), 12, 1)
        lungs = pixels[height // 8 : 3 * height // 4, width // 7 : 6 * width // 7]
        images += [
            ("hard: one lung opaque", _opaque(pixels, (0.3,), 0.45, 0.35, 1.2)),
            ("hard: effusions", _opaque(pixels, (0.3, 0.7), 0.65, 0.2, 0.9)),
            ("hard: both lungs hazy", _opaque(pixels, (0.3, 0.7), 0.45, 0.3, 0.45)),
            ("hard: tilted", cv2.warpAffine(pixels, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)),
            ("hard: lungs alone", lungs),
            ("hard: white frame", np.pad(pixels, width // 8, constant_values=1)),
            ("hard: off centre", pixels[:, width // 5 :]),
            ("hard: bright", ((pixels + 1) / 2) ** 0.5 * 2 - 1),
            ("hard: dark", ((pixels + 1) / 2) ** 2.2 * 2 - 1),
        ]
    return images


def _opaque(pixels: np.ndarray, columns: tuple[float, ...], row: float, half: float, amount: float) -> np.ndarray:
    """Soft-edged opacities at (row, columns), in parts of the image."""
    height, width = pixels.shape
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width])[:, None, None]
    found = pixels
    for column in columns:
        found = found + amount * np.exp(-((((x - column) / 0.18) ** 2 + ((y - row) / half) ** 2) ** 2))
    return found.clip(-1, 1).astype(np.float32)


def pictures() -> Images:
    """Photographs, textures and drawings."""
    try:
        import skimage
    except ImportError:
        return []
    paths = sorted((Path(skimage.__file__).parent / "data").glob("*.*"))
    found = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths if path.suffix in (".png", ".jpg"))
    return [("no radiograph", image.astype(np.float32) / 127.5 - 1) for image in found if image is not None]


def confusion(images: Images, views: bool = False) -> dict[str, Counter[str]]:
    """{group: {what it was called: how often}}; views: what passed is shown to the view classifier."""
    table: dict[str, Counter[str]] = {}
    for group, pixels in images:
        word = called(assess(pixels))
        table.setdefault(group, Counter())[judged(pixels) if views and word == "fine" else word] += 1
    return table


def judged(pixels: np.ndarray) -> str:
    """One word for what the view classifier says of an image that passed; "fine" where that is nothing."""
    said = view_warning(pixels)
    return next((word for part, word in JUDGED.items() if part in said), "judged no chest" if said else "fine")


def called(found: Suitability) -> str:
    """One word for a verdict; "fine" where a model may have the image as it is."""
    if found.inverted:
        return "turned"
    words = [word for text in found.warnings for part, word in WORDS.items() if part in text]
    return words[0] if words else "fine"


if __name__ == "__main__":
    main()
