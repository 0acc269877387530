"""One CT volume to its images, in all views and materials at once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radiographs.files import printable
from radiolucent.rendering.jobs import SAMPLE, Job, Options, beam_name, image_files

if TYPE_CHECKING:
    import numpy as np

    from drr import Volume

BONE_CONTRAST = 8.0  # bone alone, at the exposure of a chest, would be nearly black


def render_volume(job: Job, *, out: str, options: Options, backend: str) -> dict[str, Any]:
    """Read one volume, project all views and materials at once, write the images; its record for the manifest."""
    from drr import ConeBeam
    from drr.anatomy.tissue import prepare
    from drr.geometry import body_box
    from drr.io.manifest import image_row
    from drr.projection.in_place import project_once
    from radiolucent import __version__

    if printable(job.key) != job.key:
        raise ValueError("the file's name is not UTF-8 text, as the manifest's table must be: rename the file")
    volume, decision, notes = read_job(job, options)
    volume = prepare(volume, with_bone=options.materials != ["total"])
    shape, box = (options.size, options.size), body_box(volume)
    names = [beam_name(view, options.preset) for view in options.views]
    beams = [ConeBeam.preset(name, volume, shape, box=box) for name in names]
    lines = project_once(volume, beams, materials=options.materials, backend=backend).cpu().numpy()
    images, files = [], image_files(job, options)
    for view, beam, layers in zip(options.views, beams, lines):
        for material, layer in zip(options.materials, layers):
            file = files[view, material]
            description = f"Rendered from a CT by Radiolucent: {view}, {material}"
            digest = write_image(Path(out) / file, to_pixels(layer, material, options.levels), description)
            images.append(image_row(Path(file).name, view, material, file, digest, beam))
    about = {"decision": decision, "notes": notes, "version": __version__}
    return {"outputs": list(files.values()), "images": images, **about}


def read_job(job: Job, options: Options) -> tuple[Volume, str, list[str]]:
    """The volume, how its file was understood, and what else is to be known of it."""
    from drr import sample_ct
    from drr.anatomy.chest import require_chest
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
        try:
            require_chest(volume)
        except ValueError as error:
            raise ValueError(f"{error}; --require-chest false renders it all the same") from None
    return volume, decision, notes


def to_pixels(lines: np.ndarray, material: str, levels: str) -> np.ndarray:
    """Line integrals (H, W) to float32 in [-1, 1], by the same law for every patient."""
    from drr.appearance.detector import detector_response, encode_lines
    from radiographs import to_unit

    if levels == "lines":
        return to_unit(encode_lines(lines), 16)
    return detector_response(lines * BONE_CONTRAST if material == "bone" else lines)


def write_image(path: Path, pixels: np.ndarray, description: str) -> str:
    """Write a 16-bit PNG, whole or not at all; its sha256."""
    from radiographs import write_radiograph

    write_radiograph(path, pixels, bits=16, description=description)
    return hashlib.sha256(path.read_bytes()).hexdigest()
