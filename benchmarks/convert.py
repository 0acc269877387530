"""CT to radiographs at the rate of decompression: `python -m benchmarks.convert [--volumes 20] [--workers N]`.

20 volumes of 512 x 512 x 300 voxels as .nii.gz, two views at 512 x 512, three materials, all cores; against libdeflate
that only decompresses the same files in a pool of the same size: as it comes, and in our workers' environment (large
memory pages). All pools are warm before the clock runs. One JSON line: volumes a second of each and the
ratio of ours to the first; the workers' CPU seconds a volume and their ratio, which a busy machine disturbs less; a
worker's peak memory beyond that of a small volume (interpreter, torch, compiled code), in int16 volumes. Last, where a
volume's CPU time goes in one worker, in milliseconds (medians of five).
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.stages import time_stages

TURN = 5  # volumes a worker in each turn
STAGES = {  # what is timed, in the module in which it is looked up
    "decompress": "drr.io.nifti:_gunzip",
    "read the file": "drr.io.nifti:read_nifti",
    "clamp, tell the release": "drr.io.ct_rate:read_volume",
    "is there a chest": "radiolucent.rendering.images:check_chest",
    "average to 2.5 mm": "drr.anatomy.tissue:_coarsen",
    "find the body": "drr.anatomy.tissue:_find_body",
    "find the bone": "drr.anatomy.tissue:bone_from_hu",
    "cut out the body": "drr.anatomy.tissue:prepare",
    "place the beams": "drr.geometry:body_box",
    "cast": "drr.projection.in_place:project",
    "turn for the lateral": "drr.projection.in_place:turn",
    "grey levels": "radiolucent.rendering.images:to_pixels",
    "PNGs": "radiolucent.rendering.images:write_image",
}
small_takes = 0  # in a worker: bytes
SHAPE = (300, 512, 512)
VOLUME_BYTES = 2 * int(np.prod(SHAPE))


def write_volume(job: tuple[str, int]) -> None:
    """The sample CT on a grid of SHAPE with a scanner's noise, as a CT-RATE file of the second release."""
    import cv2
    import deflate
    import nibabel

    from drr import sample_ct
    from drr.io.read import LPS_FROM_RAS

    path, seed = job
    volume = sample_ct()
    rng = np.random.default_rng(seed)
    sections = np.stack([cv2.resize(s.astype(np.float32), SHAPE[:0:-1]) for s in volume.hu])
    hu = np.empty(SHAPE, np.int16)
    for out, place in zip(hu, np.linspace(0, len(sections) - 1, SHAPE[0])):
        below = min(int(place), len(sections) - 2)
        section = sections[below] + (place - below) * (sections[below + 1] - sections[below])
        noise = 12 * rng.standard_normal(section.shape, dtype=np.float32)
        out[:] = np.rint(np.where(section > -1020, section + noise, -1024))
    affine = volume.affine.copy()
    affine[:3, :3] *= (np.array(volume.hu.shape[::-1]) - 1) / (np.array(SHAPE[::-1]) - 1)
    image = nibabel.Nifti1Image(hu.T, LPS_FROM_RAS @ affine)
    Path(path).write_bytes(deflate.gzip_compress(image.to_bytes(), 6))


def decompress(path: str) -> None:
    """What no converter can do without."""
    import deflate

    deflate.gzip_decompress(Path(path).read_bytes(), VOLUME_BYTES + 352)


def convert(path: str) -> None:
    """What `radiolucent drr` does with one volume."""
    from drr.io.ct_rate import parse_name
    from radiolucent.rendering.images import render_volume
    from radiolucent.rendering.jobs import Job, Options

    name = parse_name(path)
    options = Options(["PA", "LL"], 512, ["total", "bone", "soft"], "standard", "display", True)
    out = tempfile.gettempdir() + "/radiolucent_convert"
    render_volume(Job(path, Path(path).name, name), out=out, options=options, backend="cpu")


def start(barrier: Any, work: Callable[[str], None], sample: str) -> None:
    """Warm a worker up: the sample CT for what any volume needs, then a whole volume; and wait for the others."""
    global small_takes
    if work is convert:
        convert("sample")
    small_takes = peak()
    work(sample)
    barrier.wait()


def peak() -> int:
    """This process's highest resident bytes so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def memory(_: int) -> int:
    """This worker's peak beyond that of a small volume."""
    time.sleep(0.2)  # so that no worker answers twice
    return peak() - small_takes


def timed(work: Callable[[str], None], path: str) -> float:
    """CPU seconds that the work takes."""
    begin = time.process_time()
    work(path)
    return time.process_time() - begin


def stages_of(path: str) -> dict[str, float]:
    """Milliseconds of a conversion's parts in this process."""
    found = time_stages(functools.partial(convert, path), STAGES, times=5)
    return {name: round(spent, 1) for name, spent in found.items()}


class Warm:
    """A warm pool, and what its workers took so far."""

    def __init__(self, work: Callable[[str], None], sample: str, workers: int, environment: dict[str, str]) -> None:
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(workers + 1)
        self.work, self.workers = functools.partial(timed, work), workers
        self.wall: list[float] = []
        self.cpu: list[float] = []
        with mock.patch.dict(os.environ, environment):
            self.pool = context.Pool(workers, start, (barrier, work, sample))
            barrier.wait()

    def run(self, paths: list[str]) -> None:
        """Work on these files."""
        begin = time.perf_counter()
        self.cpu += self.pool.imap_unordered(self.work, paths)
        self.wall.append(time.perf_counter() - begin)

    def rate(self) -> float:
        """Volumes a second."""
        return len(self.cpu) / sum(self.wall)

    def peak(self) -> int:
        """A worker's highest peak memory in bytes."""
        return max(self.pool.map(memory, range(self.workers), chunksize=1))


def main() -> None:
    """Print the JSON line."""
    from radiolucent.batch.executors import worker_environment

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volumes", type=int, default=20)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", help="keep the test volumes here (1.6 GB for 20)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [str(folder / f"train_{i}_a_1.nii.gz") for i in range(1, args.volumes + 1)]
        missing = [(path, i) for i, path in enumerate(paths) if not Path(path).exists()]
        with multiprocessing.get_context("spawn").Pool(args.workers) as pool:
            pool.map(write_volume, missing, chunksize=1)
        environment = worker_environment(args.workers)
        plain = Warm(decompress, paths[0], args.workers, {})
        paged = Warm(decompress, paths[0], args.workers, environment)
        ours = Warm(convert, paths[0], args.workers, environment)
        for first in range(0, len(paths), TURN * args.workers):  # in turns, so that a busy machine is so for all
            for warm in (plain, paged, ours):
                warm.run(paths[first : first + TURN * args.workers])
        highest = ours.peak()
        stages = ours.pool.apply(stages_of, (paths[0],))
        for warm in (plain, paged, ours):
            warm.pool.terminate()
        size = sum(Path(path).stat().st_size for path in paths) / len(paths)
    line = {
        "case": f"{args.volumes} x 512x512x300 .nii.gz, PA and LL at 512, total, bone, soft",
        "workers": args.workers,
        "file_mb": round(size / 1e6, 1),
        "decompress_volumes_per_s": round(plain.rate(), 3),
        "decompress_large_pages_volumes_per_s": round(paged.rate(), 3),
        "convert_volumes_per_s": round(ours.rate(), 3),
        "ratio": round(ours.rate() / plain.rate(), 3),
        "decompress_cpu_s": round(statistics.median(plain.cpu), 3),
        "decompress_large_pages_cpu_s": round(statistics.median(paged.cpu), 3),
        "convert_cpu_s": round(statistics.median(ours.cpu), 3),
        "cpu_ratio": round(statistics.median(plain.cpu) / statistics.median(ours.cpu), 3),
        "peak_over_volume": round(highest / VOLUME_BYTES, 2),
        "stages_ms": stages,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
