"""Draw a dataset of radiographs from text: `radiolucent synthesize --prompts CSV --out DIR`, or `--demo --out DIR`.

The model is the packaged one, or with --checkpoint a SynthesisPipeline or any text-to-image folder of diffusers.
An image depends on its row of the CSV alone, not on the batch, the number of workers, the order or a restart. Research
use only.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from radiolucent.batch.runner import Task, add_batch_arguments, run_batch
from radiolucent.device import workers_device
from radiolucent.synthesis.drawing import draw_rows, in_batches
from radiolucent.synthesis.prompts import Row

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from radiolucent.synthesis.generator import GeneratorOptions

STEPS = 50  # of our own model where neither --steps nor its folder says


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `radiolucent synthesize`.

    Args:
        parser: Takes them.
    """
    parser.add_argument(
        "--prompts",
        type=str | None,
        default=None,
        help="CSV: prompt (or annotated_prompt), and if you like name, view, seed, boxes, masks, prior, prior_view, "
        "labels; docs/how-to/synthesise.md describes them",
    )
    parser.add_argument(
        "--demo", action="store_true", help="eight prompts that come with the package, and overview.png"
    )
    parser.add_argument(
        "--checkpoint",
        type=str | None,
        default=None,
        help="a pipeline, ours or diffusers': folder or OWNER/NAME; default: the packaged model, which was trained on "
        "radiographs rendered from CT, no patient's",
    )
    add_batch_arguments(parser)
    parser.add_argument("--ray-address", type=str | None, default=None, help="of a Ray cluster, for --executor ray")
    parser.add_argument("--seed", type=int, default=0, help="makes each row's seed, where the CSV gives none")
    parser.add_argument("--steps", type=int | None, default=None, help="sampling steps; default the pipeline's own")
    parser.add_argument("--guidance", type=list[str], default=[], help="N, or for our model CONDITION=N; repeat")
    parser.add_argument("--size", type=int | None, default=None, help="side in pixels; default as in training")
    parser.add_argument("--negative-prompt", type=str, default="", help="diffusers: what guidance leads away from")
    parser.add_argument("--template", type=str, default="{prompt}", help="the text, from {prompt} and {view}")
    parser.add_argument("--text-encoder", type=str | None, default=None, help="our model: where its text encoder is")
    parser.add_argument("--lora", type=str | None, default=None, help="diffusers: a LoRA's .safetensors file")
    parser.add_argument("--lora-scale", type=float, default=1.0)
    parser.add_argument(
        "--long-prompts",
        choices=["set-aside", "cut"],
        default="set-aside",
        help="what becomes of a text beyond the encoder's limit; what is cut is said in tokens_cut",
    )
    parser.add_argument("--batch-size", type=int, default=32, help="images a worker takes at a time; changes no image")
    parser.add_argument(
        "--micro-batch",
        type=int | None,
        default=None,
        help="images in the networks at once, always; float sums depend on it (default 1 on a CPU, 8 on a GPU)",
    )
    parser.add_argument("--bits", type=Literal[8, 16], default=8, help="of the PNGs")
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16", "float16"], default="auto")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where the model runs")
    parser.add_argument(
        "--format", type=list[str], default=[], help="beside the CSVs: webdataset, parquet or llava; repeat"
    )
    parser.add_argument("--shard-size", type=int, default=1000, help="images in a shard")
    parser.add_argument("--filter", type=str | None, default=None, help="TorchScript file, CLIP's folder, or `views`")
    parser.add_argument("--filter-threshold", type=float, default=0.5, help="least agreement that is kept, 0 to 1")
    parser.add_argument("--filter-classes", type=list[str], default=[], help="the classifier's; default CheXpert's 14")
    parser.add_argument("--filter-transform", type=str, default="torchxrayvision", help="the classifier's input")


def run(args: Namespace) -> int:
    """Draw every row, then write the dataset's files.

    Args:
        args: As `add_arguments` reads them.

    Returns:
        0, or 1 if any row was skipped (see errors.csv).
    """
    import torch

    from evaluation.features.labels import CHEXPERT
    from radiolucent.synthesis.checks import check_lengths, refuse_tokens, refuse_unknown
    from radiolucent.synthesis.dataset import Finish, dataset_files, finish_dataset
    from radiolucent.synthesis.dataset_card import settings_hash
    from radiolucent.synthesis.loading import check_size, drawn_views, load_generator
    from radiolucent.synthesis.overview import write_overview
    from radiolucent.synthesis.quality_filter import Judge
    from radiolucent.synthesis.view_filter import refuse_without_views

    if args.ray_address:
        os.environ["RAY_ADDRESS"] = args.ray_address
    prompts = prompts_of(args)
    options = read_options(args)
    rows, bad = read_rows(prompts, args.seed, drawn_views(options.checkpoint), CHEXPERT)
    refuse_without_views(args.filter, [row.view for row in rows])
    rows, taken = refuse_tokens(rows, args.format)
    bad |= taken
    rows, unknown = refuse_unknown(rows, options)
    bad |= unknown
    check_size(options)
    rows, cut, too_long = check_lengths(rows, options)
    settings = settings_of(options, args.seed, args.bits)
    if not args.workers and args.executor == "local":
        load_generator(options)  # here it draws too: a model or LoRA that cannot be used is refused before the batch
    about = about_model(options.checkpoint)
    work = functools.partial(
        draw_rows, out=args.out, options=options, bits=args.bits, settings=settings_hash(settings), about=about
    )
    work_list: list[tuple[str, Any]] = [*in_batches(rows, args.batch_size), *{**bad, **too_long}.items()]
    status = run_batch(
        work,
        [Task(key, payload) for key, payload in work_list],
        args.out,
        settings=settings,
        tables=[*dataset_files(rows, args.format), *(["overview.png"] if args.demo else [])],
        workers=args.workers,
        executor=args.executor,
        gpus=int(options.device == "cuda"),
        title="batches or bad rows",
    )
    by = Judge(
        args.filter or "",
        args.filter_threshold,
        tuple(args.filter_classes),
        args.filter_transform,
        options.device if torch.cuda.is_available() else "cpu",  # the cluster's GPUs may all be elsewhere
        args.workers,
    )
    model = (
        "Radiolucent's packaged synthesis model" if args.checkpoint is None else Path(args.checkpoint).resolve().name
    )
    refused = len(bad) + len(too_long)
    ask = Finish(model, settings, args.format, args.shard_size, cut, refused, by if args.filter else None, about)
    finish_dataset(Path(args.out), rows, ask)
    if args.demo:
        print(f"all of them with their prompts: {write_overview(Path(args.out), rows)}")
    return status


def prompts_of(args: Namespace) -> str:
    """The CSV of prompts.

    Args:
        args: As `add_arguments` reads them.

    Returns:
        Its path: of --prompts, or with --demo of the packaged one.

    Raises:
        ValueError: Neither of the two was given, or both.
    """
    from radiolucent.synthesis.packaged import packaged_prompts

    if (args.prompts is None) != args.demo:
        raise ValueError("give either --prompts CSV or --demo, which brings its own")
    return packaged_prompts() if args.prompts is None else args.prompts


def about_model(checkpoint: str) -> str:
    """What a model's folder says of its training.

    Args:
        checkpoint: A pipeline's folder.

    Returns:
        One sentence of a SynthesisPipeline that says so; "" of others.
    """
    from radiographs.files import read_json

    return str(read_json(Path(checkpoint) / "model_index.json").get("about") or "")


def read_options(args: Namespace) -> GeneratorOptions:
    """The options, checked, with what was left to the pipeline or the device filled in.

    Args:
        args: As `add_arguments` reads them.

    Returns:
        All that an image depends on besides its row.

    Raises:
        ValueError: A number below 1, an unknown format, or what the pipeline does not take.
        FileNotFoundError: No such model, LoRA or filter.
    """
    from diffusion.folders import pipeline_folder, read_index
    from radiolucent.synthesis.dataset_formats import FORMATS
    from radiolucent.synthesis.generator import OWN, GeneratorOptions, pipeline_class, read_guidance
    from radiolucent.synthesis.packaged import packaged_synthesis_model
    from radiolucent.synthesis.view_filter import check_filter

    checkpoint = packaged_synthesis_model() if args.checkpoint is None else str(pipeline_folder(args.checkpoint))
    own = pipeline_class(checkpoint) == OWN
    steps, guidance = args.steps, read_guidance(args.guidance, own)
    if own and (args.lora or args.negative_prompt):
        raise ValueError("--lora and --negative-prompt are for diffusers' pipelines; this is a SynthesisPipeline")
    if own:
        index = read_index(checkpoint)
        steps = index.get("num_inference_steps", STEPS) if steps is None else steps
        guidance = guidance or tuple(sorted((index.get("guidance") or {}).items()))
    else:
        from radiolucent.synthesis.diffusers_generator import call_default, text_to_image_class

        kind = text_to_image_class(checkpoint)
        steps = call_default(kind, "num_inference_steps") if steps is None else steps
        usual = call_default(kind, "guidance_scale")
        guidance = guidance or ((("", float(usual)),) if usual is not None else ())
    device = workers_device(args.device, args.executor, args.workers)
    micro_batch = args.micro_batch if args.micro_batch is not None else 1 if device == "cpu" else 8
    counts = {"steps": steps, "micro-batch": micro_batch, "batch-size": args.batch_size, "shard-size": args.shard_size}
    for name, value in {**counts, "size": 1 if args.size is None else args.size}.items():
        if value is None or value < 1:
            raise ValueError(f"--{name} {value}: it must be 1 or more")
    if "{prompt}" not in args.template:
        raise ValueError(f"--template '{args.template}': it must hold {{prompt}}")
    if unknown := sorted(set(args.format) - set(FORMATS)):
        raise ValueError(f"--format {unknown[0]}: choose among {', '.join(FORMATS)}")
    if args.lora and not (args.lora.endswith(".safetensors") and Path(args.lora).is_file()):
        raise FileNotFoundError(f"--lora {args.lora}: there is no such .safetensors file")
    check_filter(args.filter, args.filter_classes, args.filter_threshold)
    dtype = args.dtype if args.dtype != "auto" else "float32" if device == "cpu" else "bfloat16"
    return GeneratorOptions(
        checkpoint=checkpoint,
        steps=steps,
        guidance=guidance,
        size=args.size,
        micro_batch=micro_batch,
        dtype=dtype,
        device=device,
        lora=args.lora,
        lora_scale=args.lora_scale,
        negative_prompt=args.negative_prompt,
        template=args.template,
        text_encoder=args.text_encoder,
        cut=args.long_prompts == "cut",
    )


def settings_of(options: GeneratorOptions, seed: int, bits: int) -> dict[str, Any]:
    """What the images depend on, for the manifest and the card.

    Args:
        options: The model's files and those of a LoRA count by their content, not by their place.
        seed: For rows without one.
        bits: Of the PNGs, 8 or 16.

    Returns:
        {name: JSON value}.
    """
    from radiolucent.suppression.model import checkpoint_digest

    kept = ("steps", "guidance", "size", "micro_batch", "dtype", "device", "lora_scale", "negative_prompt", "template")
    lora = options.lora and hashlib.sha256(Path(options.lora).read_bytes()).hexdigest()
    return {
        "command": "synthesize",
        "checkpoint": checkpoint_digest(options.checkpoint),
        "seed": seed,
        "bits": bits,
        "lora": lora,
        **{name: getattr(options, name) for name in kept},
    }


def read_rows(path: str, seed: int, views: Sequence[str], classes: Sequence[str]) -> tuple[list[Row], dict[str, str]]:
    """The rows by length of prompt, equal prompts together, and {line: reason} of the bad ones.

    Args:
        path: The CSV.
        seed: For rows without one.
        views: Those that the model knows.
        classes: Columns that are labels.

    Returns:
        As `read_prompts`, in another order; see there for what is raised.
    """
    from radiolucent.synthesis.prompts import read_prompts

    rows, bad = read_prompts(path, seed, views, classes)
    return sorted(rows, key=lambda row: (len(row.prompt), row.prompt, row.name)), bad
