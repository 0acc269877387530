"""Remove the bones from radiographs: `radiolucent suppress INPUT... --checkpoint DIR --out DIR`.

INPUT: files, or folders that are searched, of PNG, TIFF, JPEG or DICOM radiographs, 8 to 16 bit, any size and aspect.
Each result has its input's size, depth and format (JPEG becomes PNG, so that nothing is lost twice). Research use only.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radiolucent.batch import add_batch_arguments, run_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from jsonargparse import ArgumentParser, Namespace

    from radiographs import Radiograph

STRIP_SIZE = 512  # longest side of each picture in a strip, in pixels


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `radiolucent suppress`."""
    parser.add_argument("inputs", type=str, nargs="+", help="radiographs, or folders of them")
    parser.add_argument("--checkpoint", type=str, required=True, help="folder of a saved BoneSuppressionPipeline")
    add_batch_arguments(parser)
    parser.add_argument(
        "--compose",
        choices=["subtract", "direct"],
        default="subtract",
        help="subtract takes the predicted bone away from the original at its own resolution, so that detail stays; "
        "direct writes what the model draws",
    )
    parser.add_argument("--steps", type=int, default=50, help="sampling steps (network calls)")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling noise, the same for every image")
    parser.add_argument("--samples", type=int, default=1, help="average N samples, and write NAME_std.png for N > 1")
    parser.add_argument("--size", type=int, help="longest side the model sees, in pixels (default: as in training)")
    parser.add_argument("--strip", action="store_true", help="also write strips/NAME.png: before, after, bone")
    parser.add_argument("--keep-identity", action="store_true", help="DICOM: keep the patient and the study")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where the model runs")


def run(args: Namespace) -> int:
    """Suppress every input; 0, or 1 if any was set aside in errors.csv."""
    for name in ("steps", "samples"):
        if args[name] < 1:
            raise ValueError(f"--{name} {args[name]}: it must be 1 or more")
    model_size(load_pipeline(args.checkpoint, args.device), args.size)  # a wrong checkpoint is told before the batch
    options = {name: args[name] for name in ("compose", "steps", "seed", "samples", "size", "strip", "keep_identity")}
    settings = {"command": "suppress", "checkpoint": checkpoint_digest(args.checkpoint), **options}
    work = functools.partial(suppress_file, out=args.out, checkpoint=args.checkpoint, device=args.device, **options)
    items = [(str(path), (str(path), name)) for path, name in find_inputs(args.inputs, args.out)]
    return run_batch(
        work, items, args.out, settings=settings, workers=args.workers, executor=args.executor, title="radiographs"
    )


def find_inputs(inputs: list[str], out: str) -> list[tuple[Path, str]]:
    """(file, name of its result in `out`) for each input file and each image in an input folder.

    ValueError where two results would have one name or `out` lies among the inputs.
    """
    from radiographs import FORMATS

    found = []
    for given in map(Path, inputs):
        if given.is_file():
            found.append((given, given.name))
        elif given.is_dir():
            if Path(out).resolve().is_relative_to(given.resolve()):
                raise ValueError(f"--out {out} lies in the input folder {given}: choose a folder outside")
            files = sorted(path for path in given.rglob("*") if path.is_file())
            images = [path for path in files if path.suffix.lower() in FORMATS or _is_dicom(path)]
            if not images:
                raise ValueError(f"{given}: no radiographs ({', '.join(FORMATS)}) in this folder")
            found += [(path, str(path.relative_to(given))) for path in images]
        else:
            raise FileNotFoundError(f"{given}: there is no such file or folder")
    named = [(path, _output_name(name)) for path, name in found]
    homes: dict[Path, Path] = {}
    for path, name in named:
        other = homes.setdefault(Path(name).with_suffix(""), path)
        if other is not path:
            raise ValueError(f"{other} and {path} would both be written as {name}: give them in two runs")
        if (Path(out) / name).resolve() == path.resolve():
            raise ValueError(f"--out {out} would overwrite {path}: choose another folder")
    return named


def _is_dicom(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _output_name(name: str) -> str:
    """The input's name; .png for JPEG, and .dcm behind a DICOM file's name without a suffix that is known."""
    from radiographs import FORMATS

    kind = FORMATS.get(Path(name).suffix.lower())
    if kind == "jpeg":
        return str(Path(name).with_suffix(".png"))
    return name if kind else f"{name}.dcm"


def checkpoint_digest(folder: str | Path) -> str:
    """sha256 over the configurations and weights in a pipeline's folder."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and path.suffix in (".json", ".safetensors"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


@functools.lru_cache(maxsize=1)
def load_pipeline(checkpoint: str, device: str) -> Any:
    """The BoneSuppressionPipeline on its device, loaded once in each process."""
    import torch
    from diffusers.utils import logging

    from diffusion import BoneSuppressionPipeline

    logging.disable_progress_bar()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: no CUDA device was found; use --device cpu")
    pipeline: Any = BoneSuppressionPipeline.from_pretrained(checkpoint)
    pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def model_size(pipeline: Any, size: int | None) -> int:
    """Side in pixels of the square that the model sees: `size`, or what it was trained on; ValueError if unknown."""
    trained = pipeline.unet.config["sample_size"]
    if size is None and trained is None:
        raise ValueError("this model does not say on which image size it was trained (unet sample_size): give --size")
    chosen = trained * pipeline.vqgan.downsampling if size is None else size
    if chosen < 1 or chosen % pipeline.size_multiple:
        raise ValueError(f"--size {chosen}: this model needs a multiple of {pipeline.size_multiple}")
    return chosen


def suppress_pixels(
    predict: Callable[[np.ndarray, int], np.ndarray], pixels: np.ndarray, *, compose: str, seeds: list[int], size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Radiograph float32 (H, W) in [-1, 1] -> soft tissue (H, W) in [-1, 1], and its standard deviation (H, W).

    predict: (size, size) and a seed -> the soft tissue (size, size). The image is fitted into that square with its
    aspect kept. `direct`: the mean prediction, upsampled. `subtract`: pixels - upsampled(fitted - mean prediction).
    """
    import numpy as np

    from radiographs import fit, unfit

    fitted, placed = fit(pixels, size)
    samples = [predict(fitted, seed) for seed in seeds]
    mean, deviation = np.mean(samples, axis=0), np.std(samples, axis=0)
    soft = pixels - unfit(fitted - mean, placed) if compose == "subtract" else unfit(mean, placed)
    return soft.clip(-1, 1), unfit(deviation, placed).clip(0, 1)


def suppress_file(
    payload: tuple[str, str],
    *,
    out: str,
    checkpoint: str,
    device: str,
    compose: str,
    steps: int,
    seed: int,
    samples: int,
    size: int | None,
    strip: bool,
    keep_identity: bool,
) -> dict[str, Any]:
    """One radiograph, (path, name of the result), to files in `out`; the record for the manifest."""
    import torch

    from radiographs import read_radiograph, write_radiograph

    path, name = payload
    source = read_radiograph(path)
    pipeline = load_pipeline(checkpoint, device)

    def predict(fitted: np.ndarray, seed: int) -> np.ndarray:
        seen = torch.from_numpy(fitted)[None, None].to(pipeline.device)
        return pipeline(seen, num_inference_steps=steps, seeds=[seed]).soft[0, 0].cpu().numpy()

    seeds = list(range(seed, seed + samples))
    size = model_size(pipeline, size)
    soft, deviation = suppress_pixels(predict, source.pixels, compose=compose, seeds=seeds, size=size)
    note = f"Bones suppressed by Radiolucent ({compose}, {steps} steps, seed {seed}, samples {samples})"
    target = Path(out) / name
    outputs = [name]
    write_radiograph(target, soft, source.bits, source=source, description=note, keep_identity=keep_identity)
    if samples > 1:
        outputs.append(str(Path(name).with_suffix("")) + "_std.png")
        scale = "Standard deviation of the samples: 65535 is 1, half of the grey range"
        write_radiograph(Path(out) / outputs[-1], 2 * deviation - 1, 16, description=scale)
    if strip:
        outputs.append(f"strips/{Path(name).with_suffix('.png')}")
        draw_strip(Path(out) / outputs[-1], source, soft)
    return {"outputs": outputs}


def draw_strip(path: Path, source: Radiograph, soft: np.ndarray) -> None:
    """Before, after and what was taken away (black: nothing; white: half of the grey range), side by side."""
    from radiographs import atomic_path, resize
    from radiolucent.montage import montage, to_grey

    height, width = soft.shape
    scale = min(1.0, STRIP_SIZE / max(height, width))
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    before, after = resize(source.pixels, shape), resize(soft, shape)
    row = [to_grey(before), to_grey(after), to_grey(before - after, 0.0, 1.0)]
    with atomic_path(path) as part:
        montage([row], ["radiograph", "bones suppressed", "taken away, 2x contrast"], part)
