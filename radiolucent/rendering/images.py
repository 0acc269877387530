"""One CT volume to its images, in all views and materials at once."""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radiographs.files import printable
from radiolucent.rendering.jobs import SAMPLE, Job, Options, beam_name, image_files, shots

if TYPE_CHECKING:
    from drr import ConeBeam, Volume


def render_volume(job: Job, *, out: str, options: Options, backend: str) -> dict[str, Any]:
    """Read one volume, project all views and materials at once, and write the images.

    Args:
        job: The volume.
        out: The output folder.
        options: Views, size, materials and display.
        backend: Of `drr.project`.

    Returns:
        The record for the manifest: `outputs`, `images` (a row of the manifest's table each), how the file was
        understood, and notes.

    Raises:
        OSError: The volume cannot be read.
        ValueError: It is no CT, shows no chest where one is required, or has a name that is not UTF-8.
    """
    from drr import ConeBeam
    from drr.anatomy.tissue import prepare
    from drr.geometry import body_box
    from drr.io.manifest import image_row
    from drr.projection.in_place import project_once
    from radiolucent import __version__

    if printable(job.key) != job.key:
        raise ValueError("the file's name is not UTF-8 text, as the manifest's table must be: rename the file")
    volume, decision, notes = read_job(job, options)
    displayed = bool(options.look or options.physics)
    volume = prepare(volume, with_bone=displayed or options.materials != ["total"])
    shape, box = (options.size, options.size), body_box(volume)
    taken = shots(options)
    names = [beam_name(shot.view, options.preset) for shot in taken]
    beams = [ConeBeam.preset(name, volume, shape, box=box) for name in names]
    beams = [beam.orbit(shot.orbit_degrees) if shot.orbit_degrees else beam for shot, beam in zip(taken, beams)]
    wanted = ["soft", "bone"] if displayed else options.materials
    lines = project_once(volume, beams, materials=wanted, backend=backend).cpu().numpy()
    images, files = [], image_files(job, options)
    for number, (shot, beam, layers) in enumerate(zip(taken, beams, lines)):
        if displayed:
            pictures = expose_and_show(layers[0], layers[1], beam, options, exposure_rng(options, job.key, number))
        else:
            pictures = {m: to_pixels(layer, m, options.levels) for m, layer in zip(options.materials, layers)}
        for material in options.materials:
            file = files[shot.name, material]
            description = f"Rendered from a CT by Radiolucent: {shot.name}, {material}"
            digest = write_image(Path(out) / file, pictures[material], description)
            images.append(image_row(Path(file).name, shot.name, material, file, digest, beam))
    about = {"decision": decision, "notes": notes, "version": __version__}
    return {"outputs": list(files.values()), "images": images, **about}


def expose_and_show(
    soft: np.ndarray, bone: np.ndarray, beam: ConeBeam, options: Options, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Pictures by the options' physics and look.

    Args:
        soft: (H, W) line integrals.
        bone: (H, W) line integrals.
        beam: That they were cast with.
        options: With `physics`, `look` or both.
        rng: Of noise and of what is drawn at random.

    Returns:
        {material: its picture, float32 (H, W)}.
    """
    from drr.appearance.choices import Exposure, draw_physics
    from drr.appearance.physics import expose

    physics = draw_physics(options.physics, rng)
    if physics is not None:
        total, soft = expose(soft, bone, physics, rng)
        bone = total - soft
    shown = Exposure(options.look or "film", soft, bone, pixel_mm(beam), rng)
    return {"total": shown.radiograph(soft, bone), "soft": shown.soft(soft), "bone": shown.bone(bone)}


def pixel_mm(beam: ConeBeam) -> float:
    """Side of a pixel in mm at the body's centre.

    Args:
        beam: A cone beam with square pixels.

    Returns:
        Smaller than the detector's own pixel, since the body lies before it.
    """
    source, centre, origin = (beam.numpy(name) for name in ("source", "centre", "origin"))
    du, dv = beam.numpy("du"), beam.numpy("dv")
    normal = np.cross(du, dv)
    shrink = normal @ (centre - source) / (normal @ (origin - source))
    return float(np.linalg.norm(du) * shrink)


def exposure_rng(options: Options, *what: str | int) -> np.random.Generator:
    """The generator of one exposure, which depends on the seed and on what is exposed alone.

    Args:
        options: Of which the seed counts alone.
        what: Names and numbers, such as the volume's key and the shot's number.

    Returns:
        A new generator, the same in every run and on every worker.
    """
    words = (zlib.crc32(os.fsencode(word)) if isinstance(word, str) else word for word in what)
    return np.random.default_rng([options.seed, *words])


def read_job(job: Job, options: Options) -> tuple[Volume, str, list[str]]:
    """The volume, how its file was understood, and what else is to be known of it.

    Args:
        job: The volume.
        options: Rescaling, and whether a chest is required.

    Returns:
        The volume in HU, before its body is separated; a sentence on its geometry and rescaling; notes.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no CT, or not enough of a chest.
    """
    from drr import sample_ct
    from drr.io.ct_rate import read_volume
    from drr.io.read import load_ct

    if job.no_chest:
        raise ValueError(f"{job.path}: CT-RATE lists this volume as one without a chest")
    if job.path == SAMPLE:
        return sample_ct(), "the packaged CT", []
    if job.name is None:
        volume = load_ct(job.path, rescale=options.rescale, series=job.series, checked=True)
        said = "rescale as the file says"
        if options.rescale:
            said = "rescale by {:g} and {:g} as given".format(*options.rescale)
        decision, notes = f"geometry and {said}", list(volume.notes)
    else:
        volume, decided = read_volume(job.path, job.row, options.rescale)
        decision, notes = f"CT-RATE release {decided.release}: {decided.reason}", list(decided.notes)
    if options.require_chest:
        check_chest(volume)
    return volume, decision, notes


def check_chest(volume: Volume) -> None:
    """Refuse what does not show enough of a chest.

    Args:
        volume: As it was read.

    Raises:
        ValueError: Says what is missing, and which option takes it all the same.
    """
    from drr.anatomy.chest import require_chest

    try:
        require_chest(volume)
    except ValueError as error:
        raise ValueError(f"{error}; --require-chest false renders it all the same") from None


def to_pixels(lines: np.ndarray, material: str, levels: str) -> np.ndarray:
    """Line integrals to a picture, by the same law for every patient.

    Args:
        lines: (H, W).
        material: total, bone or soft.
        levels: As the command's --levels.

    Returns:
        float32 (H, W) in [-1, 1].
    """
    from drr.appearance.choices import BONE_CONTRAST
    from drr.appearance.detector import detector_response, encode_lines
    from radiographs import to_unit

    if levels == "lines":
        return to_unit(encode_lines(lines), 16)
    return detector_response(lines * BONE_CONTRAST if material == "bone" else lines)


def write_image(path: Path, pixels: np.ndarray, description: str) -> str:
    """Write a 16-bit PNG, whole or not at all.

    Args:
        path: The file.
        pixels: (H, W) in [-1, 1].
        description: For its metadata.

    Returns:
        The file's sha256.
    """
    from radiographs import write_radiograph

    write_radiograph(path, pixels, bits=16, description=description)
    return hashlib.sha256(path.read_bytes()).hexdigest()
