"""The work of `radiolucent tokens`: a radiograph to a VQ-GAN's code indices, indices to Parquet, and both back."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from radiographs.files import printable
from radiolucent.batch.runner import Manifest, Task, atomic_path

CODES = "codes"  # one small file an image, from which the shards are made and with which a killed run resumes
SHARD = "tokens-{:05d}.parquet"
METADATA = b"radiolucent"


def encode_image(payload: tuple[str, str], *, out: str, vqgan: str, size: int, device: str) -> dict[str, Any]:
    """One radiograph to `out/codes/NAME.npy` (h, w) int32.

    Args:
        payload: (path, name).
        out: Folder.
        vqgan: Folder of the VQ-GAN.
        size: Longest side in pixels that it sees.
        device: Where it computes.

    Returns:
        The manifest's record: the file's name as "outputs".

    Raises:
        ValueError: The name is no text that Parquet takes, or the VQ-GAN's latents of it are not finite; reading the
            image raises its own.
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
    target = Path(out) / codes_file(name)
    with atomic_path(target) as part, open(part, "wb") as file:
        np.save(file, indices[0].cpu().numpy().astype(np.int32), allow_pickle=False)
    return {"outputs": [codes_file(name)]}


def codes_file(name: str) -> str:
    """Where in the output folder one image's indices lie.

    Args:
        name: Of the image, a path within its folder.

    Returns:
        codes/NAME.npy, with forward slashes.
    """
    return f"{CODES}/{Path(name).as_posix()}.npy"


def write_shards(manifest: Manifest, tasks: Sequence[Task], about: dict[str, Any], shard_size: int) -> None:
    """The Parquet files of all images that are encoded, in the order of their names.

    Earlier shards of this batch, which may have been more, are removed; no file that is not the batch's is touched.

    Args:
        manifest: Of the batch.
        tasks: Of this run.
        about: Metadata of the files.
        shard_size: Images a file.

    Raises:
        ValueError: No image is encoded.
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
            codes = np.load(out / codes_file(name), allow_pickle=False)
            rows.append({"name": name, "height": codes.shape[0], "width": codes.shape[1], "tokens": codes.ravel()})
        with atomic_path(out / SHARD.format(number)) as part:
            parquet.write_table(pyarrow.Table.from_pylist(rows, schema), part)


def parquet_files(path: Path) -> list[Path]:
    """The files to decode.

    Args:
        path: A file, or a folder of them, such as `tokens encode` makes.

    Returns:
        The file, or the folder's Parquet files in the order of their names.

    Raises:
        FileNotFoundError: A folder without one.
    """
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.parquet"))
    if not found:
        raise FileNotFoundError(f"{path}: no Parquet file in this folder: give what `radiolucent tokens encode` wrote")
    return found


def read_tokens(path: Path, digest: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a Parquet file, one at a time.

    A file without our metadata, as a token model writes it, is taken to be of this VQ-GAN.

    Args:
        path: The file.
        digest: Of the VQ-GAN.

    Yields:
        (name, {"name", "height", "width", "tokens"}) of a row; tokens are a flat array of any length and type.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no Parquet file or damaged, a column is missing, or the tokens are of another VQ-GAN.
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
    """One row of tokens to `out/NAME.png`.

    Args:
        row: With name, height, width and tokens.
        out: Folder.
        vqgan: Folder of the VQ-GAN.
        codes: Size of its codebook.
        bits: Of the PNG.
        device: Where it computes.

    Returns:
        The manifest's record: the file's name as "outputs".

    Raises:
        ValueError: The tokens are no picture of this VQ-GAN's codes, or the name is none of a file in the folder.
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
    """What tells a VQ-GAN from any other.

    Args:
        folder: Its own, or a pipeline's that has one.

    Returns:
        A sha256 of its configuration and weights.
    """
    from radiolucent.suppression.model import checkpoint_digest

    return checkpoint_digest(_vqgan_folder(folder))


@functools.lru_cache(maxsize=1)
def load_vqgan(folder: str, device: str) -> Any:
    """The VQ-GAN on its device, loaded once in each process.

    Args:
        folder: Its own, or a pipeline's that has one.
        device: Where it will compute.

    Returns:
        A vqgan.VQGAN in evaluation mode.
    """
    from vqgan import VQGAN

    model: Any = VQGAN.from_pretrained(_vqgan_folder(folder), use_safetensors=True)
    return model.eval().to(device)
