"""The ray caster on a GPU, in one call of ten minutes: `python -m benchmarks.drr_gpu --minutes 8`.

Ours and nanodrr (if installed) cast the sample CT's body on 512 x 512 x 300 voxels in turns: four views at 512 and 1024
pixels, one pose and 64, one material and three (nanodrr: two classes, bone and the rest). Milliseconds a view, medians:
`host` from the call to images in host memory, `device` with the images left on the GPU, ten launches behind each
other. Beside them what cannot be undercut: copying, reading the packed volume once, a call that casts next to nothing.
One JSON at the end, also when time runs out (cases not reached are listed) or something fails (its error is there).
`--dry-run` walks through all of it without a GPU: a few voxels, in numba's simulator; its times mean nothing.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import importlib.util
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from drr import ConeBeam, Volume

QUEUE = 10  # launches behind each other
MATERIALS = {1: ("total",), 3: ("total", "bone", "soft")}


@dataclass(frozen=True)
class Scale:
    """How large everything is: the benchmark's figures, or the dry run's."""

    shape: tuple[int, int, int] = (300, 512, 512)
    sizes: tuple[int, ...] = (512, 1024)
    poses: tuple[int, ...] = (1, 64)
    views: tuple[str, ...] = ("frontal", "oblique", "oblique45", "lateral")
    copied_bytes: int = 1 << 30
    repeats: int = 50


TINY = Scale((8, 10, 10), (4,), (1, 2), ("frontal", "lateral"), 1 << 20, 1)


@dataclass(frozen=True)
class Case:
    """What is cast."""

    materials: int
    poses: int
    size: int
    view: str


def main() -> None:
    """Print the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8, help="wall time in all, compiling included")
    parser.add_argument("--dry-run", action="store_true", help="without a GPU: tiny sizes in numba's simulator")
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    if importlib.util.find_spec("numba_cuda") is None:
        parser.error("numba-cuda is missing: pip install 'radiolucent[cuda]'")
    if options.dry_run:
        os.environ["NUMBA_ENABLE_CUDASIM"] = "1"  # read when numba is imported
        sys.setswitchinterval(1e-5)  # the simulator's threads wait for a manager that polls them
    from drr.projection.cuda import SIMULATED, is_available

    if options.dry_run != SIMULATED:
        parser.error("NUMBA_ENABLE_CUDASIM is set, in whose simulator times mean nothing; unset it or give --dry-run")
    if not is_available():
        parser.error("no NVIDIA GPU that torch and numba-cuda both see; --dry-run walks through it without one")
    report = run(TINY if options.dry_run else Scale(), options.dry_run, deadline)
    print(json.dumps(report))
    if "failed" in report:
        raise SystemExit(1)


def run(scale: Scale, dry: bool, deadline: float) -> dict[str, Any]:
    """Time every case until the deadline.

    Args:
        scale: Sizes.
        dry: Whether there is no GPU.
        deadline: By time.monotonic.

    Returns:
        What is printed.
    """
    import torch

    from benchmarks.drr import body, views

    began = time.monotonic()
    volume = body(scale.shape)
    report: dict[str, Any] = {
        "device": "numba's simulator" if dry else torch.cuda.get_device_name(),
        "versions": {name: _version(name) for name in ("torch", "numba-cuda", "triton", "nanodrr")},
        "volume": list(scale.shape),
        "limits": limits(volume, scale, dry),
        "rows": [],
        "not_reached": [],
    }
    cases = [Case(*case) for case in itertools.product(MATERIALS, scale.poses, scale.sizes, scale.views)]
    for number, case in enumerate(cases):
        left = deadline - time.monotonic()
        if left <= 0 or "failed" in report:
            report["not_reached"].append(asdict(case))
            continue
        beam = views(volume, case.size)[case.view]
        try:
            report["rows"].append(time_case(case, volume, beam, scale, dry, left / (len(cases) - number)))
        except Exception as error:  # what was timed before must not be lost
            report["failed"] = asdict(case) | {"error": f"{type(error).__name__}: {error}"}
    report["least_ratios"] = least_ratios(report["rows"])
    report["minutes"] = round((time.monotonic() - began) / 60, 2)
    return report


def limits(volume: Volume, scale: Scale, dry: bool) -> dict[str, float]:
    """What no cast undercuts, in milliseconds, and the copy's rate.

    Args:
        volume: The CT.
        scale: Sizes.
        dry: Whether there is no GPU.

    Returns:
        By name.
    """
    import torch

    from benchmarks.drr import views
    from drr import project
    from drr.projection.cuda import packed

    source = torch.zeros(scale.copied_bytes, dtype=torch.uint8, device="cpu" if dry else "cuda")
    target = torch.empty_like(source)
    copy_ms = _median_ms(functools.partial(target.copy_, source), 10, dry, queue=QUEUE)
    rate = 2 * scale.copied_bytes / copy_ms  # bytes a millisecond
    small = views(volume, 4)["frontal"]
    found = {
        "copy_gb_per_s": rate / 1e6,
        "call_ms": _median_ms(lambda: project(volume, [small], ["total"], "cuda"), 20, dry),
    }
    for materials in MATERIALS:
        voxels = packed(volume, materials == 3)
        count = voxels.turned_at or len(voxels.words)
        found[f"volume_read_{materials}_ms"] = count * voxels.words.element_size() / rate
    for size in scale.sizes:
        image = torch.zeros(1, 1, size, size, device=source.device)
        found[f"image_to_host_{size}_ms"] = _median_ms(image.clone().cpu, 20, dry)
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def time_case(case: Case, volume: Volume, beam: ConeBeam, scale: Scale, dry: bool, seconds: float) -> dict[str, Any]:
    """Time ours and the peer in turns.

    Args:
        case: What is cast.
        volume: The CT.
        beam: The view's middle pose.
        scale: Sizes.
        dry: Whether there is no GPU.
        seconds: To spend, once everything is warm.

    Returns:
        A row.
    """
    import numpy as np

    beams = [beam.orbit(degrees) for degrees in np.linspace(-20, 20, case.poses)] if case.poses > 1 else [beam]
    row: dict[str, Any] = asdict(case)
    casters: dict[str, Callable[[], torch.Tensor]] = {}
    exact = _exact(volume, beam) if case.poses == 1 and case.size == scale.sizes[0] and case.materials == 1 else None
    for name, prepare in (("ours", _ours), ("nanodrr", _nanodrr)):
        try:
            cast = prepare(volume, beams, case.materials)
            image = cast()[0].sum(dim=0) if name == "nanodrr" else cast()[0, 0]  # compiles, packs
            if exact is not None:
                difference = np.linalg.norm(image.cpu().numpy() - exact) / np.linalg.norm(exact)
                row[f"{name}_relative_l2"] = float(f"{difference:.1e}")
            casters[name] = cast
        except Exception as error:  # a peer that fails must not cost the machine's time
            if name == "ours":
                raise
            row[f"{name}_failed"] = f"{type(error).__name__}: {error}"[:200]
    begin = time.monotonic()
    times: dict[str, list[float]] = {f"{name}_{kind}_ms": [] for name in casters for kind in ("host", "device")}
    for turn in range(scale.repeats):
        if turn and time.monotonic() - begin > seconds:
            break
        for name, cast in casters.items():
            times[f"{name}_host_ms"].append(
                _median_ms(functools.partial(_to_host, cast), 1, dry, warm=False) / case.poses
            )
            times[f"{name}_device_ms"].append(_median_ms(cast, 1, dry, QUEUE, warm=False) / case.poses)
    row["turns"] = len(times["ours_host_ms"])
    row |= {name: float(f"{statistics.median(spent):.4g}") for name, spent in times.items()}
    if "nanodrr" in casters:
        for kind in ("host", "device"):
            row[f"ratio_{kind}"] = round(row[f"nanodrr_{kind}_ms"] / row[f"ours_{kind}_ms"], 2)
    return row


def least_ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The least of nanodrr's time over ours, by materials, poses and kind; empty without nanodrr.

    Args:
        rows: Of `time_case`.

    Returns:
        By name.
    """
    ratios: dict[str, float] = {}
    for row, kind in itertools.product(rows, ("host", "device")):
        name = f"{row['materials']} materials, {row['poses']} poses, {kind}"
        if f"ratio_{kind}" in row:
            ratios[name] = min(row[f"ratio_{kind}"], ratios.get(name, row[f"ratio_{kind}"]))
    return ratios


def _to_host(cast: Callable[[], torch.Tensor]) -> torch.Tensor:
    return cast().cpu()


def _ours(volume: Volume, beams: list[ConeBeam], materials: int) -> Callable[[], torch.Tensor]:
    from drr.projection.cuda import packed, project_packed
    from drr.projection.projector import materials_of

    def cast() -> torch.Tensor:
        lines = project_packed(packed(volume, materials == 3), volume.affine, beams)
        return materials_of(lines, MATERIALS[materials])

    return cast


def _nanodrr(volume: Volume, beams: list[ConeBeam], materials: int) -> Callable[[], torch.Tensor]:
    from benchmarks.peers import nanodrr_views

    return nanodrr_views(_attenuation(volume), volume, beams, with_bone=materials == 3)


@functools.lru_cache(1)
def _attenuation(volume: Volume) -> Any:
    from benchmarks.peers import attenuation

    return attenuation(volume)


def _exact(volume: Volume, beam: ConeBeam) -> Any:
    import numpy as np

    from drr.projection.ray import project_rays

    return project_rays(volume.hu.astype(np.float64), None, volume.affine, beam)[0]


def _median_ms(work: Callable[[], Any], times: int, dry: bool, queue: int = 1, warm: bool = True) -> float:
    """Milliseconds of a call, the GPU waited for after each `queue` calls; a dry run calls once."""
    import torch

    times, queue = (1, 1) if dry else (times, queue)
    wait = (lambda: None) if dry else torch.cuda.synchronize
    spent = []
    if warm:
        work()
    for _ in range(times):
        wait()
        begin = time.perf_counter()
        for _ in range(queue):
            work()
        wait()
        spent.append(1000 * (time.perf_counter() - begin) / queue)
    return statistics.median(spent)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
