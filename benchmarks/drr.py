"""The ray caster against its peers: `python -m benchmarks.drr [--peers rtk plastimatch] [--views frontal oblique]`.

Ours and every peer that is installed (the extra `bench`) cast the same volume of 512 x 512 x 300 voxels in one run,
alternately. One JSON line a case: seconds a view (the median and the fastest, wall clock, all cores), the CPU seconds,
the peer's median over ours with one material, and the relative L2 distance from Joseph's method in float64.
The volume is the sample CT's body, resampled, with air in its outer two voxels (so that no border cuts it).
Ours reads int16 HU; a peer is given float32 attenuation, and its conversion is not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.peers import PEERS, attenuation
from drr import ConeBeam, Volume, isolate_body, project, sample_ct, separate_bone
from drr.projection.ray import project_rays

SHAPE = (300, 512, 512)
MATERIALS = {1: ("total",), 3: ("total", "bone", "soft")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--views", nargs="+", default=["frontal", "oblique", "oblique45", "lateral"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[512, 1024])
    parser.add_argument("--repeats", type=int, default=7, help="casts a case; a peer slower than 2 s is cast once")
    options = parser.parse_args()
    volume = body()
    mu = attenuation(volume)
    exact = Volume(volume.hu.astype(np.float64), volume.affine)
    for size in options.sizes:
        for view, beam in views(volume, size).items():
            if view in options.views:
                truth = project_rays(exact.hu, None, volume.affine, beam)[0]
                run_case({"view": view, "size": size}, volume, mu, beam, truth, options)


def run_case(case: dict, volume: Volume, mu: np.ndarray, beam: ConeBeam, truth: np.ndarray, options) -> None:  # type: ignore[no-untyped-def]
    """Cast one view by everyone, in turns, and print a line for each."""
    renders: dict[tuple[str, int], Callable] = {}
    backends = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for backend in backends:
        for count, materials in MATERIALS.items():
            renders[f"ours_{backend}", count] = ours(volume, beam, materials, backend)
    for name in options.peers:
        try:
            renders[name, 1] = PEERS[name](mu, volume, beam)
        except ImportError as error:
            print(json.dumps({"caster": name, **case, "skipped": str(error)}), flush=True)
    times: dict[tuple[str, int], list[tuple[float, float]]] = {key: [] for key in renders}
    images: dict[tuple[str, int], np.ndarray] = {}
    for _ in range(options.repeats):
        for key, render in renders.items():
            if times[key] and times[key][0][0] > 2:
                continue
            if not times[key]:
                images[key] = render()  # compiles, and finds what is kept of a volume
            wall, cpu = time.perf_counter(), time.process_time()
            render()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            times[key].append((getattr(render, "seconds", wall), cpu))
    medians = {key: statistics.median(wall for wall, _ in spent) for key, spent in times.items()}
    for (name, count), spent in times.items():
        image, median = images[name, count], medians[name, count]
        line = {"caster": name, **case, "materials": count, "seconds": round(median, 4)}
        line["fastest"] = round(min(wall for wall, _ in spent), 4)
        if not hasattr(renders[name, count], "seconds"):
            line["cpu_seconds"] = round(statistics.median(cpu for _, cpu in spent), 4)
        line["times_ours"] = round(median / medians["ours_cpu", 1], 2)
        line["relative_l2"] = float(f"{np.linalg.norm(image - truth) / np.linalg.norm(truth):.1e}")
        print(json.dumps(line), flush=True)


def ours(volume: Volume, beam: ConeBeam, materials: tuple[str, ...], backend: str) -> Callable[[], np.ndarray]:
    """`project`, its result brought to the CPU; the first material is the total."""
    return lambda: project(volume, [beam], materials, backend)[0, 0].numpy()


def body(shape: tuple[int, int, int] = SHAPE) -> Volume:
    """The sample CT's body and bone on a grid of `shape`."""
    small = separate_bone(isolate_body(sample_ct()))
    hu = torch.from_numpy(small.hu.astype(np.float32))[None, None]
    hu = torch.nn.functional.interpolate(hu, size=shape, mode="trilinear", align_corners=True)[0, 0].round().short()
    nearest = [np.rint(np.linspace(0, n - 1, m)).astype(int) for n, m in zip(small.hu.shape, shape)]
    inner = np.full(shape, -1024, np.int16)
    within = (slice(2, -2),) * 3
    inner[within] = hu.numpy()[within]
    bone = np.where(inner > -1024, small.bone[np.ix_(*nearest)], 0).astype(np.uint8)  # type: ignore[index]
    affine = small.affine.copy()
    affine[:3, :3] *= (np.array(small.hu.shape[::-1]) - 1) / (np.array(shape[::-1]) - 1)
    return Volume(inner, affine, bone=bone, source="benchmark")


def views(volume: Volume, size: int) -> dict[str, ConeBeam]:
    """PA, PA turned by 25 and tipped by 10 degrees, PA turned by 45, left lateral."""
    frontal = ConeBeam.preset("PA", volume, (size, size))
    oblique = frontal.orbit(25).orbit(10, (1, 0, 0))
    lateral = ConeBeam.preset("LL", volume, (size, size))
    return {"frontal": frontal, "oblique": oblique, "oblique45": frontal.orbit(45), "lateral": lateral}


if __name__ == "__main__":
    main()
