"""The demo's pairs: the packaged CT as many bodies, each in a few poses, in the BS-LDM layout."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from drr import ConeBeam, Volume

VIEWS = ("PA", "PA", "PA", "LL")  # three frontals for each lateral
POSES_PER_BODY = 8


@cache
def sample_body() -> Volume:
    """The packaged CT without its table, its bones known.

    Returns:
        The volume in HU; its bone mask is part of it, so that it can be projected by material.
    """
    from drr import isolate_body, sample_ct, separate_bone

    return separate_bone(isolate_body(sample_ct()))


def random_beam(volume: Volume, view: str, size: int, rng: np.random.Generator) -> ConeBeam:
    """A preset view, turned by up to 10 degrees, tipped by up to 5, closer or farther, and off centre.

    Args:
        volume: The body.
        view: The preset's name.
        size: Side of the detector in pixels.
        rng: Decides on everything.

    Returns:
        The beam.
    """
    from drr import ConeBeam

    beam = ConeBeam.preset(view, volume, shape=(size, size), field_mm=rng.uniform(240, 300))
    shift = np.eye(4)
    shift[:3, 3] = rng.uniform(-10, 10, 3)
    return beam.orbit(rng.uniform(-10, 10)).orbit(rng.uniform(-5, 5), axis=(1, 0, 0)).moved(shift)


def render_body(job: tuple[int, str, int, int]) -> list[str]:
    """One body shape in POSES_PER_BODY poses; writes CXR/ and BS/ PNGs.

    Args:
        job: (body number, folder, image size, seed). Body 0 is the CT as it is.

    Returns:
        The images' names.
    """
    from drr import Look, deform, project, render_pair
    from radiographs import write_radiograph

    body, folder, size, seed = job
    rng = np.random.default_rng([seed, body])
    volume = deform(sample_body(), seed=int(rng.integers(2**31))) if body else sample_body()
    names = []
    for pose in range(POSES_PER_BODY):
        view = VIEWS[pose % len(VIEWS)]
        beam = random_beam(volume, view, size, rng)
        soft, bone = project(volume, [beam], materials=("soft", "bone"), backend="cpu")[0].numpy()
        name = f"body{body:03d}_{pose}_{view}.png"
        for kind, image in zip(("CXR", "BS"), render_pair(soft, bone, Look.random(rng))):
            write_radiograph(Path(folder) / kind / name, image)
        names.append(name)
    return names


def render_pairs(folder: Path, bodies: int, held_out: int, size: int, seed: int, workers: int) -> tuple[int, int]:
    """Render all bodies in the BS-LDM layout: CXR/, BS/, train_set.txt, test_set.txt (whole bodies are held out).

    Args:
        folder: Where.
        bodies: How many in all.
        held_out: How many of them are for the test.
        size: Side of the images in pixels.
        seed: Of bodies and poses.
        workers: Processes.

    Returns:
        Numbers of training and held-out pairs.
    """
    from rich.progress import track

    jobs = [(body, str(folder), size, seed) for body in range(bodies)]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        names = list(track(pool.map(render_body, jobs), total=bodies, description="rendering bodies"))
    sets = {"train_set.txt": names[:-held_out], "test_set.txt": names[-held_out:]}
    for name, bodies_of_set in sets.items():
        (folder / name).write_text("".join(f"{image}\n" for body in bodies_of_set for image in body))
    return sum(map(len, names[:-held_out])), sum(map(len, names[-held_out:]))
