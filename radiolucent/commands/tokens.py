"""Radiographs as a VQ-GAN's code indices in Parquet, for token models such as LLM-CXR, and back.

`radiolucent tokens encode IMAGE... --vqgan DIR --out DIR` writes tokens-NNNNN.parquet: name, height, width, and tokens,
the indices row by row. `radiolucent tokens decode PARQUET... --vqgan DIR --out DIR` draws them. Research use only.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from radiographs.files import printable
from radiolucent.batch.runner import Manifest, Task, add_batch_arguments, atomic_path, file_identity, run_batch
from radiolucent.device import choose_device

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

CODES = "codes"  # one small file an image, from which the shards are made and a killed run goes on
SHARD = "tokens-{:05d}.parquet"
METADATA = b"radiolucent"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the subcommands encode and decode."""
    from jsonargparse import ArgumentParser as Parser

    directions = parser.add_subcommands(dest="direction")
    for name, add in {"encode": add_encode, "decode": add_decode}.items():
        child = Parser(description=add.__doc__, exit_on_error=False, allow_abbrev=False)
        child.add_argument("--config", action="config", help="a YAML file with these options")
        add(child)
        child.add_argument("--vqgan", type=str, required=True, help="folder of a VQGAN, or of a pipeline with one")
        child.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where the model runs")
        add_batch_arguments(child)
        directions.add_subcommand(name, child)


def add_encode(parser: ArgumentParser) -> None:
    """Radiographs to code indices in Parquet."""
    parser.add_argument("inputs", type=str, nargs="+", help="radiographs, or folders of them")
    parser.add_argument("--size", type=int, required=True, help="side in pixels of the square that each is fitted into")
    parser.add_argument("--shard-size", type=int, default=10_000, help="images in a Parquet file")


def add_decode(parser: ArgumentParser) -> None:
    """Code indices in Parquet to radiographs."""
    parser.add_argument("inputs", type=str, nargs="+", help="Parquet files with name, height, width and tokens")
    parser.add_argument("--bits", type=Literal[8, 16], default=8, help="of the PNGs")


def run(args: Namespace) -> int:
    """Encode or decode; 0, or 1 if any input was skipped (see errors.csv)."""
    chosen = args[args.direction]
    chosen.device = choose_device(chosen.device)
    return encode(chosen) if args.direction == "encode" else decode(chosen)


def encode(args: Namespace) -> int:
    """Images to `out/tokens-NNNNN.parquet`."""
    from radiolucent.commands.suppress import find_inputs

    vqgan = load_vqgan(args.vqgan, args.device)
    if args.size < 1 or args.size % vqgan.downsampling:
        raise ValueError(f"--size {args.size}: this VQ-GAN needs a multiple of {vqgan.downsampling}")
    if args.shard_size < 1:
        raise ValueError(f"--shard-size {args.shard_size}: it must be 1 or more")
    about = {"vqgan": vqgan_digest(args.vqgan), "size": args.size}
    tasks = [
        Task(name, (str(path), name), (_codes_file(name),), file_identity(path), shown=str(path))
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


def encode_image(payload: tuple[str, str], *, out: str, vqgan: str, size: int, device: str) -> dict[str, Any]:
    """One radiograph to `out/codes/NAME.npy` (h, w) int32.

    Args:
        payload: (path, name).
        out: Folder.
        vqgan: Folder of the VQ-GAN.
        size: Longest side in pixels that it sees.
        device: Where it computes.
    """
    import torch

    from radiographs import fit, read_radiograph

    path, name = payload
    if printable(name) != name:
        raise ValueError("the file's name is not UTF-8 text, as Parquet needs it: rename the file")
    model = load_vqgan(vqgan, device)
    fitted, _ = fit(read_radiograph(path).pixels, size)
    with torch.inference_mode():
        latent = model.encode(torch.from_numpy(fitted)[None, None].to(model.device))
        if not latent.isfinite().all():
            raise ValueError(f"{path}: the VQ-GAN makes values of it that are not finite numbers, which have no code")
        _, _, indices = model.quantize(latent)
    target = Path(out) / _codes_file(name)
    with atomic_path(target) as part, open(part, "wb") as file:
        np.save(file, indices[0].cpu().numpy().astype(np.int32), allow_pickle=False)
    return {"outputs": [_codes_file(name)]}


def _codes_file(name: str) -> str:
    return f"{CODES}/{Path(name).as_posix()}.npy"


def write_shards(manifest: Manifest, tasks: Sequence[Task], about: dict[str, Any], shard_size: int) -> None:
    """The Parquet files of all images that are encoded, in the order of their names; ValueError if none is.

    Earlier shards of this batch, which may have been more, are removed; no file that is not the batch's is touched.

    Args:
        manifest: Of the batch.
        tasks: Of this run.
        about: Metadata of the files.
        shard_size: Images a file.
    """
    import pyarrow
    from pyarrow import parquet

    columns = {"name": pyarrow.string(), "height": pyarrow.int32(), "width": pyarrow.int32()}
    schema = pyarrow.schema({**columns, "tokens": pyarrow.list_(pyarrow.int32())})
    schema = schema.with_metadata({METADATA: json.dumps({**about, "notice": "research use only"}).encode()})
    out = manifest.out
    known = sorted(task.key for task in tasks if manifest.is_finished(task.key, task.identity))
    if not known:
        raise ValueError(f"no image could be encoded: see {out / 'errors.csv'}")
    for old in out.glob("tokens-*.parquet"):
        if old.name in manifest.claimed:
            old.unlink()
    for number, start in enumerate(range(0, len(known), shard_size)):
        rows = []
        for name in known[start : start + shard_size]:
            codes = np.load(out / _codes_file(name), allow_pickle=False)
            rows.append({"name": name, "height": codes.shape[0], "width": codes.shape[1], "tokens": codes.ravel()})
        with atomic_path(out / SHARD.format(number)) as part:
            parquet.write_table(pyarrow.Table.from_pylist(rows, schema), part)


def decode(args: Namespace) -> int:
    """Parquet files to `out/NAME.png`."""
    vqgan = load_vqgan(args.vqgan, args.device)
    digest = vqgan_digest(args.vqgan)
    tasks = []
    for path in args.inputs:
        where = {"path_sha256": file_identity(path)["path_sha256"]}
        for name, row in read_tokens(Path(path), digest):
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


def read_tokens(path: Path, digest: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, row) of a Parquet file. ValueError: columns missing, or tokens of another VQ-GAN.

    A file without our metadata, as a token model writes it, is taken to be of this VQ-GAN.

    Args:
        path: The file.
        digest: Of the VQ-GAN.
    """
    import pyarrow
    from pyarrow import parquet

    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such Parquet file")
    wanted = ["name", "height", "width", "tokens"]
    try:
        file = parquet.ParquetFile(path, page_checksum_verification=True)
        schema = file.schema_arrow
        if missing := [name for name in wanted if name not in schema.names]:
            raise ValueError(f"{path}: no column {', '.join(missing)}; it has {', '.join(schema.names)}")
        kind = schema.field("tokens").type
        if not (pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind)):
            raise ValueError(f"{path}: the column tokens is of {kind}; expected a list of whole numbers in each row")
        if _vqgan_of(schema.metadata, path) not in (None, digest):
            raise ValueError(f"{path}: its tokens are of another VQ-GAN than --vqgan: give the one that made them")
        for batch in file.iter_batches(columns=wanted):
            lists = batch.column("tokens")
            for place, row in enumerate(batch.select(wanted[:3]).to_pylist()):
                tokens = lists[place].values
                row["tokens"] = np.empty(0, int) if tokens is None else tokens.to_numpy(zero_copy_only=False)
                yield str(row["name"]), row
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}: no Parquet file, or a damaged one ({error})") from None


def _vqgan_of(metadata: Any, path: Path) -> str | None:
    """The VQ-GAN that a file's metadata name; None where a token model wrote it without ours."""
    try:
        return json.loads((metadata or {}).get(METADATA, b"{}")).get("vqgan")
    except (ValueError, AttributeError):
        raise ValueError(f"{path}: its metadata '{METADATA.decode()}' are damaged: encode the images again") from None


def decode_tokens(row: dict[str, Any], *, out: str, vqgan: str, codes: int, bits: int, device: str) -> dict[str, Any]:
    """One row of tokens to `out/NAME.png`; ValueError if they are no picture of this VQ-GAN's codes.

    Args:
        row: With name, height, width and tokens.
        out: Folder.
        vqgan: Folder of the VQ-GAN.
        codes: Size of its codebook.
        bits: Of the PNG.
        device: Where it computes.
    """
    import torch

    from radiographs import write_radiograph
    from radiolucent.synthesis.prompts import checked_name

    name = checked_name(row["name"] or "")
    indices, height, width = row["tokens"], row["height"] or 0, row["width"] or 0
    if height < 1 or width < 1 or indices.size != height * width:
        raise ValueError(f"{indices.size} tokens where height {height} times width {width} were expected")
    if indices.dtype.kind not in "iu" or indices.min() < 0 or indices.max() >= codes:
        raise ValueError(f"tokens that are not whole numbers from 0 to {codes - 1}, the codes of this VQ-GAN")
    model = load_vqgan(vqgan, device)
    tokens = torch.from_numpy(indices.astype(np.int64).reshape(1, height, width)).to(model.device)
    with torch.inference_mode():
        image = model.decode(model.quantizer.lookup(tokens))[0, 0].float().cpu().numpy()
    write_radiograph(Path(out) / name, image, bits, description="Decoded by Radiolucent from VQ-GAN tokens")
    return {"outputs": [name]}


def _vqgan_folder(folder: str) -> Path:
    """The VQ-GAN's own folder, which may lie in a pipeline's."""
    inner = Path(folder) / "vqgan"
    return inner if inner.is_dir() else Path(folder)


def vqgan_digest(folder: str) -> str:
    """sha256 of its configuration and weights."""
    from radiolucent.suppression.model import checkpoint_digest

    return checkpoint_digest(_vqgan_folder(folder))


@functools.lru_cache(maxsize=1)
def load_vqgan(folder: str, device: str) -> Any:
    """The VQ-GAN on its device, loaded once in each process."""
    from vqgan import VQGAN

    model: Any = VQGAN.from_pretrained(_vqgan_folder(folder), use_safetensors=True)
    return model.eval().to(device)
