"""Radiographs as a VQ-GAN's code indices in Parquet, for token models such as LLM-CXR, and back.

`radiolucent tokens encode IMAGE... --vqgan DIR --out DIR` writes tokens-NNNNN.parquet: name, height, width, and tokens,
the indices row by row. `radiolucent tokens decode PARQUET... --vqgan DIR --out DIR` draws them. Research use only.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from radiolucent.batch.runner import Manifest, Task, add_batch_arguments, file_identity, run_batch
from radiolucent.device import choose_device
from radiolucent.tokens import (
    SHARD,
    codes_file,
    decode_tokens,
    encode_image,
    load_vqgan,
    parquet_files,
    read_tokens,
    vqgan_digest,
    write_shards,
)

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Add the subcommands encode and decode.

    Args:
        parser: Takes them.
    """
    from jsonargparse import ArgumentParser as Parser

    directions = parser.add_subcommands(dest="direction")
    for name, add in {"encode": add_encode, "decode": add_decode}.items():
        child = Parser(description=(add.__doc__ or "").partition("\n")[0], exit_on_error=False, allow_abbrev=False)
        child.add_argument("--config", action="config", help="a YAML file with these options")
        add(child)
        child.add_argument("--vqgan", type=str, required=True, help="folder of a VQGAN, or of a pipeline with one")
        child.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where the model runs")
        add_batch_arguments(child)
        directions.add_subcommand(name, child)


def add_encode(parser: ArgumentParser) -> None:
    """Radiographs to code indices in Parquet.

    Args:
        parser: Of the subcommand.
    """
    parser.add_argument("inputs", type=str, nargs="+", help="radiographs, or folders of them")
    parser.add_argument("--size", type=int, required=True, help="side in pixels of the square that each is fitted into")
    parser.add_argument("--shard-size", type=int, default=10_000, help="images in a Parquet file")


def add_decode(parser: ArgumentParser) -> None:
    """Code indices in Parquet to radiographs.

    Args:
        parser: Of the subcommand.
    """
    parser.add_argument(
        "inputs", type=str, nargs="+", help="Parquet files with name, height, width and tokens, or folders of them"
    )
    parser.add_argument("--bits", type=Literal[8, 16], default=8, help="of the PNGs")


def run(args: Namespace) -> int:
    """Encode or decode.

    Args:
        args: As `add_arguments` reads them.

    Returns:
        0, or 1 if any input was skipped (see errors.csv).
    """
    chosen = args[args.direction]
    chosen.device = choose_device(chosen.device)
    return encode(chosen) if args.direction == "encode" else decode(chosen)


def encode(args: Namespace) -> int:
    """Images to `out/tokens-NNNNN.parquet`.

    Args:
        args: As `add_encode` and `add_arguments` read them.

    Returns:
        0, or 1 if any image was skipped.

    Raises:
        ValueError: A size that the VQ-GAN does not take, an empty shard, or not one image that could be encoded.
    """
    from radiolucent.commands.suppress import find_inputs

    vqgan = load_vqgan(args.vqgan, args.device)
    if args.size < 1 or args.size % vqgan.downsampling:
        raise ValueError(f"--size {args.size}: this VQ-GAN needs a multiple of {vqgan.downsampling}")
    if args.shard_size < 1:
        raise ValueError(f"--shard-size {args.shard_size}: it must be 1 or more")
    about = {"vqgan": vqgan_digest(args.vqgan), "size": args.size}
    tasks = [
        Task(name, (str(path), name), (codes_file(name),), file_identity(path), shown=str(path))
        for path, name in find_inputs(args.inputs, args.out)
    ]
    work = functools.partial(encode_image, out=args.out, vqgan=args.vqgan, size=args.size, device=args.device)
    settings = {"command": "tokens encode", **about}
    status = run_batch(
        work,
        tasks,
        args.out,
        settings=settings,
        tables=[SHARD.format(number) for number in range(-(-len(tasks) // args.shard_size))],
        workers=args.workers,
        executor=args.executor,
        title="radiographs",
    )
    about |= {"codebook_size": vqgan.config["codebook_size"], "downsampling": vqgan.downsampling}
    manifest = Manifest(args.out, settings)
    try:
        write_shards(manifest, tasks, about, args.shard_size)
    finally:
        manifest.close()
    return status


def decode(args: Namespace) -> int:
    """Parquet files to `out/NAME.png`.

    Args:
        args: As `add_decode` and `add_arguments` read them.

    Returns:
        0, or 1 if any row was skipped.
    """
    vqgan = load_vqgan(args.vqgan, args.device)
    digest = vqgan_digest(args.vqgan)
    tasks = []
    for path in (file for given in args.inputs for file in parquet_files(Path(given))):
        where = {"path_sha256": file_identity(path)["path_sha256"]}
        for name, row in read_tokens(path, digest):
            tasks.append(Task(name, row, _image_files(name), {**where, "row_sha256": _row_digest(row)}))
    work = functools.partial(
        decode_tokens,
        out=args.out,
        vqgan=args.vqgan,
        codes=vqgan.config["codebook_size"],
        bits=args.bits,
        device=args.device,
    )
    settings = {"command": "tokens decode", "vqgan": digest, "bits": args.bits}
    return run_batch(
        work, tasks, args.out, settings=settings, workers=args.workers, executor=args.executor, title="radiographs"
    )


def _image_files(name: str) -> tuple[str, ...]:
    """The image of a row; none where the name is not one of a file in the folder, as decoding it will say."""
    from radiolucent.synthesis.prompts import checked_name

    try:
        return (checked_name(name),)
    except ValueError:
        return ()


def _row_digest(row: dict[str, Any]) -> str:
    shape = f"{row['height']} {row['width']} {row['tokens'].dtype}".encode()
    return hashlib.sha256(shape + row["tokens"].tobytes()).hexdigest()
