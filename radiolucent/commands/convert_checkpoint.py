"""Weights that others trained, as our folders: `radiolucent convert-checkpoint SOURCE --kind KIND --out DIR`.

SOURCE: a file of weights, the folder of a MONAI bundle, or a diffusers folder. An autoencoder or a U-Net alone becomes
a folder of that model; with --vqgan, or where SOURCE holds both, the result is a pipeline for `radiolucent suppress`.
A pickle is read only with --allow-pickle, and even then none of its code runs. Research use only.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from radiolucent.convert.kinds import Parts

NAMES = ["auto", "bs-ldm", "gl-lcm", "debonedit", "bs-diff", "taming", "monai", "compvis", "diffusers"]
ORIGIN = "converted_from.json"


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `radiolucent convert-checkpoint`.

    Args:
        parser: Takes them.
    """
    parser.add_argument("source", type=str, help="a file of weights, a MONAI bundle's or a diffusers folder")
    parser.add_argument("--kind", choices=NAMES, default="auto", help="whose weights; auto tells by the tensors' names")
    parser.add_argument("--out", type=str, required=True, help="folder to write; it must not exist or be empty")
    parser.add_argument("--allow-pickle", action="store_true", help="read the tensors of a pickle; its code is not run")
    parser.add_argument("--model-config", type=str, help="the model's YAML or JSON (taming, CompVis, MONAI)")
    parser.add_argument("--vqgan", type=str, help="folder of an autoencoder converted before, for a whole pipeline")


def run(args: Namespace) -> int:
    """Convert the weights and write the folder.

    Args:
        args: As `add_arguments` reads them.

    Returns:
        0.

    Raises:
        ValueError: The output folder holds something, or the weights are of no kind that is known, or not of --kind.
    """
    out, source = Path(args.out), Path(args.source)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out} is there already: choose another folder, or remove it")
    kind, how, parts = read_parts(source, args.kind, args.allow_pickle, args.model_config)
    if args.vqgan:
        join(parts, Path(args.vqgan))
    from radiolucent import __version__

    origin = {"source": source.name, "sha256": digest(source), "kind": kind, "read": how, "radiolucent": __version__}
    print(f"{write(parts, out, origin)} from {source.name} ({kind}) written to {out}")
    return 0


def read_parts(source: Path, kind: str, allow_pickle: bool, model_config: str | None) -> tuple[str, str, Parts]:
    """The models of a file or folder.

    Args:
        source: File of weights, bundle or folder.
        kind: As the command's; "auto" recognises it.
        allow_pickle: Whether pickles are read.
        model_config: YAML or JSON that the weights come with, or None.

    Returns:
        Kind, how the weights were read, and the models.

    Raises:
        ValueError: It is of no known kind, or something is missing or left over.
    """
    from diffusers.utils import logging

    from radiolucent.convert.configs import read_config
    from radiolucent.convert.diffusers_folder import read_diffusers
    from radiolucent.convert.kinds import KINDS, read_bundle, recognise
    from radiolucent.convert.source import read_source

    logging.disable_progress_bar()
    config = read_config(Path(model_config)) if model_config else {}
    if source.is_dir():
        if kind == "auto":
            kind = "monai" if (source / "models").is_dir() else "diffusers"
        if kind == "diffusers":
            return kind, "diffusers", read_diffusers(source)
        if kind == "monai":
            return kind, "bundle", read_bundle(source, allow_pickle, config)
    elif kind == "diffusers":
        raise ValueError(f"{source} is no folder: --kind diffusers converts a folder that save_pretrained wrote")
    read = read_source(source, allow_pickle, config)
    kind = recognise(read) if kind == "auto" else kind
    return kind, read.how, KINDS[kind](read)


def join(parts: Parts, folder: Path) -> None:
    """Add an autoencoder to a network that needs one.

    Args:
        parts: Changed in place.
        folder: Of the autoencoder.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: They do not fit.
    """
    from radiographs.files import read_json
    from vqgan import VQGAN
    from vqgan.vqvae import ConvolutionalVQVAE

    if parts.unet is None or parts.scheduler is None or parts.vqgan is not None:
        raise ValueError("--vqgan completes the network of a latent diffusion model, which SOURCE is not: leave it out")
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"--vqgan {folder} has no config.json: give a folder that convert-checkpoint wrote")
    name = read_json(folder / "config.json").get("_class_name")
    model: Any = ConvolutionalVQVAE if name == ConvolutionalVQVAE.__name__ else VQGAN
    parts.vqgan = model.from_pretrained(str(folder), low_cpu_mem_usage=False)
    inputs = parts.unet.config.get("in_channels") or 2 * parts.unet.config["latent_channels"]
    if inputs != 2 * parts.vqgan.config["latent_channels"]:
        raise ValueError(
            f"--vqgan {folder} has {parts.vqgan.config['latent_channels']} latent channels, but the network takes "
            f"{inputs}, two latents: give the autoencoder that it was trained with"
        )


def digest(source: Path) -> str:
    """sha256 of a file, or of the names and contents of a folder's files.

    Args:
        source: What was converted.

    Returns:
        64 hexadecimal digits; for a folder they do not depend on where it lies.
    """
    total = hashlib.sha256()
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    for path in files:
        if source.is_dir():
            total.update(path.relative_to(source).as_posix().encode())
        with open(path, "rb") as file:
            while chunk := file.read(1 << 22):
                total.update(chunk)
    return total.hexdigest()


def write(parts: Parts, out: Path, origin: dict[str, str]) -> str:
    """Save the models and their origin in a folder beside `out`, which becomes `out` when it is whole.

    Args:
        parts: The models.
        out: The folder.
        origin: What they were made of, for origin.json.

    Returns:
        What it is, in words.
    """
    from diffusion import BoneSuppressionPipeline
    from radiographs.files import atomic_folder

    with atomic_folder(out) as part:
        if parts.vqgan is not None and parts.unet is not None and parts.scheduler is not None:
            what = "pipeline"
            BoneSuppressionPipeline(parts.vqgan, parts.unet, parts.scheduler, **parts.options).save_pretrained(part)
        elif parts.vqgan is not None and parts.unet is not None:
            what = "autoencoder and U-Net (no bone suppression pipeline)"
            parts.vqgan.save_pretrained(part / "vqgan")
            parts.unet.save_pretrained(part / "unet")
        elif parts.vqgan is not None:
            what = "autoencoder"
            parts.vqgan.save_pretrained(part)
        else:
            what = "network alone (give --vqgan for a pipeline)"
            parts.unet.save_pretrained(part)
        (part / ORIGIN).write_text(json.dumps(origin, indent=2) + "\n")
    return what
