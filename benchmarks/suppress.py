"""Images a second of `radiolucent suppress` beside its network alone, by the image's size.

python -m benchmarks.suppress [--sizes 256 512 1024 3000] [--images 6] [--repeats 3] [--batch 1] [--precision float32]

The network alone sees what the command lets it see (512 pixels and their mirror image, and once more 1024 where the
radiograph is larger), the images ready in memory. Both in turns, in one process; the ratio in CPU seconds holds on a
busy machine too, that in wall time needs a quiet one.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


def main() -> None:
    """A line for each size."""
    from radiolucent.cli import dispatch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024, 3000])
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--precision", default="float32")
    args = parser.parse_args()
    shared = ["--batch", str(args.batch), "--precision", args.precision]
    with tempfile.TemporaryDirectory() as home:
        for size in args.sizes:
            folder = Path(home) / str(size)
            pixels = draw(folder, size, args.images)

            def command(turn: int, folder: Path = folder) -> None:
                with contextlib.redirect_stdout(io.StringIO()):
                    assert dispatch(["suppress", str(folder), "--out", f"{folder}_{turn}", *shared]) == 0

            alone = network_alone(pixels, args.batch, args.precision)
            cases: dict[str, Callable[[int], object]] = {"network": lambda turn, alone=alone: alone(), "all": command}
            runs: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
            for turn in range(args.repeats + 1):  # the first is not counted
                for name, case in cases.items():
                    start, cpu = time.perf_counter(), time.process_time()
                    case(turn)
                    runs[name].append((time.perf_counter() - start, time.process_time() - cpu))
            wall, cpu_s = (
                {name: statistics.median(run[i] for run in found[1:]) / args.images for name, found in runs.items()}
                for i in (0, 1)
            )
            line = {"pixels": size, "images_per_s": round(1 / wall["all"], 2), "cpu_s": round(cpu_s["all"], 3)}
            ratios = {"wall": wall["network"] / wall["all"], "cpu": cpu_s["network"] / cpu_s["all"]}
            ratios = {f"network_over_all_{name}": round(ratio, 2) for name, ratio in ratios.items()}
            print(json.dumps(line | ratios), flush=True)


def draw(folder: Path, size: int, images: int) -> np.ndarray:
    """Radiographs of the sample CT, a little turned each, in a folder; float32 (N, size, size)."""
    from drr import ConeBeam, detector_response, project, sample_ct
    from radiographs import write_radiograph

    volume = sample_ct()
    beam = ConeBeam.preset("PA", volume, (size, size))
    drawn = []
    for number in range(images):
        pixels = detector_response(project(volume, [beam.orbit(number)], ("total",))[0, 0]).numpy()
        write_radiograph(folder / f"{number}.png", pixels, 16)
        drawn.append(pixels)
    return np.stack(drawn)


def network_alone(pixels: np.ndarray, batch: int, precision: str) -> Callable[[], None]:
    """The network's calls for images (N, H, W) as the command makes them, without anything around them."""
    from radiographs import fit
    from radiolucent import Suppressor
    from radiolucent.suppression.model import look_again_at, predict_squares

    suppressor = Suppressor(precision=precision)
    pipeline, size, side = suppressor.pipeline, suppressor.size, suppressor.detail
    first = np.stack([fit(image, size)[0] for image in pixels])
    second = np.stack([fit(image, side)[0] for image in pixels]) if side and max(pixels.shape[1:]) > size else None

    def calls() -> None:
        for at in range(0, len(first), batch):
            predict_squares(pipeline, first[at : at + batch], 0, lungs=None, steps=None, tile=suppressor.tile)
            if second is not None:
                look_again_at(pipeline, second[at : at + batch], 0, steps=None)

    return calls


if __name__ == "__main__":
    main()
